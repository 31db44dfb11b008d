"""One module for each kind of input; `trials()` of each gives names and functions."""
