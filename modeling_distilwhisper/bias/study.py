"""All tables of a study's folder."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..evaluation.normalization import NORMALIZERS, normalizer_name
from . import tables
from .findings import compression_findings, model_findings
from .grid import left_out, read_cells
from .groups import GROUPINGS
from .sentences import change_table, sentence_table


@dataclass(frozen=True)
class Study:
    """The tables of a study.

    Attributes:
        baseline: the precision before compression.
        normalizer: the rule of all scores, with its version.
        sizes: Whisper's name of each model's size, by model, the smallest first.
        balanced: by name of the data set, whether it is balanced.
        unfinished: cells whose transcripts are not complete; the tables leave them out.
        languages: `tables.language_table` (section 3.2).
        resources: `tables.resource_table` (section 3.2).
        genders: `tables.gender_table` (section 3.2).
        classes: `tables.class_table` of all groupings (section 3.3).
        tests: `tables.group_tests` (section 3.3).
        before: `findings.model_findings`.
        after: `findings.compression_findings`.
        excluded: number of sentences that section 3.3 leaves out.
        rows: number of rows of each corpus and language that are kept and left out.
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


def read_study(folder: str | Path, baseline: str = "float32", normalizer: str = "marks") -> Study:
    """Analyses a folder that `run_grid` wrote.

    Args:
        folder: of the study.
        baseline: the precision before compression.
        normalizer: of the scores.

    Raises:
        FileNotFoundError: no cell is complete.
        ValueError: no cell has the precision of the baseline.
    """
    cells, unfinished = read_cells(Path(folder))
    precisions = sorted({cell.run["precision"] for cell in cells})
    if baseline not in precisions:
        raise ValueError(f"{folder} has nothing in {baseline} to compare with. It has {', '.join(precisions)}.")
    sentences = sentence_table(cells, normalizer)
    changes, excluded = change_table(sentences, baseline)
    class_tables = [tables.class_table(changes, by) for by in GROUPINGS]
    classes = pd.concat([table for table in class_tables if len(table)] or class_tables[:1], ignore_index=True)
    tests = tables.group_tests(changes, classes)
    languages = tables.language_table(sentences)
    resources, genders = tables.resource_table(languages), tables.gender_table(sentences)
    parameters = tables.model_parameters(sentences)
    return Study(
        baseline=baseline,
        normalizer=NORMALIZERS[normalizer_name(normalizer)].name,
        sizes=tables.model_sizes(sentences),
        balanced=dict(zip(sentences["data_set"], sentences["balanced"].astype(bool), strict=True)),
        unfinished=unfinished,
        languages=languages,
        resources=resources,
        genders=genders,
        classes=classes,
        tests=tests,
        before=model_findings(languages, resources, genders, parameters, baseline),
        after=compression_findings(tests, classes, parameters),
        excluded=excluded,
        rows=pd.DataFrame(left_out(Path(folder))),
    )
