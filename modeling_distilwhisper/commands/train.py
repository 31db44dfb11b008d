"""Teach a Whisper a language: train its experts, with or without a teacher, and score them before and after.

    python examples/run_distil.py --student openai/whisper-base --teacher openai/whisper-large-v2 \
        --languages gl --data recordings/{language} --output_dir distilwhisper-base-gl

    python examples/run_distil.py examples/configs/prompts_ru.yaml --student path/to/whisper-base

`data` names corpora: folders with train/, validation/ and test/, each with audio files and a metadata.csv (file_name,
transcription, language), or Common Voice, FLEURS or any data set of the Hub, as in
`common_voice:cv-corpus-13.0?train=10000&validation=1000` and `fleurs:google/fleurs`. Without a teacher the experts are
fine-tuned on cross-entropy alone (CLSR-FT). What it writes loads with
`AutoModelForSpeechSeq2Seq.from_pretrained(output_dir, languages=["gl"], trust_remote_code=True)`.
"""

import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from datasets import Dataset, concatenate_datasets
from tabulate import tabulate
from transformers import (
    AutoModelForSpeechSeq2Seq,
    HfArgumentParser,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    pipeline,
    set_seed,
)

from .. import DistilWhisperForConditionalGeneration
from ..data import Source, keep_usable, parse_sources
from ..data.audio import read_audio
from ..data.collate import SpeechCollator
from ..evaluation.gates import forced_gates
from ..reporting.figures import draw_expert_usage, draw_wer
from ..reporting.model_card import card_of_run, not_saved_message, save_card, sizes
from ..runs.precision import PRECISIONS, QUANTISED, precision_settings
from ..runs.results import DataRecord, RunResults
from ..runs.run_folder import RunFolder
from ..runs.settings import defaults_of, parse_settings
from ..training.arguments import DistilWhisperTrainingArguments
from ..training.scoring import score, wer_rows
from ..training.teacher import Teacher, load_teacher
from ..training.teacher_cache import TeacherCache
from ..training.trainer import DistilWhisperTrainer

METHODS = ("experts", "lora", "finetune")
STUDENT_PRECISIONS = ("float32", "int8", "nf4")


@dataclass
class ModelArguments:
    student: str = field(metadata={"help": "Folder or Hub id of the Whisper that learns."})
    languages: list[str] = field(metadata={"help": "Codes of the languages to train, such as gl ca."})
    student_precision: str = field(
        default="float32",
        metadata={"help": "'float32', or quantised: 'int8' (LLM.int8()) or 'nf4'. What is trained stays whole."},
    )
    teacher: str | None = field(
        default=None, metadata={"help": "Folder or Hub id of the Whisper to learn from, of any size and kind."}
    )
    teacher_precision: str = field(
        default="auto", metadata={"help": f"One of {', '.join(PRECISIONS)}; int8 is LLM.int8()."}
    )
    teacher_cache: str | None = field(
        default=None, metadata={"help": "Folder that run_cache_teacher.py wrote, in place of --teacher."}
    )
    method: str = field(
        default="experts",
        metadata={"help": "'experts', or to compare: 'lora' (on fc1 and fc2), 'finetune' (all weights)."},
    )
    gate_budget: float = field(default=0.5, metadata={"help": "Share of tokens that should take the expert."})
    language_budgets: list[str] = field(
        default_factory=list, metadata={"help": "Budgets of single languages that have others: gl=0.7 ca=0.4."}
    )
    skip_gate_prob: float = field(default=0.2, metadata={"help": "Share of gates that training closes at random."})
    gate_training: str = field(default="hard", metadata={"help": "'hard', or 'soft' as in the report."})
    gate_noise_max: float = field(default=5.0, metadata={"help": "What the noise of soft gates rises to."})
    expert_rank: int = field(default=0, metadata={"help": "0 for full experts, or the rank of low-rank ones."})
    experts_from: str | None = field(
        default=None, metadata={"help": "Folder or Hub id of experts to go on from, such as compressed ones."}
    )
    lora_rank: int = field(default=32, metadata={"help": "Rank of --method lora."})
    save_backbone: bool = field(default=True, metadata={"help": "Save Whisper's own weights beside the experts."})


@dataclass
class DataArguments:
    data: list[str] = field(
        metadata={"help": "Corpora: [name=][folder:|common_voice:|fleurs:|hub:]location[?train=10000&...]"}
    )
    test_data: list[str] = field(default_factory=list, metadata={"help": "More corpora, to be tested on only."})
    test_languages: list[str] = field(
        default_factory=list, metadata={"help": "Languages to score as well, though they are not trained."}
    )
    max_rows: int | None = field(default=None, metadata={"help": "At most so many rows of each split, for a try."})
    score_teacher: bool = field(default=False, metadata={"help": "Score the teacher on the test sets too."})


# What makes another run of it. How long it runs, and what it logs, may change when it is taken up again.
DEFINING = (
    *(
        "learning_rate",
        "lr_scheduler_type",
        "warmup_epochs",
        "warmup_steps",
        "weight_decay",
        "adam_beta1",
        "adam_beta2",
    ),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "label_smoothing_factor", "bf16", "fp16", "seed"),
    *("kd_beta", "kd_beta_schedule", "kd_beta_end", "kd_beta_max", "kd_divergence", "kd_temperature"),
    *("gate_momentum", "language_temperature", "normalizer"),
)


def main(argv: list[str] | None = None) -> None:
    parser = HfArgumentParser((ModelArguments, DataArguments, DistilWhisperTrainingArguments))
    model_args, data_args, training_args = parse_settings(parser, sys.argv[1:] if argv is None else argv)
    set_seed(training_args.seed)

    check(model_args, data_args)
    processor = WhisperProcessor.from_pretrained(model_args.student)
    model = load_student(model_args, training_args.device)
    teacher = None
    if model_args.teacher:
        teacher = load_teacher(model_args.teacher, model_args.teacher_precision, training_args.device)
    taught_by = TeacherCache(model_args.teacher_cache) if model_args.teacher_cache else teacher
    data = SpeechData(data_args, model_args.languages, processor, model.config.max_target_positions)
    shared = {
        "eval_dataset": data.validation,
        "data_collator": SpeechCollator(processor),
        "processing_class": processor,
    }
    trainer = DistilWhisperTrainer(model, training_args, teacher=taught_by, train_dataset=data.train, **shared)
    training = {name: getattr(training_args, name) for name in DEFINING}
    settings = {"model": asdict(model_args), "data": asdict(data_args), "training": training}
    defaults = defaults_of(ModelArguments, DataArguments, DistilWhisperTrainingArguments)
    run = RunFolder(training_args.output_dir, settings, defaults)
    finished = run.read("results.json")
    if finished and "example" in finished and as_long(finished["settings"]["training"], training_args):
        if trainer.is_world_process_zero():
            report(finished, run.folder)
        return
    if run.read("rows.json") not in (None, data.chosen):
        raise ValueError(f"{run.folder} holds a run on other rows (rows.json). Use another folder or delete it.")
    run.write("rows.json", data.chosen)
    scores = run.read("before.json")
    if scores is None:
        scores = {"before": score(trainer, data.tests)}
        if teacher is not None and data_args.score_teacher:
            own = {"data_collator": SpeechCollator(teacher.processor), "processing_class": teacher.processor}
            scored = DistilWhisperTrainer(teacher.model, training_args, eval_dataset=data.validation, **own)
            scores["teacher"] = score(scored, data.tests)
            scored.release()
        run.write("before.json", scores)

    set_seed(training_args.seed)  # whatever was drawn for scoring, which a run that is started again may skip
    trained = trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint or run.last_checkpoint())

    scores["after"] = score(trainer, data.tests)
    results = RunResults(settings | {"training": training_args.to_dict()}, scores, data.records)
    if trainer.is_routed:
        own = data.tests_in(model_args.languages)
        for name, is_open in {"gates open": True, "gates shut": False}.items():
            with forced_gates(model, is_open=is_open):
                scores[name] = score(trainer, own)
        results.expert_usage = {
            language: trainer.measure_expert_usage(rows) for language, rows in own[data.first].items()
        }
    results.teacher_precision = precision_of(taught_by, model_args)
    results.training = trained.metrics | {"steps by language": trainer.figures.steps}
    results.best_by_language = trainer.best_experts.scores()
    if trainer.is_world_process_zero():
        # A quantised backbone comes from where it came from, in the precision that one loads it in.
        whole = model_args.save_backbone and model_args.student_precision not in QUANTISED
        backbone = {"save_backbone": whole} if trainer.is_routed else {}
        model.save_pretrained(training_args.output_dir, **backbone)
        processor.save_pretrained(training_args.output_dir)
        if trainer.is_routed:
            results.sizes = sizes(model, training_args.output_dir)
        run.write("results.json", results.to_json())  # before anything else can go wrong
        clip = data.tests[data.first][model_args.languages[0]][0]
        results.example = try_out(training_args.output_dir, clip, model_args)
        content = run.write("results.json", results.to_json())
        if trainer.is_routed:
            name = training_args.hub_model_id or run.folder.resolve().name
            card = run.folder / "README.md"
            if not save_card(card_of_run(content, name=name), card):
                print(f"\n{not_saved_message(card)}")
        report(content, run.folder)


def as_long(finished: dict, training_args: DistilWhisperTrainingArguments) -> bool:
    return all(finished[name] == getattr(training_args, name) for name in ("num_train_epochs", "max_steps"))


def precision_of(taught_by: Teacher | TeacherCache | None, model_args: ModelArguments) -> str | None:
    """What the teacher's weights are, or were, in; "auto" does not say."""
    if isinstance(taught_by, TeacherCache):
        return taught_by.manifest.get("teacher precision")
    if taught_by is None:
        return None
    return str(taught_by.model.dtype) if model_args.teacher_precision == "auto" else model_args.teacher_precision


def load_student(model_args: ModelArguments, device: torch.device):
    loading = precision_settings(model_args.student_precision, device)
    if model_args.method == "experts":
        names = ("gate_budget", "skip_gate_prob", "gate_training", "gate_noise_max", "expert_rank")
        settings = {name: getattr(model_args, name) for name in names}
        settings["gate_budgets"] = budgets(model_args.language_budgets, model_args.languages)
        new = [] if model_args.experts_from else model_args.languages
        model = DistilWhisperForConditionalGeneration.from_whisper(
            model_args.student, languages=new, **loading, **settings
        )
        if model_args.experts_from:
            for language in model_args.languages:
                model.load_experts(model_args.experts_from, language)
            model.freeze_backbone()
        return model
    plain = WhisperForConditionalGeneration.from_pretrained(model_args.student, **loading)
    if model_args.method == "finetune":
        return plain
    from peft import LoraConfig, get_peft_model  # here alone: it takes seconds to import

    rank = model_args.lora_rank
    return get_peft_model(plain, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["fc1", "fc2"]))


def check(model_args: ModelArguments, data_args: DataArguments) -> None:
    if model_args.method not in METHODS:
        raise ValueError(f"--method must be one of {', '.join(METHODS)}, got {model_args.method!r}.")
    if model_args.teacher and model_args.teacher_cache and not data_args.score_teacher:
        raise ValueError("--teacher has no use beside --teacher_cache but to be scored. Give one of them.")
    if data_args.score_teacher and model_args.teacher_precision in QUANTISED:
        raise ValueError("--score_teacher takes a teacher that is not quantised. run_eval.py scores any.")
    if model_args.experts_from and (model_args.method != "experts" or model_args.expert_rank):
        raise ValueError(
            "--experts_from brings experts with a rank of their own: give neither --expert_rank nor another --method."
        )
    if model_args.student_precision not in STUDENT_PRECISIONS:
        raise ValueError(
            f"--student_precision must be one of {', '.join(STUDENT_PRECISIONS)} (half precision in training is --bf16 "
            f"or --fp16), got {model_args.student_precision!r}."
        )
    if model_args.student_precision in QUANTISED and model_args.method == "finetune":
        raise ValueError("Quantised weights cannot be fine-tuned. Train experts on them, or --method lora.")
    if model_args.language_budgets and model_args.method != "experts":
        raise ValueError(f"--language_budgets are of experts' gates, and --method {model_args.method} has none.")


def budgets(written: list[str], languages: list[str]) -> dict[str, float]:
    found = {}
    for word in written:
        language, _, budget = word.partition("=")
        if language not in languages or not re.fullmatch(r"[01]|[01]?\.\d+", budget):
            raise ValueError(
                f"--language_budgets: expected one of the languages {languages} and a share, such as "
                f"{languages[0]}=0.7, got {word!r}."
            )
        found[language] = float(budget)
    return found


class SpeechData:
    """All rows that can be used, and how many could not, by reason.

    Attributes:
        train, validation: rows of the trained languages, of all corpora.
        tests: rows by corpus and language.
        first: the name of the first corpus.
        records: of each corpus, split and language.
        chosen: the corpora as they were understood, and the ids of the rows that are used.
    """

    def __init__(self, data_args: DataArguments, languages: list[str], processor, max_tokens: int):
        self.records: list[DataRecord] = []
        self._ids: dict[str, list[str]] = {}
        self._how = (data_args.max_rows, processor, max_tokens)
        scored = list(dict.fromkeys([*languages, *data_args.test_languages]))
        sources = parse_sources([*data_args.data, *data_args.test_data], scored)
        own = sources[: len(data_args.data)]
        self.first = own[0].name
        self.train, self.validation = (
            concatenate_datasets([self._read(source, split, code) for source in own for code in languages])
            for split in ("train", "validation")
        )
        if not len(self.validation):
            raise ValueError("No usable row for validation, by which the best checkpoint is chosen.")
        self.tests = {source.name: {code: self._read(source, "test", code) for code in scored} for source in sources}
        self.chosen = {"sources": [asdict(source) for source in sources], "rows": self._ids}

    def _read(self, source: Source, split: str, language: str) -> Dataset:
        max_rows, processor, max_tokens = self._how
        rows = source.read(split, language)
        if max_rows is not None:
            rows = rows.select(range(min(max_rows, len(rows))))
        kept, reasons = keep_usable(rows, processor, max_tokens)
        title = f"{source.name} {split} {language}"
        self._ids[title] = list(kept["id"])
        hours = sum(kept["seconds"]) / 3600
        self.records.append(DataRecord(source.name, split, language, len(kept), hours, dict(reasons)))
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none"
        print(f"{title}: {len(kept)} rows; left out: {told}")
        if not len(kept) and split != "validation":
            raise ValueError(f"No usable row in {title}: nothing to train on or to score.")
        return kept

    def tests_in(self, languages: list[str]) -> dict[str, dict[str, Dataset]]:
        return {name: {code: own[code] for code in languages} for name, own in self.tests.items()}


def try_out(folder: str, clip: dict, model_args: ModelArguments) -> dict[str, str]:
    """What the saved folder makes of a clip, loaded as users load it."""
    processor = WhisperProcessor.from_pretrained(folder)
    heard = {"clip": clip["audio"]["path"] or clip["id"], "said": clip["text"]}
    own = [clip["language"]]
    choices = [{"languages": []}, {"languages": own}] if model_args.method == "experts" else [{}]
    loading = precision_settings(model_args.student_precision)
    for chosen in choices:
        model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, **chosen, **loading)
        speech = pipeline(
            "automatic-speech-recognition",
            model=model,
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
        )
        told = {"language": clip["language"], "task": "transcribe"}
        name = "heard" + "".join(f", {name}={value}" for name, value in chosen.items())
        heard[name] = speech(read_audio(clip["audio"]), generate_kwargs=told)["text"].strip()
    return heard


def report(results: dict, folder: Path) -> None:
    """Tables to read, and pictures beside the JSON."""
    rows = wer_rows(results["scores"])
    print(f"\nWER\n{tabulate(rows, headers='keys', floatfmt='.3f', missingval='-')}")
    draw_wer(rows, [name for name in ("before", "after", "teacher") if name in results["scores"]], folder / "wer.png")
    usage = results.get("expert usage at inference")
    if usage:
        shares = [{"expert usage": language, **own} for language, own in usage.items()]
        print(f"\n{tabulate(shares, headers='keys', floatfmt='.2f')}")
        settings = results["settings"]["model"]
        own = budgets(settings["language_budgets"], settings["languages"]).values()
        draw_expert_usage(usage, sorted({settings["gate_budget"], *own}), folder / "expert_usage.png")
    print(f"\n{tabulate(results['example'].items(), tablefmt='plain')}")
    card = f"; the model card: {folder}/README.md" if (folder / "README.md").is_file() else ""
    print(f"\nAll of it: {folder}/results.json, and as pictures: {folder}/*.png{card}")


if __name__ == "__main__":
    main()
