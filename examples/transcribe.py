"""Transcribe recordings of any length, with timestamps, by any Whisper: plain, LoRA, or with language experts.

    python examples/transcribe.py recordings --model distilwhisper-small --output_dir transcripts
    python examples/transcribe.py talk.mp3 --model openai/whisper-base --language gl --formats srt --output_dir srt

Takes files and folders, which are searched with their subfolders. The language of each recording is detected, or given
by `--language gl`, or read from the name of its folder (`--language folder`: recordings/gl/talk.mp3).
`distilwhisper transcribe` has the same flags. It also continues after an interruption, leaves transcripts that exist as
they are, and does not stop at a damaged recording.
"""

import sys
from pathlib import Path

from modeling_distilwhisper import load_model, load_processor, read_audio, transcribe_clips
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.commands.transcribe import FALLBACK, parse
from modeling_distilwhisper.transcription.recordings import find_recordings
from modeling_distilwhisper.transcription.subtitles import FORMATS


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)

    # Any Whisper: if it has experts, each recording is routed to those of its language.
    model = load_model(arguments.model, arguments.precision, arguments.device)
    processor = load_processor(arguments.model)
    settings = {"task": arguments.task, "num_beams": arguments.num_beams}
    if arguments.fallback:
        settings |= FALLBACK  # other temperatures where a text repeats itself or is unlikely

    # Each recording with its language (None: to be detected) and the path of its transcripts.
    known = {token.strip("<|>") for token in model.generation_config.lang_to_id}
    recordings = find_recordings(arguments.recordings, arguments.output_dir, arguments.language, known)

    # A batch may mix languages and lengths. Recordings of more than 30 s are transcribed window by window.
    for start in range(0, len(recordings), arguments.batch_size):
        batch = recordings[start : start + arguments.batch_size]
        clips = [read_audio(recording.path) for recording in batch]
        languages = [recording.language for recording in batch]
        transcripts = transcribe_clips(model, processor, clips, languages, **settings)

        for recording, transcript in zip(batch, transcripts, strict=True):
            recording.target.parent.mkdir(parents=True, exist_ok=True)
            for suffix in arguments.formats:  # srt, vtt, json, txt: `to_srt` and others make the text of a file
                text = FORMATS[suffix](transcript)
                Path(f"{recording.target}.{suffix}").write_text(text, encoding="utf-8")
            print(f"{recording.path} ({transcript.language}, {transcript.seconds:.1f} s): {transcript.text}")


if __name__ == "__main__":
    sys.exit(main())
