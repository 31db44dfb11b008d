"""Measurements of what training and inference cost beside plain Whisper's."""
