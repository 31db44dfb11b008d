"""Train one student in several ways on the same rows, and compare the scores: the report's Table 6, on any data.

    python examples/compare.py examples/quickstart/compare.yaml
    python examples/compare.py examples/configs/compare_prompts_ru.yaml

    # compare.yaml
    settings: examples/quickstart/quickstart.yaml
    output_dir: comparison
    systems:
      LoRA: {method: lora, teacher: ""}
      DistilWhisper: {kd_beta: 0.5}

The file names a file of settings of `run_distil.py` that all systems share, and the settings of each system. Every
system is a run of `distilwhisper train`, with `seeds: [0, 1, 2]` one for each seed, and `distilwhisper eval` scores
them all. What was measured is in comparison.json, from which the tables are made. A finished system is not trained
again, and an interrupted one continues. If the data behind a name changes, name another folder. `distilwhisper compare`
calls the same function, in modeling_distilwhisper/commands/compare.py.
"""

import sys

from modeling_distilwhisper.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
