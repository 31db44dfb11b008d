"""The parts of `distilwhisper compare`: its file, its runs, what it measured, and the tables of that."""
