"""Export one language of a DistilWhisper as a plain Whisper, for faster-whisper, whisper.cpp and other Whisper tools.

    python examples/export_whisper.py distilwhisper-base-ru --language ru --data "prompts/{language}" \
        --output_dir whisper-base-ru
    ct2-transformers-converter --model whisper-base-ru --output_dir whisper-base-ru-ct2 \
        --copy_files tokenizer.json preprocessor_config.json    # for faster-whisper

A plain Whisper cannot choose a path for each token, so the path of each layer is fixed by how its gates route the
tokens of the given audio. Three ways are tried: the expert if the majority of tokens takes it ("majority"), a mean of
both paths' weights by their shares ("mean"), experts in all layers ("experts"). The one with the lowest WER on that
audio is exported; of equal ones, the nearest to the routed model. export.json holds the scores of all three. Score the
export on a test set with run_eval.py. `distilwhisper export` does the same.
"""

import sys

from modeling_distilwhisper.commands.export_whisper import main

if __name__ == "__main__":
    sys.exit(main())
