"""A model in other forms: the authors', low-rank, plain Whisper, ONNX."""
