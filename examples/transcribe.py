"""Transcribe recordings of any length, with timestamps, by any Whisper: plain, LoRA, or with language experts.

    python examples/transcribe.py recordings --model distilwhisper-small --output_dir transcripts
    python examples/transcribe.py talk.mp3 --model openai/whisper-base --language gl --formats srt --output_dir srt

Takes files and folders, which are searched with their subfolders. The language of each recording is detected, or given
by `--language gl`, or read from the name of its folder (`--language folder`: recordings/gl/talk.mp3). Recordings of
similar length are transcribed together, whatever their languages, and a long one alone. A recording that cannot be read
is named at the end and does not stop the others. Transcripts that exist already are left alone, so an interrupted
command goes on where it was, and a corrected text stays. An output folder is of one model, language and task.
`distilwhisper transcribe` does the same.
"""

import sys

from modeling_distilwhisper.commands.transcribe import main

if __name__ == "__main__":
    sys.exit(main())
