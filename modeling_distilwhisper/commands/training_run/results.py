"""What a training run leaves behind: the model, `results.json`, the model card, tables and pictures."""

from pathlib import Path

from tabulate import tabulate
from transformers import AutoModelForSpeechSeq2Seq, WhisperProcessor, pipeline
from transformers.trainer_utils import TrainOutput

from ...data.audio import read_audio
from ...reporting.model_card import card_of_run, not_saved_message, save_card, sizes
from ...runs.precision import QUANTISED, precision_settings
from ...runs.results import FILE, RunResults
from ...runs.run_folder import SETTINGS, RunFolder
from ...training.arguments import DistilWhisperTrainingArguments
from ...training.scoring import Scores, wer_rows
from ...training.trainer import DistilWhisperTrainer
from ..command_line import import_figures
from .arguments import ModelArguments
from .scores import expert_usage
from .speech import SpeechData


def finished_results(run: RunFolder, training_args: DistilWhisperTrainingArguments) -> RunResults | None:
    """The results of a run that has trained as long as these arguments say; `None` for one to start or to continue."""
    content = run.read(FILE)
    if not content or not content.get("example"):
        return None
    results = RunResults.from_json(content)
    trained = results.settings["training"]
    as_long = all(trained[name] == getattr(training_args, name) for name in ("num_train_epochs", "max_steps"))
    return results if as_long else None


def keep_rows(run: RunFolder, data: SpeechData) -> None:
    """Writes which rows the run uses.

    Raises:
        ValueError: the folder holds a run on other rows.
    """
    if run.read("rows.json") not in (None, data.chosen):
        raise ValueError(f"{run.folder} holds a run on other rows (rows.json). Use another folder or delete it.")
    run.write("rows.json", data.chosen)


def collect_results(
    run: RunFolder,
    scores: dict[str, Scores],
    trainer: DistilWhisperTrainer,
    trained: TrainOutput,
    data: SpeechData,
    teacher_precision: str | None,
) -> RunResults:
    """The results of a run, but for what `save_run` adds: sizes of the files, and the example.

    Args:
        trained: what `trainer.train()` returned.
    """
    return RunResults(
        settings=(run.read(SETTINGS) or {}) | {"training": trainer.args.to_dict()},
        scores=scores,
        data=data.records,
        expert_usage=expert_usage(trainer, data) if trainer.is_routed else {},
        teacher_precision=teacher_precision,
        training=trained.metrics | {"steps by language": trainer.figures.steps},
        best_by_language=trainer.best_experts.scores(),
    )


def save_run(
    run: RunFolder, trainer: DistilWhisperTrainer, model_args: ModelArguments, data: SpeechData, results: RunResults
) -> None:
    """Saves the model, its processor, `results.json` and the model card, and tries the saved model on a clip."""
    folder, processor = run.folder, trainer.processing_class
    # A quantised backbone is not saved: it is loaded from where the student is, in the precision that one chooses.
    with_backbone = model_args.save_backbone and model_args.student_precision not in QUANTISED
    if trainer.is_routed:
        trainer.model.save_pretrained(folder, save_backbone=with_backbone)
    else:
        trainer.model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if trainer.is_routed:
        results.sizes = sizes(trainer.model, folder)
    run.write(FILE, results.to_json())  # before anything else can go wrong
    results.example = try_out(folder, data.example, model_args)
    content = run.write(FILE, results.to_json())
    if trainer.is_routed:
        name = trainer.args.hub_model_id or folder.resolve().name
        card = folder / "README.md"
        if not save_card(card_of_run(content, name=name), card):
            print(f"\n{not_saved_message(card)}")


def try_out(folder: Path, clip: dict, model_args: ModelArguments) -> dict[str, str]:
    """Transcripts of a clip by the saved folder, loaded as users load it: without and with the language's experts."""
    processor = WhisperProcessor.from_pretrained(folder)
    example = {"clip": clip["audio"]["path"] or clip["id"], "reference": clip["text"]}
    choices = [{"languages": []}, {"languages": [clip["language"]]}] if model_args.method == "experts" else [{}]
    for choice in choices:
        model = AutoModelForSpeechSeq2Seq.from_pretrained(
            folder, **choice, **precision_settings(model_args.student_precision)
        )
        transcribe = pipeline(
            "automatic-speech-recognition",
            model=model,
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
        )
        settings = {"language": clip["language"], "task": "transcribe"}
        name = "transcript" + "".join(f", {setting}={value}" for setting, value in choice.items())
        example[name] = transcribe(read_audio(clip["audio"]), generate_kwargs=settings)["text"].strip()
    return example


def report(results: RunResults, folder: Path) -> None:
    """Prints tables, and draws pictures in the run's folder."""
    rows = wer_rows(results.scores)
    print(f"\nWER\n{tabulate(rows, headers='keys', floatfmt='.3f', missingval='-')}")
    if results.expert_usage:
        shares = [{"expert usage": language, **layers} for language, layers in results.expert_usage.items()]
        print(f"\n{tabulate(shares, headers='keys', floatfmt='.2f')}")
    print(f"\n{tabulate(results.example.items(), tablefmt='plain')}")
    pictures = draw(results, rows, folder)
    card = f"; the model card: {folder}/README.md" if (folder / "README.md").is_file() else ""
    print(f"\nAll of it: {folder}/results.json{pictures}{card}")


def draw(results: RunResults, rows: list[dict], folder: Path) -> str:
    """Draws WER and expert usage if matplotlib is there; returns where, as a part of a sentence."""
    figures = import_figures()
    if figures is None:
        return ""
    systems = [name for name in ("before", "after", "teacher") if name in results.scores]
    figures.draw_wer(rows, systems, folder / "wer.png")
    if results.expert_usage:
        model_args = ModelArguments(**results.settings["model"])
        budgets = sorted({model_args.gate_budget, *model_args.budgets.values()})
        figures.draw_expert_usage(results.expert_usage, budgets, folder / "expert_usage.png")
    return f", and as pictures: {folder}/*.png"
