"""What people start: a file for each command of `distilwhisper`."""
