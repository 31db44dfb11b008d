"""Score any Whisper: plain, with LoRA, or with language experts; several models at once, on the same speech.

    python examples/run_eval.py --models openai/whisper-small --data recordings/{language} --languages gl \
        --output_dir scores
    python examples/run_eval.py \
        --models small=openai/whisper-small ours=distilwhisper-small-gl large=openai/whisper-large-v2 \
        --data common_voice:cv-corpus-13.0-2023-03-09 fleurs:google/fleurs --languages gl ca \
        --compare ours small --gap small large --output_dir scores

Writes a file of transcripts for each model, corpus, split and language (JSON lines), and from them summary.json and
summary.md. Started again, it goes on where it was; with more models, corpora or languages, it adds them.
`distilwhisper eval` does the same.
"""

import sys

from modeling_distilwhisper.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
