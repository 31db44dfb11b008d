"""The parts of `distilwhisper pseudo-label`: what is labelled, by which models, and the report."""
