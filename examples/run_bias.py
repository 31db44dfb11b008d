"""Compare the error rates of groups of speakers, before and after compression: chapter 3 of the report, for any models.

    python examples/run_bias.py --models tiny=openai/whisper-tiny large=openai/whisper-large-v2 \
        --precision float16 int8 nf4 --balanced fleurs:google/fleurs \
        --data common_voice:cv-corpus-13.0-2023-03-09 --languages ca gl hu uk --output_dir bias

Writes which rows were used and why, a file of transcripts for each model, precision, corpus and language, and from
them tables, figures 2 to 12 of the report and one page with all of it. If you start it again, it continues. Several
processes share the work, on several GPUs or machines: `torchrun --nproc_per_node=2 examples/run_bias.py ...`.

Without --models it draws again what a folder holds, all or some of the figures:

    python examples/run_bias.py --output_dir bias --precision float16 --figures figure7 figure10

Needs `pip install "modeling_distilwhisper[bias]"`. `distilwhisper bias` calls the same function; the
analysis is in modeling_distilwhisper/bias/.
"""

import sys

from modeling_distilwhisper.commands.bias import main

if __name__ == "__main__":
    sys.exit(main())
