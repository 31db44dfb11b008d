"""Inputs that are wrong on purpose, in families, and what the library makes of each: `python tests/hostile`."""
