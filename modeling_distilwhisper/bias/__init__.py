"""Whom a Whisper fails, and whom it fails more once it is compressed: chapter 3 of the report, for any model.

`voice` and `corpora` make the data (3.1.1), `groups` the groups (3.1.2), `grid` the transcripts. `sentences`, `tables`,
`statistics` and `findings` are the analysis (3.2, 3.3), `figures` and `page` what people look at, `card_rows`
what a model's card says of it.
"""
