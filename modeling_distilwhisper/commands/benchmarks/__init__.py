"""Measurements of what training and inference cost compared with plain Whisper."""
