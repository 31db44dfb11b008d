"""Transcripts, error rates and expert usage."""
