"""`python -m modeling_distilwhisper COMMAND ...` is `distilwhisper COMMAND ...`, of this Python."""

import sys

from distilwhisper_cli import main

if __name__ == "__main__":
    sys.exit(main())
