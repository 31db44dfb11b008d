"""Speech corpora to batches. All rows have one form (`rows.py`); each reader is a file; `sources.py` names them."""

from .folder import read_folder
from .selection import Selection, read_rows
from .sources import Source, parse_sources, read_sources
from .usable import check_scorable, keep_scorable, keep_usable

__all__ = [
    "Selection",
    "Source",
    "check_scorable",
    "keep_scorable",
    "keep_usable",
    "parse_sources",
    "read_folder",
    "read_rows",
    "read_sources",
]
