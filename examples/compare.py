"""Train one student in several ways on the same rows, and compare the scores: the report's Table 6, on any data.

    python examples/compare.py examples/quickstart/compare.yaml
    python examples/compare.py examples/configs/compare_prompts_ru.yaml

The file names a file of settings of `run_distil.py` that all systems share, and the settings of each system. Every
system is a run of `distilwhisper train`, and `distilwhisper eval` scores them all: what is finished is not made again,
and what was stopped goes on. If the data behind a name changes, name another folder. The minutes are of the last start
of a system, scoring between its steps included. `distilwhisper compare` does the same.
"""

import sys

from modeling_distilwhisper.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
