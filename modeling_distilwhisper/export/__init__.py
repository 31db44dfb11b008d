"""A model in other forms: low-rank, plain Whisper, ONNX; and the authors' checkpoints in ours."""
