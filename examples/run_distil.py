"""Teach a Whisper a language: train its experts, with or without a teacher, and score them before and after.

    python examples/run_distil.py --student openai/whisper-base --teacher openai/whisper-large-v2 \
        --languages gl --data recordings/{language} --output_dir distilwhisper-base-gl

    python examples/run_distil.py examples/configs/prompts_ru.yaml --student path/to/whisper-base

`data` names corpora: folders with train/, validation/ and test/, each with audio files and a metadata.csv (file_name,
transcription, language), or Common Voice, FLEURS or any data set of the Hub, as in
`common_voice:cv-corpus-13.0?train=10000&validation=1000` and `fleurs:google/fleurs`. Without a teacher the experts are
trained on cross-entropy alone (CLSR-FT). The model that it writes loads with
`AutoModelForSpeechSeq2Seq.from_pretrained(output_dir, languages=["gl"], trust_remote_code=True)`.
"""

import sys

from modeling_distilwhisper import DistilWhisperTrainingArguments
from modeling_distilwhisper.commands.command_line import command, parse_dataclasses
from modeling_distilwhisper.commands.train import train
from modeling_distilwhisper.commands.training_run.arguments import DataArguments, ModelArguments


@command
def main(argv: list[str], prog: str) -> None:
    # Settings, from flags or from a YAML or JSON file. `--help` shows them all.
    model_args, data_args, training_args = parse_dataclasses(
        __doc__, argv, prog, ModelArguments, DataArguments, DistilWhisperTrainingArguments
    )
    # The run is one function, which `distilwhisper train` calls too. Read it in
    # modeling_distilwhisper/commands/train.py, where a comment explains each step. For a training of your own, copy it:
    # it is made of functions that can be called alone.
    train(model_args, data_args, training_args)


if __name__ == "__main__":
    sys.exit(main())
