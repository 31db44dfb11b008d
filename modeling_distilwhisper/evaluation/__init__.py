"""Transcripts of data sets, error rates, and expert usage."""
