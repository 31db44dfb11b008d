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

from modeling_distilwhisper import BatchTranscriber, load_model, load_processor, read_audio
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.commands.transcribe import parse
from modeling_distilwhisper.data.voice import find_detector
from modeling_distilwhisper.languages_distilwhisper import known_languages
from modeling_distilwhisper.transcription.cues import CueLimits
from modeling_distilwhisper.transcription.detection import detection_choice
from modeling_distilwhisper.transcription.recordings import find_recordings
from modeling_distilwhisper.transcription.subtitles import content_of


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)

    # Any Whisper: if it has experts, each recording is routed to those of its language.
    model = load_model(arguments.model, arguments.precision, arguments.device)
    processor = load_processor(arguments.model)
    # Each recording with its language (None: to be detected) and the path of its transcripts.
    known = set(known_languages(model))
    recordings = find_recordings(arguments.recordings, arguments.output_dir, arguments.language, known)

    # Where no language is given: among which ones it is chosen, and how.
    choice = detection_choice(model, arguments.candidate_languages, arguments.detection, arguments.model)

    # Speech is found and cut into windows of up to 30 s. A batch has windows of any recordings and languages.
    transcriber = BatchTranscriber(
        model,
        processor,
        find_detector(arguments.vad),
        batch_size=arguments.batch_size,
        candidate_languages=choice.candidates,
        detection=choice.detection,
        task=arguments.task,
        num_beams=arguments.num_beams,
    )
    decoded = ((recording, read_audio(recording.path), recording.language) for recording in recordings)
    limits = CueLimits(arguments.max_line_width, arguments.max_lines, arguments.max_cue_seconds)
    for recording, transcript in transcriber(decoded):
        if isinstance(transcript, Exception):
            raise transcript
        recording.target.parent.mkdir(parents=True, exist_ok=True)
        for suffix in arguments.formats:  # srt, vtt, json, txt
            text = content_of(transcript, suffix, limits, arguments.word_timestamps)
            Path(f"{recording.target}.{suffix}").write_text(text, encoding="utf-8")
        print(f"{recording.path} ({transcript.language}, {transcript.seconds:.1f} s): {transcript.text}")


if __name__ == "__main__":
    sys.exit(main())
