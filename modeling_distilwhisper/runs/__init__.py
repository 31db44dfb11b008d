"""What every command shares: settings, a model by name and precision, a run's folder and files."""
