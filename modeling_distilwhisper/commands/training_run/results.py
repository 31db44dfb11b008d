"""What a training run leaves behind: the model, `results.json`, the model card, tables and pictures."""

import json
import shutil
from pathlib import Path
from typing import Any

from tabulate import tabulate
from transformers import AutoModelForSpeechSeq2Seq, WhisperProcessor, pipeline
from transformers.trainer_utils import TrainOutput
from transformers.utils import cached_file

from ...data.audio import read_audio
from ...expert_file_distilwhisper import expert_file_name
from ...reporting.model_card import card_of_run, not_saved_message, save_card, sizes
from ...runs.files import atomic_path
from ...runs.origin import origin
from ...runs.precision import QUANTISED, precision_settings
from ...runs.results import FILE, RunResults
from ...runs.run_folder import SETTINGS, RunFolder
from ...training.arguments import DistilWhisperTrainingArguments
from ...training.scoring import Scores, translation_rows, wer_rows
from ...training.trainer import DistilWhisperTrainer
from ..command_line import import_figures
from .arguments import ModelArguments
from .scores import expert_usage
from .speech import SpeechData

TRAIN_RESULTS = "train_results.json"


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
    file = run.read("rows.json") or {}
    before, weights_before = file.get("rows", {}), file.get("weights", {})
    now, weights = data.chosen["rows"], data.chosen.get("weights", {})
    other = sorted(
        title
        for title, ids in now.items()
        if title in before and (before[title], weights_before.get(title)) != (ids, weights.get(title))
    )
    if other:
        raise ValueError(
            f"{run.folder} holds a run on other rows of {', '.join(other)} (rows.json). Use another folder or "
            "delete it."
        )
    weights = weights_before | weights  # of a split that this start does not read too
    run.write("rows.json", data.chosen | {"rows": before | now} | ({"weights": weights} if weights else {}))


def is_trained(folder: Path) -> bool:
    """Whether a run has saved its trained model in its folder."""
    return (folder / TRAIN_RESULTS).is_file() or (folder / FILE).is_file()


def save_metrics(trainer: DistilWhisperTrainer, split: str, metrics: dict[str, float]) -> None:
    """Logs the metrics of "train", "eval" or "predict" and writes them as Transformers' example scripts do.

    That is into `<split>_results.json`, and with those of other steps into `all_results.json`.
    """
    trainer.log_metrics(split, metrics)
    trainer.save_metrics(split, metrics)


def predict_metrics(scores: Scores) -> dict[str, float]:
    """The scores of the test sets under flat names, such as `predict_fleurs_gl_wer`, and of all of them together."""
    metrics: dict[str, Any] = {}
    weights: dict[str, Any] = {}
    for data_set, by_language in scores.items():
        for language, rates in by_language.items():
            for name in ("wer", "cer", "bleu", "chrf"):
                if name in rates:
                    metrics[f"predict_{data_set}_{language}_{name}"] = rates[name]
            weights[f"predict_{data_set}_{language}_wer"] = rates.get("words", 0)
    every: list[Any] = [rates["utterances"] for by_language in scores.values() for rates in by_language.values()]
    metrics["predict_samples"] = sum(every)
    if total := sum(weights.values()):
        metrics["predict_wer"] = sum(metrics[name] * words for name, words in weights.items() if words) / total
    return metrics


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
        origin=origin(trainer.args.device),
    )


def save_model(run: RunFolder, trainer: DistilWhisperTrainer, model_args: ModelArguments) -> None:
    """Saves the model and its processor. Languages that the student had already keep their files, byte for byte."""
    folder = run.folder
    # A quantised backbone is not saved: it is loaded from where the student is, in the precision that one chooses.
    with_backbone = model_args.save_backbone and model_args.student_precision not in QUANTISED
    if trainer.is_routed:
        trainer.model.save_pretrained(folder, save_backbone=with_backbone)
    else:
        trainer.model.save_pretrained(folder)
    trainer.processing_class.save_pretrained(folder)
    for language in (trainer.model.config.languages or []) if trainer.is_routed else []:
        if language not in model_args.languages:
            name = expert_file_name(language)
            with atomic_path(folder / name) as copy:
                shutil.copyfile(cached_file(model_args.student, name, revision=model_args.model_revision), copy)


def push(run: RunFolder, trainer: DistilWhisperTrainer) -> None:
    """Pushes the trained model to the Hub, with the run's card.

    Raises:
        OSError: it could not be pushed; the message says how to do it later.
    """
    try:
        trainer.push_to_hub()
    except Exception as error:  # of any class: the network's or the Hub's
        raise OSError(
            f"All is saved in {run.folder}, but was not pushed to the Hub ({error}). Push it later: "
            f"`distilwhisper push {run.folder} {trainer.hub_model_id}`."
        ) from error


def save_run(
    run: RunFolder, trainer: DistilWhisperTrainer, model_args: ModelArguments, data: SpeechData, results: RunResults
) -> None:
    """Saves `results.json` and the model card, and tries the saved model on a clip."""
    folder = run.folder
    if trainer.is_routed:
        results.sizes = sizes(trainer.model, folder)
    run.write(FILE, results.to_json())  # before anything else can go wrong
    results.example = try_out(folder, data.example, model_args)
    content = run.write(FILE, results.to_json())
    if trainer.is_routed and model_args.task == "transcribe":  # the card's tables are of error rates
        name = trainer.hub_model_id or trainer.args.hub_model_id or folder.resolve().name
        card = folder / "README.md"
        if not save_card(card_of_run(json.loads(json.dumps(content)), name=name), card):  # plain text, as YAML takes it
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
        # Without experts, a language that Whisper has no token for is asked for by its relative.
        language = model.whisper_language(clip["language"]) if choice.get("languages") == [] else clip["language"]
        settings = {"task": model_args.task} | ({"language": language} if language else {})  # else it is detected
        name = "transcript" + "".join(f", {setting}={value}" for setting, value in choice.items())
        example[name] = transcribe(read_audio(clip["audio"]), generate_kwargs=settings)["text"].strip()
    return example


def report(results: RunResults, folder: Path) -> None:
    """Prints tables, and draws pictures in the run's folder."""
    translates = results.settings["model"].get("task") == "translate"
    if translates:
        rows = translation_rows(results.scores)
        print(f"\nTranslation\n{tabulate(rows, headers='keys', floatfmt='.1f', missingval='-')}")
    else:
        rows = wer_rows(results.scores)
        print(f"\nWER\n{tabulate(rows, headers='keys', floatfmt='.3f', missingval='-')}")
    if results.expert_usage:
        shares = [{"expert usage": language, **layers} for language, layers in results.expert_usage.items()]
        print(f"\n{tabulate(shares, headers='keys', floatfmt='.2f')}")
        if results.settings["model"].get("gate_training", "hard") == "hard":
            print("Hard gates: their thresholds followed the budget, so the usage is the budget's by construction.")
    print(f"\n{tabulate(results.example.items(), tablefmt='plain')}")
    pictures = draw(results, [] if translates else rows, folder)
    card = f"; the model card: {folder}/README.md" if (folder / "README.md").is_file() else ""
    print(f"\nAll of it: {folder}/results.json{pictures}{card}")


def draw(results: RunResults, rows: list[dict], folder: Path) -> str:
    """Draws WER and expert usage if matplotlib is there; returns where, as a part of a sentence."""
    figures = import_figures()
    if figures is None:
        return ""
    systems = [name for name in ("before", "after", "teacher") if name in results.scores]
    if rows:
        figures.draw_wer(rows, systems, folder / "wer.png")
    if results.expert_usage:
        model_args = ModelArguments(**results.settings["model"])
        budgets = sorted({model_args.gate_budget, *model_args.budgets.values()})
        by_budget = list(results.expert_usage) if model_args.gate_training == "hard" else []
        figures.draw_expert_usage(results.expert_usage, budgets, folder / "expert_usage.png", set_by_budget=by_budget)
    return f", and as pictures: {folder}/*.png"
