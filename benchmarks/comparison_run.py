"""One job of the comparison, in a process alone: train as `distilwhisper train` does, transcribe, count errors.

It is composed of the parts of a training run (`modeling_distilwhisper.commands.training_run`), as
`distilwhisper train` is, but leaves out what is only shown: there are no scores before training (the untrained model
is a job), none after it (they are counted from the transcripts), no model card and no pictures.
"""

import shutil
import time
from collections import defaultdict
from pathlib import Path

import torch
from comparison_jobs import LANGUAGES, Job
from datasets import Dataset, concatenate_datasets
from safetensors.torch import load_file
from transformers import HfArgumentParser, WhisperFeatureExtractor, WhisperProcessor, set_seed

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.commands.comparison.content import saved_weights
from modeling_distilwhisper.commands.training_run.arguments import DataArguments, ModelArguments, check_arguments
from modeling_distilwhisper.commands.training_run.models import load_student, load_teachers
from modeling_distilwhisper.commands.training_run.scores import expert_usage
from modeling_distilwhisper.commands.training_run.speech import SpeechData
from modeling_distilwhisper.data.rows import FEATURES
from modeling_distilwhisper.data.sources import parse_sources
from modeling_distilwhisper.data.usable import keep_scorable
from modeling_distilwhisper.evaluation.gates import forced_gates
from modeling_distilwhisper.evaluation.metrics import count_errors
from modeling_distilwhisper.evaluation.transcription import transcribe_rows
from modeling_distilwhisper.reporting.model_card import sizes
from modeling_distilwhisper.runs.any_whisper import load_model
from modeling_distilwhisper.runs.records import RecordFile
from modeling_distilwhisper.runs.results import RunResults
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments
from modeling_distilwhisper.training.scoring import Scores, score
from modeling_distilwhisper.training.trainer import DistilWhisperTrainer

BATCHES = {"cuda": 128, "cpu": 16}  # on a CPU, 128 clips took 15 GB
LOCATIONS = ("student", "data", "output_dir")  # settings that are paths of this machine
# With which gates forced, open or closed, a job is scored. Closed gates are the untrained model, so few jobs need them.
BOTH = {"gates open": True, "gates closed": False}
FORCED = {"train": {"gates open": True}, "search": {}, "candidate": {}, "ablation": BOTH, "smoke": BOTH}


class GPUFeatureExtractor(WhisperFeatureExtractor):
    """Log-mel features by the GPU: a single CPU thread would take longer for them than the training. In float32."""

    def __call__(self, *args, **settings):
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            return super().__call__(*args, **{"device": "cuda", **settings})
        finally:
            torch.set_float32_matmul_precision(precision)


def run_job(job: Job, weights: Path, prompts: Path, work: Path, extra: dict) -> dict:
    """Runs the job and returns its record, transcripts included.

    Args:
        weights: folder of the untrained model.
        prompts: folder with `prompts/<language>` and `shifted/<language>`.
        work: folder for models; the job's folder in it is made anew, and deleted unless `job.keep`.
        extra: settings that replace the job's, for a try on a small machine.
    """
    started = time.perf_counter()
    torch.set_num_threads(1)
    on_gpu = torch.cuda.is_available()
    folder = work / job.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = job.settings | extra
    record = {"job": job.name, "kind": job.kind, "system": job.system, "language": job.language, "seed": job.seed}
    processor = load_processor(weights, on_gpu)
    if job.kind != "plain":
        record |= train(job.kind, settings, processor, weights, prompts, folder)
    record["minutes of training and its scores"] = (time.perf_counter() - started) / 60
    if job.kind != "search":
        if on_gpu:
            torch.cuda.empty_cache()
            record["GPU memory in training, GiB"] = torch.cuda.max_memory_reserved() / 2**30
        torch.set_float32_matmul_precision("highest")
        chosen = validation_cells if job.kind == "candidate" else test_cells
        rows = rows_of(chosen(job.language), prompts, settings.get("max_rows"))
        model = load_model(str(weights if job.kind == "plain" else folder), "float32", "cuda" if on_gpu else "cpu")
        transcripts = transcribe(model, processor, rows, folder)
        record |= {"counts": counts(transcripts), "transcripts": transcripts}
    record["minutes"] = (time.perf_counter() - started) / 60
    if not job.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return record


def load_processor(weights: Path, on_gpu: bool) -> WhisperProcessor:
    processor = WhisperProcessor.from_pretrained(weights)
    if on_gpu:
        processor.feature_extractor = GPUFeatureExtractor.from_pretrained(weights)
    return processor


def train(kind: str, settings: dict, processor: WhisperProcessor, weights: Path, prompts: Path, folder: Path) -> dict:
    """Trains and saves a model; returns what is kept of it in the record."""
    torch.set_float32_matmul_precision("high")  # TF32
    kept, settings = settings, dict(settings)
    averaged = settings.pop("averaged", 1)
    written = {name: str(weights) if value == "WEIGHTS" else value for name, value in settings.items()}
    written |= {"student": str(weights), "data": [f"{prompts}/prompts/{{language}}"], "output_dir": str(folder)}
    parser = HfArgumentParser((ModelArguments, DataArguments, DistilWhisperTrainingArguments))
    model_args, data_args, training_args = parser.parse_dict(written)
    check_arguments(model_args, data_args, training_args)
    set_seed(training_args.seed)
    model = load_student(model_args, training_args.device)
    _, teacher = load_teachers(model_args, training_args.device)
    data = SpeechData(data_args, model_args.languages, processor, model.config.max_target_positions)
    trainer = DistilWhisperTrainer(
        model,
        training_args,
        teacher=teacher,
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=processor,
    )
    set_seed(training_args.seed)
    trained = trainer.train()
    if averaged > 1:
        checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        average_experts(trainer.model, checkpoints[-averaged:])
    results = RunResults(
        scores=forced_scores(trainer, data, FORCED[kind]) if trainer.is_routed else {},
        data=data.records,
        expert_usage=expert_usage(trainer, data)
        if trainer.is_routed and kind in ("train", "ablation", "smoke")
        else {},
        training=trained.metrics | {"steps by language": trainer.figures.steps},
        best_by_language=trainer.best_experts.scores(),
    )
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    if trainer.is_routed:
        trainer.model.save_pretrained(folder, save_backbone=model_args.save_backbone)
        results.sizes = sizes(trainer.model, folder)
    else:
        trainer.model.save_pretrained(folder)
    WhisperProcessor.from_pretrained(weights).save_pretrained(folder)
    log = trainer.state.log_history
    return {
        "settings": {name: value for name, value in kept.items() if name not in LOCATIONS},
        "results": {name: value for name, value in results.to_json().items() if value},
        "validation": [line for line in log if "eval_wer" in line],
        "log": [line for line in log if "loss" in line],
        "saved weights": saved_weights(folder),
    }


def average_experts(model: DistilWhisperForConditionalGeneration, checkpoints: list[Path]) -> None:
    """Gives the model's experts and gates the mean of what they were in some checkpoints."""
    sums: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(()))
    for checkpoint in checkpoints:
        for path in checkpoint.glob("expert.*.safetensors"):
            for name, tensor in load_file(path).items():
                sums[name] = sums[name] + tensor.double() / len(checkpoints)
    weights = model.state_dict()
    with torch.no_grad():
        for name, mean in sums.items():
            weights[name].copy_(mean)


def forced_scores(trainer: DistilWhisperTrainer, data: SpeechData, forced: dict[str, bool]) -> dict[str, Scores]:
    """Scores on the test rows of the trained language, by how the gates are forced."""
    scores = {}
    for name, is_open in forced.items():
        with forced_gates(trainer.model, is_open=is_open):
            scores[name] = score(trainer, data.trained_tests)
    return scores


def validation_cells(language: str) -> list[tuple[str, str, str]]:
    """Corpus, split and language: the validation prompts of the job's language, clean and shifted."""
    return [("prompts", "validation", language), ("shifted", "validation", language)]


def test_cells(language: str) -> list[tuple[str, str, str]]:
    """The test prompts of the job's language, clean and shifted, its shifted validation prompts, and the clean test
    prompts of the other languages."""
    cells = [("prompts", "test", language), ("shifted", "test", language), ("shifted", "validation", language)]
    return cells + [("prompts", "test", other) for other in LANGUAGES if other != language]


def rows_of(cells: list[tuple[str, str, str]], prompts: Path, max_rows: int | None) -> Dataset:
    """The rows of these cells as one data set, since a batch takes as long as its longest row.

    Their ids are `language/split/domain/name`.
    """
    parts = []
    for corpus, split, code in cells:
        (source,) = parse_sources([f"{corpus}=folder:{prompts}/{corpus}/{{language}}"], [code])
        rows = source.read(split, code)
        if max_rows is not None:
            rows = rows.select(range(min(max_rows, len(rows))))
        ids = [f"{code}/{split}/{name if corpus == 'shifted' else f'clean/{name}'}" for name in rows["id"]]
        parts.append(rows.remove_columns(["id"]).add_column("id", ids, feature=FEATURES["id"]))
    rows, left_out = keep_scorable(concatenate_datasets(parts))
    if left_out:
        raise ValueError(f"Expected prompts that can all be scored, got {dict(left_out)}. Make them anew.")
    return rows


def transcribe(model, processor: WhisperProcessor, rows: Dataset, folder: Path) -> list[dict[str, str]]:
    """Greedy transcripts of the rows."""
    file = RecordFile(folder / "transcripts.jsonl")
    records = transcribe_rows(file, model, processor, rows, batch_size=BATCHES[model.device.type])
    transcripts = []
    for record in sorted(records, key=lambda record: record["id"]):
        names = dict(zip(("language", "split", "domain", "id"), record["id"].split("/", 3), strict=True))
        transcripts.append(names | {key: record[key] for key in ("seconds", "reference", "hypothesis")})
    return transcripts


def counts(transcripts: list[dict], normalizer: str = "report") -> list[dict]:
    """Errors by domain, split and language."""
    cells = defaultdict(list)
    for record in transcripts:
        cells[record["domain"], record["split"], record["language"]].append(record)
    rows = []
    for (domain, split, language), records in cells.items():
        texts = ([record[name] for record in records] for name in ("reference", "hypothesis"))
        errors = count_errors(*texts, normalizer, language)
        row = {"domain": domain, "split": split, "language": language, **errors.rates()}
        rows.append(row | {"loops": int(errors.loops.sum()), "empty": int(errors.empty.sum())})
    return rows
