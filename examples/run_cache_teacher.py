"""Run a teacher once over the training data and store its predictions, so that training needs no teacher in memory.

    python examples/run_cache_teacher.py --student openai/whisper-base --teacher openai/whisper-large-v2 \
        --languages gl ca --data recordings/{language} --output_dir teacher-gl-ca

    python examples/run_distil.py --student openai/whisper-base --teacher_cache teacher-gl-ca \
        --languages gl ca --data recordings/{language} --output_dir distilwhisper-base

For each position of each reference transcript it stores the k likeliest tokens and the total probability of all others,
0.5 kB for k = 64; or, with --k 0, the teacher's last hidden state, 2.5 kB for whisper-large, which gives the teacher's
predictions at any temperature. If it is stopped, it continues where it was; with more languages or corpora it adds what
is missing. Another student with the same tokenizer, or other settings of training, can use the same cache.
`distilwhisper cache-teacher` calls the same function, in modeling_distilwhisper/commands/cache_teacher.py.
"""

import sys

from modeling_distilwhisper.commands.cache_teacher import main

if __name__ == "__main__":
    sys.exit(main())
