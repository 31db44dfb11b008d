"""All tables of a result folder at once."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from . import tables
from .findings import compression_findings, model_findings
from .grid import left_out, read_cells
from .groups import GROUPINGS
from .sentences import change_table, sentence_table


@dataclass(frozen=True)
class Study:
    """What the transcripts of a folder say.

    Attributes:
        baseline: the precision before compression.
        normalizer: of all scores.
        sizes: Whisper's name of each model's size, by model, the smallest first.
        balanced: whether a data set is one (by name).
        unfinished: cells that are not transcribed to the end, and left out.
        languages, resources, genders: of 3.2, from `tables`.
        classes, tests: of 3.3, likewise.
        before, after: the chapter's findings, from `findings`.
        excluded: sentences that 3.3 leaves out.
        rows: which rows of the corpora were taken.
    """

    baseline: str
    normalizer: str
    sizes: dict[str, str]
    balanced: dict[str, bool]
    unfinished: list[str]
    languages: pd.DataFrame
    resources: pd.DataFrame
    genders: pd.DataFrame
    classes: pd.DataFrame
    tests: pd.DataFrame
    before: pd.DataFrame
    after: pd.DataFrame
    excluded: pd.DataFrame
    rows: pd.DataFrame


def study(folder: str | Path, baseline: str = "float32", normalizer: str = "marks") -> Study:
    """Analyses a folder that `run_grid` or `join` wrote.

    Raises:
        FileNotFoundError: no cell of it is transcribed to the end.
        ValueError: none is in the baseline's precision.
    """
    cells, unfinished = read_cells(Path(folder))
    precisions = sorted({cell.run["precision"] for cell in cells})
    if baseline not in precisions:
        raise ValueError(f"{folder} has nothing in {baseline} to compare with. It has {', '.join(precisions)}.")
    sentences = sentence_table(cells, normalizer)
    changes, excluded = change_table(sentences, baseline)
    found = [tables.class_table(changes, by) for by in GROUPINGS]
    classes = pd.concat([table for table in found if len(table)] or found[:1], ignore_index=True)
    tests = tables.group_tests(changes, classes)
    languages = tables.language_table(sentences)
    resources, genders = tables.resource_table(languages), tables.gender_table(sentences)
    sizes = tables.model_sizes(sentences)
    return Study(
        baseline=baseline,
        normalizer=normalizer,
        sizes=sizes,
        balanced=dict(zip(sentences["data_set"], sentences["balanced"].astype(bool), strict=True)),
        unfinished=unfinished,
        languages=languages,
        resources=resources,
        genders=genders,
        classes=classes,
        tests=tests,
        before=model_findings(languages, resources, genders, list(sizes), baseline),
        after=compression_findings(tests, classes),
        excluded=excluded,
        rows=pd.DataFrame(left_out(Path(folder))),
    )
