"""Transcribe recordings of any length, with times, by any Whisper: plain, LoRA, or with language experts.

    python examples/transcribe.py recordings --model distilwhisper-small --output_dir transcripts

Takes files and folders, which are searched to their depth. Each recording's language is detected, or given by
`--language gl`, or read from the name of its folder (`--language folder`: recordings/gl/talk.mp3). Recordings of like
length are transcribed together, whatever their languages, and a long one alone. A recording that cannot be read is
named at the end and does not stop the rest; transcripts that are there already are left alone, so that an interrupted
run goes on and a corrected text stays. An output folder is of one model, language and task.
"""

import sys

from modeling_distilwhisper.commands.transcribe import main

if __name__ == "__main__":
    sys.exit(main())
