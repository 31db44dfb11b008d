"""Serve a model and the experts of many languages by OpenAI's audio API.

    python examples/serve.py distilwhisper-quickstart
    python examples/serve.py openai/whisper-base --experts me/experts my-experts --expert_memory 500 --port 8001

Requests of all languages share the batches of one model: each row takes the experts of its language. Experts are loaded
when a language is first asked for, from a folder or the Hub, and those that were used least recently leave. Any client
of OpenAI's audio API works, with `base_url="http://127.0.0.1:8000/v1"`.

    curl http://127.0.0.1:8000/v1/audio/transcriptions -F model=distilwhisper-quickstart -F language=ca \\
        -F file=@examples/quickstart/in_domain/ca/test/001.ogg

Needs `pip install "modeling_distilwhisper[serve]"`. `distilwhisper serve` calls the same function: the server is in
modeling_distilwhisper/serving. docs/serve.md has the rest.
"""

import sys

from modeling_distilwhisper.commands.serve import main

if __name__ == "__main__":
    sys.exit(main())
