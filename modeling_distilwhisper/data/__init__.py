"""Speech corpora as rows of one kind (`rows.py`), a reader a file; `sources.py` finds the reader by name."""

from .folder import read_folder
from .sources import Source, parse_sources, read_sources
from .usable import check_scorable, keep_scorable, keep_usable

__all__ = ["Source", "check_scorable", "keep_scorable", "keep_usable", "parse_sources", "read_folder", "read_sources"]
