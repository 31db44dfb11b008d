"""One language of a DistilWhisper as ONNX, gates included, and a check that onnxruntime computes what PyTorch does.

    python examples/export_onnx.py distilwhisper-base-ru --language ru --clip prompts/ru/test/agent-loginok.flac \
        --output_dir distilwhisper-base-ru-onnx

Needs `pip install -e ".[export]"`. The graphs are encoder and decoder with cache, named as Optimum names those of a
Whisper. The clip is transcribed by PyTorch, and its tokens are then fed to the graphs one by one: in a batch with the
clip's first half, and behind prompts of two lengths.
"""

import sys

from modeling_distilwhisper.commands.export_onnx import main

if __name__ == "__main__":
    sys.exit(main())
