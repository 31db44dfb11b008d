"""Any corpus on the Hub that has audio and text in parquet files."""

import pyarrow as pa
from datasets import Audio, ClassLabel, Dataset, DatasetInfo, load_dataset
from datasets.exceptions import DatasetGenerationError
from datasets.fingerprint import Hasher

from ..workarounds import fingerprint_of
from .rows import FEATURES, SPLITS, TEXT_COLUMNS, one_line

ATTRIBUTES = ("id", "sentence_id", "gender", "age", "accent", "speaker")


def read_hub(
    location: str,
    split: str,
    language: str,
    *,
    config: str | None = None,
    revision: str | None = None,
    data_dir: str | None = None,
    audio: str | None = None,
    text: str | None = None,
    **attributes: str,
) -> Dataset:
    """Reads a split without decoding its audio.

    Args:
        location: Hub id, or a folder of parquet files. All splits are downloaded.
        split: "train", "validation" or "test"; "dev" and "valid" are accepted for "validation".
        language: Whisper's code, of every row.
        config: name of the configuration, for `load_dataset`, as are `revision` and `data_dir`.
        revision: branch, tag or commit.
        data_dir: folder in the repository.
        audio: name of the audio column; by default the first column of audio.
        text: name of the text column; by default `transcription`, `sentence` or `text`.
        attributes: column names of `id`, `sentence_id`, `gender`, `age`, `accent` and `speaker`, where they differ.

    Returns:
        Rows (`FEATURES`).

    Raises:
        ValueError: the split or a column is missing, or the corpus is not stored as parquet.

    Example:
        >>> import os, tempfile
        >>> import pyarrow, pyarrow.parquet
        >>> from modeling_distilwhisper import read_hub
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sound = {"bytes": b"content of a file", "path": "a.wav"}
        ...     table = pyarrow.table({"audio": [sound], "sentence": ["boas noites"], "sex": ["female"]})
        ...     pyarrow.parquet.write_table(table, os.path.join(folder, "test.parquet"))
        ...     rows = read_hub(folder, "test", "gl", gender="sex")
        >>> rows["text"][:], rows["gender"][:], rows["language"][:]
        (['boas noites'], ['female'], ['gl'])
    """
    if unknown := attributes.keys() - set(ATTRIBUTES):
        raise ValueError(
            f"Unknown settings {sorted(unknown)} for {location}. Expected some of {', '.join(ATTRIBUTES)}."
        )
    given = {"revision": revision, "data_dir": data_dir}
    try:
        corpora = load_dataset(location, config, **{name: value for name, value in given.items() if value})
    except (DatasetGenerationError, ImportError) as error:
        raise ValueError(
            f"{location} cannot be read ({error.__cause__ or error}). Expected parquet files. A corpus stored "
            "otherwise has them on a branch: revision=refs/convert/parquet, data_dir=<its configuration>."
        ) from error
    names = (split, "dev", "valid") if split == SPLITS[1] else (split,)
    if not (name := next((name for name in names if name in corpora), None)):
        raise ValueError(f"{location} has no split {split}. It has {', '.join(corpora)}.")
    corpus = corpora[name]
    audio = audio or next((name for name, kind in corpus.features.items() if isinstance(kind, Audio)), "audio")
    text = text or next((name for name in TEXT_COLUMNS if name in corpus.column_names), TEXT_COLUMNS[0])
    for name in (audio, text, *attributes.values()):
        if name not in corpus.column_names:
            raise ValueError(f"{location} has no column {name!r}. It has {', '.join(corpus.column_names)}.")
    columns = {"text": [one_line(line) for line in corpus[text]]}
    for name in ATTRIBUTES:
        source = attributes.get(name, name)
        if source in corpus.column_names:
            columns[name] = [_text_of(value, corpus.features[source]) for value in corpus[source]]
    constants = {"language": language, "data_set": location, "split": split}
    # The audio column stays on disk: not decoded, not copied.
    sound = corpus.cast_column(audio, Audio(decode=False)).data.table.column(audio)
    arrays = [sound.cast(FEATURES.arrow_schema.field("audio").type)]
    for name in list(FEATURES)[1:]:
        arrays.append(pa.array(columns.get(name, [constants.get(name, "")] * len(corpus)), pa.string()))
    # Without this, `datasets` would hash all the audio for a fingerprint.
    fingerprint = Hasher.hash([fingerprint_of(corpus), audio, columns, constants])
    table = pa.table(arrays, names=list(FEATURES))
    return Dataset(table, info=DatasetInfo(features=FEATURES), fingerprint=fingerprint)


def _text_of(value, kind) -> str:
    """A cell as text. A class label is the number of a name; a negative number stands for no label."""
    if isinstance(kind, ClassLabel) and isinstance(value, int):
        return kind.int2str(value) if value >= 0 else ""
    return "" if value is None else str(value)
