"""Error rates of groups of speakers, before and after compression: chapter 3 of the report, for any model.

`voice` and `corpora` choose the data (3.1.1), `groups` defines the groups (3.1.2), `grid` makes the transcripts.
`sentences`, `tables`, `statistics` and `findings` are the analysis (3.2, 3.3). `figures` and `page` show it, and
`card_rows` makes a table of it for a model card.
"""
