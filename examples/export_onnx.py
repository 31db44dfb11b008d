"""Export one language of a DistilWhisper as ONNX, gates included, and check onnxruntime against PyTorch.

    python examples/export_onnx.py distilwhisper-base-ru --language ru --clip prompts/ru/test/agent-loginok.flac \
        --output_dir distilwhisper-base-ru-onnx

Needs `pip install "modeling_distilwhisper[export]"`. The graphs are encoder and decoder with cache, named as Optimum
names those of a Whisper. PyTorch transcribes the clip, and its tokens are then given to the graphs one by one: in a
batch with the first half of the clip, and after prompts of two lengths. `distilwhisper export --format onnx` does the
same.
"""

import sys

from modeling_distilwhisper.commands.export_onnx import main

if __name__ == "__main__":
    sys.exit(main())
