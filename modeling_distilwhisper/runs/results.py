"""The results of a training run, `results.json`, as records."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..names_distilwhisper import without_paths
from .forms import AGAIN, Form, check_form
from .old_names import read_json

FILE = "results.json"
# What is expected in the file, of what is there.
FORMS: dict[str, Form] = {
    "settings": {str: dict},
    "scores": {str: {str: {str: {"wer": float | None}}}},
    "data": list | dict,
    "expert usage at inference": {str: {str: float}},
    "teacher precision": str,
    "training": dict,
    "best by language": {str: {"step": float, "score": float}},
    "sizes": dict,
    "example": {str: Any},
    "origin": dict,
}
ALL_STARTS = "train_runtime_of_all_starts"  # in "training", beside Transformers' `train_runtime` of the last start
TIMES = (ALL_STARTS, "train_runtime")
ROWS = {"data_set": str, "split": str, "language": str, "rows": int, "hours": float, "left_out": {str: int}}

# Of `summary.json`, which `distilwhisper eval` writes.
SCORE = {name: str for name in ("system", "data_set", "split", "language", "normalizer")} | {"wer": float, "words": int}
SUMMARY = {"scores": [SCORE]}


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
    """The settings and the results of a training run. Parts that a run does not have are empty.

    Attributes:
        settings: by part ("model", "data", "training") and name.
        scores: error rates by system ("before", "after", "teacher", ...), data set and language.
        data: the rows that were used.
        expert_usage: shares by language, as `measure_expert_usage` gives them.
        teacher_precision: in which precision the teacher taught.
        training: the measurements of the trainer, such as `train_runtime` in seconds: that of the last start. Where all
            starts were measured, `train_runtime_of_all_starts` is there too.
        best_by_language: `step` and `score` of each language's experts.
        sizes: parameters and bytes.
        example: a clip as the saved model transcribes it, and its reference.
        origin: commit, machine, versions of packages and day of the last start (`runs/origin.py`).

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
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def minutes(self) -> float | None:
        """How long the training took, with the scoring between its steps: over all starts, where they were measured."""
        seconds = next((self.training[name] for name in TIMES if self.training.get(name) is not None), None)
        return None if seconds is None else seconds / 60

    @classmethod
    def read(cls, path: str | Path) -> "RunResults":
        """The results in a file, or in a run's folder; those of an earlier version too.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged.
        """
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        content = read_json(path)
        try:
            return cls.from_json(content)
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error} {AGAIN}") from None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "RunResults":
        """The results in the content of a file under today's names.

        Raises:
            ValueError: a part has another form than expected.
        """
        for key, form in FORMS.items():
            if content.get(key):
                check_form(content[key], form, key)
        times = {name: time for name, time in (content.get("training") or {}).items() if name in TIMES}
        check_form(times, {str: float | None}, "training")
        values = {field.name: content.get(_key(field.name)) for field in fields(cls)}
        values["data"] = _data_records(content)
        return cls(**{name: value for name, value in values.items() if value})

    def to_json(self) -> dict[str, Any]:
        """The content of a file, which others may get: models and folders of this machine lose all but their name."""
        content = {_key(field.name): getattr(self, field.name) for field in fields(self)}
        parts = {part: without_paths(self.settings[part]) for part in ("model", "training") if part in self.settings}
        content["settings"] = self.settings | parts
        return content | {"data": [asdict(record) for record in self.data]}


# The keys of the file that are not an attribute's name.
_KEYS = {
    "expert_usage": "expert usage at inference",
    "teacher_precision": "teacher precision",
    "best_by_language": "best by language",
}


def _key(name: str) -> str:
    return _KEYS.get(name, name)


def _data_records(content: Mapping[str, Any]) -> list[DataRecord]:
    data = content.get("data") or []
    if not isinstance(data, Mapping):
        check_form(data, [ROWS], "data")
        return [DataRecord(**{name: record[name] for name in ROWS}) for record in data]
    # An earlier version joined data set, split and language to a title, and kept the rows left out by title.
    left_out = content.get("rows left out") or {}
    check_form(data, {str: {"rows": int, "hours": float}}, "data")
    check_form(left_out, {str: {str: int}}, "rows left out")
    records = []
    for title, amount in data.items():
        if title.count(" ") < 2:
            raise ValueError(f"at data: expected data set, split and language, got {title!r}.")
        data_set, split, language = title.rsplit(" ", 2)
        reasons = left_out.get(title, {})
        records.append(DataRecord(data_set, split, language, amount["rows"], amount["hours"], reasons))
    return records
