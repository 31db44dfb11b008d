"""One language of a DistilWhisper as a plain Whisper, for faster-whisper, whisper.cpp and every other Whisper tool.

    python examples/export_whisper.py distilwhisper-base-ru --language ru --data "prompts/{language}" \
        --output_dir whisper-base-ru
    ct2-transformers-converter --model whisper-base-ru --output_dir whisper-base-ru-ct2 \
        --copy_files tokenizer.json preprocessor_config.json    # for faster-whisper

A plain Whisper cannot choose a path for each token, so each layer's is fixed by how its gates send the tokens of the
given audio. Three ways are tried: the expert where the majority goes there ("majority"), a mean of both paths' weights
by their shares ("mean"), experts in all layers ("experts"). Exported is the one with the lowest WER on that audio, the
nearest to the routed model where several are alike. export.json says what each scored there; score the export on a test
set by run_eval.py.
"""

import sys

from modeling_distilwhisper.commands.export_whisper import main

if __name__ == "__main__":
    sys.exit(main())
