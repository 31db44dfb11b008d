"""The parts of a training run, from its settings to its report, as functions that can be called alone."""
