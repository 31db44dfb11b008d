"""Any data set of the Hub that has audio and text."""

import pyarrow as pa
from datasets import Audio, ClassLabel, Dataset, DatasetInfo, load_dataset
from datasets.exceptions import DatasetGenerationError
from datasets.fingerprint import Hasher

from .rows import FEATURES, SPLITS, TEXT_COLUMNS, one_line

ATTRIBUTES = ("id", "sentence_id", "gender", "age", "accent", "speaker")


def read_hub(
    data_set: str,
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
        data_set: id on the Hub, or a folder, of parquet files. All its splits are fetched.
        split: "train", "validation" or "test"; "validation" may be called "dev" there.
        language: Whisper's code of the language of every row.
        config, revision, data_dir: as `load_dataset` takes them.
        audio, text: names of its columns, where they are not the only one with audio and one of `TEXT_COLUMNS`.
        attributes: names of its columns for `ATTRIBUTES`, where they are not called so.

    Returns:
        Rows (`FEATURES`).

    Raises:
        ValueError: there is no such split or column, or it is not stored as parquet.
    """
    if unknown := attributes.keys() - set(ATTRIBUTES):
        raise ValueError(
            f"Unknown settings {sorted(unknown)} for {data_set}. Expected some of {', '.join(ATTRIBUTES)}."
        )
    given = {"revision": revision, "data_dir": data_dir}
    try:
        corpora = load_dataset(data_set, config, **{name: value for name, value in given.items() if value})
    except (DatasetGenerationError, ImportError) as error:
        raise ValueError(
            f"{data_set} cannot be read ({error.__cause__ or error}). Expected parquet files. A data set stored "
            "otherwise has them on a branch: revision=refs/convert/parquet, data_dir=<its configuration>."
        ) from error
    names = (split, "dev", "valid") if split == SPLITS[1] else (split,)
    if not (name := next((name for name in names if name in corpora), None)):
        raise ValueError(f"{data_set} has no split {split}. It has {', '.join(corpora)}.")
    corpus = corpora[name]
    heard = audio or next((name for name, kind in corpus.features.items() if isinstance(kind, Audio)), "audio")
    written = text or next((name for name in TEXT_COLUMNS if name in corpus.column_names), TEXT_COLUMNS[0])
    for name in (heard, written, *attributes.values()):
        if name not in corpus.column_names:
            raise ValueError(f"{data_set} has no column {name!r}. It has {', '.join(corpus.column_names)}.")
    columns = {"text": [one_line(line) for line in corpus[written]]}
    for name in ATTRIBUTES:
        source = attributes.get(name, name)
        if source in corpus.column_names:
            columns[name] = [_said(value, corpus.features[source]) for value in corpus[source]]
    always = {"language": language, "data_set": data_set, "split": split}
    # The other columns stand beside the audio as it lies on disk, undecoded and not copied.
    sound = corpus.cast_column(heard, Audio(decode=False)).data.table.column(heard)
    arrays = [sound.cast(FEATURES.arrow_schema.field("audio").type)]
    for name in list(FEATURES)[1:]:
        arrays.append(pa.array(columns.get(name, [always.get(name, "")] * len(corpus)), pa.string()))
    # Without a fingerprint of ours, datasets would make one of all the audio.
    fingerprint = Hasher.hash([corpus._fingerprint, heard, columns, always])
    table = pa.table(arrays, names=list(FEATURES))
    return Dataset(table, info=DatasetInfo(features=FEATURES), fingerprint=fingerprint)


def _said(value, kind) -> str:
    """A cell as text; a class label is a number for a name, and one below 0 for none."""
    if isinstance(kind, ClassLabel) and isinstance(value, int):
        return kind.int2str(value) if value >= 0 else ""
    return "" if value is None else str(value)
