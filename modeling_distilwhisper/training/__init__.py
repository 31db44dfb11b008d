"""Teacher, losses and trainer."""
