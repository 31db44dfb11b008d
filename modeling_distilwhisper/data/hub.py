"""Any corpus on the Hub that has audio and text in parquet files."""

from typing import Any

import pyarrow as pa
from datasets import Audio, ClassLabel, Dataset, DatasetInfo, load_dataset, load_dataset_builder
from datasets.exceptions import DatasetGenerationError
from datasets.fingerprint import Hasher

from ..runs.numbers import LOSS_WEIGHT
from ..workarounds import fingerprint_of
from .rows import FEATURES, SPLITS, TEXT_COLUMNS, loss_weight, make_rows, one_line

ATTRIBUTES = ("id", "sentence_id", "gender", "age", "accent", "speaker")
WEIGHT = "loss_weight"


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
    streaming: str | bool = False,
    count: int | None = None,
    **attributes: str,
) -> Dataset:
    """Reads a split without decoding its audio.

    Args:
        location: Hub id, or a folder of parquet files. Only the files of this split are fetched.
        split: "train", "validation" or "test"; "dev" and "valid" are accepted for "validation".
        language: Whisper's code, of every row.
        config: name of the configuration, for `load_dataset`, as are `revision` and `data_dir`.
        revision: branch, tag or commit.
        data_dir: folder in the repository.
        audio: name of the audio column; by default the first column of audio.
        text: name of the text column; by default `transcription`, `sentence` or `text`. To train translation, that of
            the English translation.
        streaming: "true" fetches rows one after the other, and no more than `count`; they are kept in memory.
        count: with `streaming`, how many rows to read, the first ones; `None` for all.
        attributes: column names of `id`, `sentence_id`, `gender`, `age`, `accent` and `speaker`, where they differ.

    Returns:
        Rows (`FEATURES`). A column `loss_weight` is the weight of each row in the loss of a training.

    Raises:
        ValueError: the split or a column is missing, a weight is none, or the corpus is not stored as parquet.

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
    if str(streaming).lower() not in ("true", "false"):
        raise ValueError(f"streaming must be true or false for {location}, got {streaming!r}.")
    streams = str(streaming).lower() == "true"
    given = {name: value for name, value in {"revision": revision, "data_dir": data_dir}.items() if value}
    try:
        corpus = _load_split(location, config, split, given, streams)
    except (DatasetGenerationError, ImportError, pa.ArrowException) as error:
        raise ValueError(
            f"{location} cannot be read ({error.__cause__ or error}). Expected parquet files. A corpus stored "
            "otherwise has them on a branch: revision=refs/convert/parquet, data_dir=<its configuration>."
        ) from error
    audio = audio or next((name for name, kind in corpus.features.items() if isinstance(kind, Audio)), "audio")
    text = text or next((name for name in TEXT_COLUMNS if name in corpus.column_names), TEXT_COLUMNS[0])
    for name in (audio, text, *attributes.values()):
        if name not in corpus.column_names:
            raise ValueError(f"{location} has no column {name!r}. It has {', '.join(corpus.column_names)}.")
    if streams:
        wanted = corpus.cast_column(audio, Audio(decode=False))
        wanted = wanted if count is None else wanted.take(count)
        sources = {name: attributes.get(name, name) for name in ATTRIBUTES}
        sources = {name: source for name, source in sources.items() if source in corpus.column_names}
        try:
            return make_rows(
                {"audio": row[audio], "text": one_line(row[text]), "language": language, "data_set": location}
                | {"split": split}
                | {name: _text_of(row[source], corpus.features[source]) for name, source in sources.items()}
                | {WEIGHT: _weight_of(row.get(WEIGHT), location)}
                for row in wanted
            )
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{location} cannot be read ({error}). Expected parquet files.") from error
    columns = {"text": [one_line(line) for line in corpus[text]]}
    for name in ATTRIBUTES:
        source = attributes.get(name, name)
        if source in corpus.column_names:
            columns[name] = [_text_of(value, corpus.features[source]) for value in corpus[source]]
    constants = {"language": language, "data_set": location, "split": split}
    # The audio column stays on disk: not decoded, not copied.
    sound = corpus.cast_column(audio, Audio(decode=False)).data.table.column(audio)
    arrays = [sound.cast(FEATURES.arrow_schema.field("audio").type)]
    for name in list(FEATURES)[1:-1]:
        arrays.append(pa.array(columns.get(name, [constants.get(name, "")] * len(corpus)), pa.string()))
    weights = corpus[WEIGHT] if WEIGHT in corpus.column_names else [None] * len(corpus)
    arrays.append(pa.array([_weight_of(value, location) for value in weights]))
    # Without this, `datasets` would hash all the audio for a fingerprint.
    fingerprint = Hasher.hash([fingerprint_of(corpus), audio, columns, constants, arrays[-1].to_pylist()])
    table = pa.table(arrays, names=list(FEATURES))
    return Dataset(table, info=DatasetInfo(features=FEATURES), fingerprint=fingerprint)


def _load_split(location: str, config: str | None, split: str, given: dict[str, str], streams: bool) -> Any:
    """One split of a corpus, by any of its names. The files of other splits are not fetched.

    `load_dataset` with `split` would download all of them.
    """
    builder = load_dataset_builder(location, config, **given)
    files = builder.config.data_files
    splits: Any = files or builder.info.splits or {}  # without a network, what is in the cache has no list of files
    names = (split, "dev", "valid") if split == SPLITS[1] else (split,)
    if not (name := next((name for name in names if name in splits), None)):
        raise ValueError(f"{location} has no split {split}. It has {', '.join(map(str, splits))}.")
    if not files:
        return load_dataset(location, config, split=name, streaming=streams, **given)
    only = {name: list(files[name])}
    features = builder.info.features
    corpus = load_dataset(builder.name, data_files=only, split=name, features=features, streaming=streams)
    return corpus.resolve_features() if streams and corpus.features is None else corpus


def _weight_of(value, location: str) -> float:
    """
    Raises:
        ValueError: it is no weight.
    """
    weight = loss_weight("" if value is None else str(value))
    if weight is None:
        raise ValueError(f"A {WEIGHT} in {location} is {value!r}. Expected {LOSS_WEIGHT}.")
    return weight


def _text_of(value, kind) -> str:
    """A cell as text. A class label is the number of a name; a negative number stands for no label."""
    if isinstance(kind, ClassLabel) and isinstance(value, int):
        return kind.int2str(value) if value >= 0 else ""
    return "" if value is None else str(value)
