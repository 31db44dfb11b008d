"""Open a web page to try a model: plain Whisper next to its language experts, and where the experts ran.

    python examples/demo.py distilwhisper-quickstart --examples examples/quickstart/in_domain/*/test/001.ogg
    python examples/demo.py me/distilwhisper-gl --host 0.0.0.0 --port 8000

Upload or record, and choose the language or have it detected. Recordings stay on this machine, and the page loads
nothing from others: with the model in a folder, it works without a network. The page shows both transcripts, with the
words that differ marked, and which frames and words took the expert in each layer. Subtitles and text can be saved as
files.

Needs `pip install "modeling_distilwhisper[demo]"`. `distilwhisper demo` calls the same function: the page is in
modeling_distilwhisper/commands/demo_page.py.
"""

import sys

from modeling_distilwhisper.commands.demo import main

if __name__ == "__main__":
    sys.exit(main())
