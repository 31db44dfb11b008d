"""Shared by all commands: settings, a model by name and precision, the folder and files of a run."""
