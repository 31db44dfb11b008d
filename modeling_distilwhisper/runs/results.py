"""The results of a training run, `results.json`, as records."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .old_names import read_json

FILE = "results.json"


@dataclass(frozen=True)
class DataRecord:
    """The rows of a corpus, split and language that a run used.

    Attributes:
        data_set, split, language: which they are.
        rows: how many were used.
        hours: of their audio.
        left_out: how many were left out, by reason.
    """

    data_set: str
    split: str
    language: str
    rows: int
    hours: float
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass
class RunResults:
    """What a training run was started with and what it gave. What a run does not have is empty.

    Attributes:
        settings: by part ("model", "data", "training") and name.
        scores: error rates by system ("before", "after", "teacher", ...), data set and language.
        data: the rows that were used.
        expert_usage: shares by language, as `measure_expert_usage` gives them.
        teacher_precision: in which precision the teacher taught.
        training: what the trainer measured, such as `train_runtime` in seconds.
        best_by_language: `step` and `score` of each language's experts.
        sizes: parameters and bytes.
        example: what the saved model makes of a clip.

    Example:
        >>> results = RunResults(settings={}, data=[DataRecord("cv", "train", "gl", rows=12, hours=0.5)])
        >>> results.to_json()["data"]
        [{'data_set': 'cv', 'split': 'train', 'language': 'gl', 'rows': 12, 'hours': 0.5, 'left_out': {}}]
        >>> RunResults.from_json(results.to_json()) == results
        True
    """

    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    scores: dict[str, dict[str, dict[str, dict]]] = field(default_factory=dict)
    data: list[DataRecord] = field(default_factory=list)
    expert_usage: dict[str, dict[str, float]] = field(default_factory=dict)
    teacher_precision: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    best_by_language: dict[str, dict[str, float]] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)
    example: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> "RunResults":
        """The results in a file, or in a run's folder; those of an earlier version too.

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = Path(path)
        return cls.from_json(read_json(path / FILE if path.is_dir() else path))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "RunResults":
        """The results in the content of a file under today's names."""
        values = {name: content[key] for name, key in _JSON_NAMES.items() if content.get(key)}
        return cls(**values | {"data": _data_records(content)})

    def to_json(self) -> dict[str, Any]:
        """The content of a file."""
        values = {key: getattr(self, name) for name, key in _JSON_NAMES.items()}
        return values | {"data": [asdict(record) for record in self.data]}


_JSON_NAMES = {
    "scores": "scores",
    "expert_usage": "expert usage at inference",
    "teacher_precision": "teacher precision",
    "data": "data",
    "training": "training",
    "best_by_language": "best by language",
    "settings": "settings",
    "sizes": "sizes",
    "example": "example",
}


def _data_records(content: Mapping[str, Any]) -> list[DataRecord]:
    data = content.get("data") or []
    if not isinstance(data, Mapping):
        return [DataRecord(**record) for record in data]
    # An earlier version joined data set, split and language to a title, and kept the rows left out by title.
    left_out = content.get("rows left out", {})
    return [
        DataRecord(*title.rsplit(" ", 2), rows=amount["rows"], hours=amount["hours"], left_out=left_out.get(title, {}))
        for title, amount in data.items()
    ]
