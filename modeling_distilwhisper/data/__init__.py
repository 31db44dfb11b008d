"""Speech corpora to batches. All rows have one form (`rows.py`); each reader is a file; `sources.py` names them."""
