"""Compare the error rates of groups of speakers, before and after compression: chapter 3 of the report, for any models.

    distilwhisper bias --models tiny=openai/whisper-tiny large=openai/whisper-large-v2 \
        --precision float16 int8 nf4 --balanced fleurs:google/fleurs \
        --data common_voice:cv-corpus-13.0-2023-03-09 --languages ca gl hu uk --output_dir bias

Writes which rows were used and why, a file of transcripts for each model, precision, corpus and language, and from
them tables, figures 2 to 12 of the report and one page with all of it. If you start it again, it continues. Several
processes share the work, on several GPUs or machines: `torchrun --nproc_per_node=2 -m modeling_distilwhisper bias ...`.

Without --models it draws again what a folder holds, all or some of the figures:

    distilwhisper bias --output_dir bias --precision float16 --figures figure7 figure10
"""

import sys
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from ..bias.corpora import MIN_BALANCED_UTTERANCES, Corpus
from ..bias.grid import read_study_rows, run_grid
from ..data.sources import SPEC_FORM, parse_sources
from ..evaluation.normalization import NORMALIZERS
from ..runs.any_whisper import name_models
from ..runs.extras import require
from ..runs.precision import PRECISIONS
from ..runs.processes import begin, is_main_process
from .command_line import DEVICE, command, parse_dataclasses


@dataclass
class BiasArguments:
    """The settings of a study of groups of speakers."""

    output_dir: str = field(metadata={"help": "Folder of rows, transcripts, tables, figures and page."})
    models: list[str] = field(
        default_factory=list, metadata={"help": "Folders or Hub ids, each with or without name= in front."}
    )
    precision: list[str] = field(
        default_factory=lambda: ["float32", "int8"],
        metadata={"help": f"The first is before compression, the others after. Of {', '.join(PRECISIONS[1:])}."},
    )
    balanced: list[str] = field(
        default_factory=list,
        metadata={"help": "Corpora of which only sentences read by both genders are used, such as fleurs:location."},
    )
    data: list[str] = field(
        default_factory=list,
        metadata={"help": f"Corpora as they are: {SPEC_FORM}"},
    )
    splits: list[str] = field(
        default_factory=lambda: ["validation"], metadata={"help": "Splits of --data: train, validation or test."}
    )
    languages: list[str] = field(default_factory=list, metadata={"help": "Whisper's codes, such as gl ca."})
    vad: str = field(
        default="silero", metadata={"help": "Voice activity detector of --balanced: silero, none, module:function."}
    )
    min_utterances: int = field(
        default=MIN_BALANCED_UTTERANCES, metadata={"help": "Utterances that a language of --balanced must have."}
    )
    normalizer: str = field(
        default="marks", metadata={"help": f"Normaliser of the scores: {' or '.join(NORMALIZERS)}."}
    )
    figures: list[str] = field(
        default_factory=list, metadata={"help": "Which figures of the report to draw, such as figure7; by default all."}
    )
    batch_size: int = field(default=16, metadata={"help": "Utterances at a time."})
    num_beams: int = field(default=1, metadata={"help": "Width of the beam; 1 is greedy decoding."})
    device: str = field(default=DEVICE, metadata={"help": "Where the models run: cpu, cuda, mps."})


@command
def main(argv: list[str], prog: str) -> None:
    (arguments,) = parse_dataclasses(__doc__, argv, prog, BiasArguments)
    require("matplotlib", "pandas", extra="bias")
    models, units = check(arguments)
    folder = Path(arguments.output_dir)
    if models:
        begin(folder)
        data = read_study_rows(folder, units, arguments.vad, arguments.min_utterances)
        settings = {name: getattr(arguments, name) for name in ("batch_size", "num_beams", "device")}
        run_grid(folder, models, arguments.precision, data, **settings)
    if is_main_process():
        analyse(folder, arguments)


def analyse(folder: Path, arguments: BiasArguments) -> None:
    """Writes tables, figures and the page from the transcripts in a folder."""
    from ..bias.figures import FIGURES, draw_figures  # these modules need an extra
    from ..bias.page import write_page, write_tables
    from ..bias.study import read_study

    study = read_study(folder, arguments.precision[0], arguments.normalizer)
    pictures = draw_figures(study, folder, arguments.figures or list(FIGURES))
    text = write_tables(study, folder)
    page = write_page(study, pictures, folder)
    print(f"\n{text}\n\nAll tables and pictures: {page}; in its folder as CSV and PNG.")


def check(arguments: BiasArguments) -> tuple[dict[str, str], list[tuple[Corpus, str]]]:
    """Models by name, and each corpus with each language.

    Raises:
        ValueError: a setting is wrong; nothing has taken time yet.
    """
    from ..bias.figures import FIGURES

    for setting, values in {"precision": PRECISIONS[1:], "figures": FIGURES, "normalizer": NORMALIZERS}.items():
        value = getattr(arguments, setting)
        if wrong := sorted(set([value] if isinstance(value, str) else value) - set(values)):
            raise ValueError(f"--{setting} takes some of {', '.join(values)}; got {', '.join(wrong)}.")
    if arguments.models and not (arguments.languages and (arguments.balanced or arguments.data)):
        raise ValueError("--models needs speech to transcribe: give --balanced or --data, and --languages.")
    languages = list(dict.fromkeys(arguments.languages))
    sources = parse_sources([*arguments.balanced, *arguments.data], languages)
    corpora = [Corpus.balanced_from(source) for source in sources[: len(arguments.balanced)]]
    corpora += [Corpus(source, tuple(arguments.splits), False) for source in sources[len(arguments.balanced) :]]
    return name_models(arguments.models), list(product(corpora, languages))


if __name__ == "__main__":
    sys.exit(main())
