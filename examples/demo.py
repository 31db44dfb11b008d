"""A page to try a model: plain Whisper's transcript beside that of its language experts, and where they ran.

    python examples/demo.py distilwhisper-quickstart --examples examples/quickstart/in_domain/*/test/001.ogg

Upload or record, choose the language or have it detected. Recordings stay on this machine, and nothing is fetched from
others: with the model in a folder, it works without a network. Needs `pip install -e ".[examples,demo]"`.
"""

import sys

from modeling_distilwhisper.commands.demo import main

if __name__ == "__main__":
    sys.exit(main())
