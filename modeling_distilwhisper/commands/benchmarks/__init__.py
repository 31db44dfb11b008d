"""What training and inference cost beside plain Whisper."""
