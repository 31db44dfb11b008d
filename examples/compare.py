"""The report's main comparison (its Table 6) on any data: one student, taught in several ways from the same rows.

    python examples/compare.py examples/quickstart/compare.yaml
    python examples/compare.py examples/configs/compare_prompts_ru.yaml

The file names the settings of `run_distil.py` that all systems share, and what each has of its own. Every system is a
run of that script, and `run_eval.py` scores them all: what is finished is not made again, what was killed goes on.
After a change of the data behind the same names, name another folder. The minutes are those of a system's last start,
scoring between its steps included.
"""

import sys

from modeling_distilwhisper.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
