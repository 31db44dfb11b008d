"""Measure what training and inference cost, on random weights, or of your models with how well they transcribe.

    python examples/benchmark.py train --size small --device cuda
    python examples/benchmark.py infer
    python examples/benchmark.py quality --models plain=openai/whisper-base experts=distilwhisper-base-ru \
        --data "prompts/{language}" --languages ru --output_dir quality

The first two print a table: seconds, and how many times those of plain Whisper or of training its feed-forwards;
memory; bytes.

Each system is a process, and the processes take turns, so that whatever else the machine does slows all of them alike.
`train` compares a training step of experts with full fine-tuning and LoRA, with the teacher in memory and from a cache.
`infer` compares encoder, prefill and decoding, with one language and with eight, full experts and low-rank ones.
`quality` measures WER, megabytes to fetch, memory and time of any models on the same clips, and draws them.
`distilwhisper benchmark` calls the same function. Each measurement is a module in
modeling_distilwhisper/commands/benchmarks/: `training`, `inference`, `quality`, and `turns`, which times anything.
"""

import sys

from modeling_distilwhisper.commands.benchmark import main

if __name__ == "__main__":
    sys.exit(main())
