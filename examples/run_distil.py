"""Teach a Whisper a language: train its experts, with or without a teacher, and score them before and after.

    python examples/run_distil.py --student openai/whisper-base --teacher openai/whisper-large-v2 \
        --languages gl --data_dir recordings/{language} --output_dir distilwhisper-base-gl

    python examples/run_distil.py examples/configs/prompts_ru.yaml --student path/to/whisper-base

`data_dir` holds train/, validation/ and test/, each with audio files and a metadata.csv (file_name, transcription,
language). Without a teacher the experts are fine-tuned on cross-entropy alone (CLSR-FT). What it writes loads with
`AutoModelForSpeechSeq2Seq.from_pretrained(output_dir, languages=["gl"], trust_remote_code=True)`.
"""

import sys
from dataclasses import asdict, dataclass, field

import torch
from datasets import concatenate_datasets
from transformers import HfArgumentParser, WhisperForConditionalGeneration, WhisperProcessor, set_seed

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.collate import SpeechCollator
from modeling_distilwhisper.data import SPLITS, keep_usable, read_folder
from modeling_distilwhisper.gates import forced_gates, measure_openness
from modeling_distilwhisper.run_folder import RunFolder
from modeling_distilwhisper.settings import parse_settings
from modeling_distilwhisper.trainer import DistilWhisperTrainer
from modeling_distilwhisper.training_args import DistilWhisperTrainingArguments


@dataclass
class ModelArguments:
    student: str = field(metadata={"help": "Folder or Hub id of the Whisper that learns."})
    languages: list[str] = field(metadata={"help": "Codes of the languages to train, such as gl ca."})
    teacher: str | None = field(default=None, metadata={"help": "Folder or Hub id of the Whisper to learn from."})
    method: str = field(
        default="experts", metadata={"help": "'experts', or 'finetune': all weights of the plain Whisper, to compare."}
    )
    gate_budget: float = field(default=0.5, metadata={"help": "Share of tokens that should take the expert."})
    skip_gate_prob: float = field(default=0.2, metadata={"help": "Share of gates that training closes at random."})
    gate_training: str = field(default="hard", metadata={"help": "'hard', or 'soft' as in the report."})
    gate_noise_max: float = field(default=5.0, metadata={"help": "What the noise of soft gates rises to."})
    expert_rank: int = field(default=0, metadata={"help": "0 for full experts, or the rank of low-rank ones."})
    save_backbone: bool = field(default=True, metadata={"help": "Save Whisper's own weights beside the experts."})


@dataclass
class DataArguments:
    data_dir: str = field(metadata={"help": "Data folder; {language} in it stands for each language's code."})
    max_rows: int | None = field(default=None, metadata={"help": "At most so many rows of each split, for a try."})


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
    *("kd_beta", "kd_divergence", "kd_temperature", "gate_momentum", "normalizer"),
)


def main() -> None:
    parser = HfArgumentParser((ModelArguments, DataArguments, DistilWhisperTrainingArguments))
    model_args, data_args, training_args = parse_settings(parser, sys.argv[1:])
    set_seed(training_args.seed)

    processor = WhisperProcessor.from_pretrained(model_args.student)
    model = load_student(model_args)
    teacher = None
    if model_args.teacher:
        teacher = WhisperForConditionalGeneration.from_pretrained(model_args.teacher)
    data, left_out = load_data(model_args, data_args, processor, model.config.max_target_positions)

    trainer = DistilWhisperTrainer(
        model,
        training_args,
        teacher=teacher,
        train_dataset=concatenate_datasets([data["train", language] for language in model_args.languages]),
        eval_dataset=concatenate_datasets([data["validation", language] for language in model_args.languages]),
        data_collator=SpeechCollator(processor),
        processing_class=processor,
    )
    tests = {language: data["test", language] for language in model_args.languages}
    training = {name: getattr(training_args, name) for name in DEFINING}
    settings = {"model": asdict(model_args), "data": asdict(data_args), "training": training}
    run = RunFolder(training_args.output_dir, settings)
    before = run.read("before.json")
    if before is None:
        before = run.write("before.json", score(trainer, tests))

    trained = trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint or run.last_checkpoint())

    results = {"before": before, "after": score(trainer, tests)}
    if trainer.is_routed:
        for name, is_open in {"gates open": True, "gates shut": False}.items():
            with forced_gates(model, is_open=is_open):
                results[name] = score(trainer, tests)
        openness = {
            language: measure_openness(model, map(trainer._prepare_inputs, trainer.get_eval_dataloader(rows)))
            for language, rows in tests.items()
        }
        results["openness at inference"] = openness
    results["rows left out"] = left_out
    results["training"] = trained.metrics
    results["settings"] = settings | {"training": training_args.to_dict()}
    if trainer.is_world_process_zero():
        backbone = {"save_backbone": model_args.save_backbone} if trainer.is_routed else {}
        model.save_pretrained(training_args.output_dir, **backbone)
        processor.save_pretrained(training_args.output_dir)
        run.write("results.json", results)
        print_table(results, model_args.languages)


def load_student(model_args: ModelArguments):
    if model_args.method == "finetune":
        return WhisperForConditionalGeneration.from_pretrained(model_args.student, dtype=torch.float32)
    if model_args.method != "experts":
        raise ValueError(f"--method must be 'experts' or 'finetune', got {model_args.method!r}.")
    names = ("gate_budget", "skip_gate_prob", "gate_training", "gate_noise_max", "expert_rank")
    settings = {name: getattr(model_args, name) for name in names}
    return DistilWhisperForConditionalGeneration.from_whisper(
        model_args.student, languages=model_args.languages, dtype=torch.float32, **settings
    )


def load_data(model_args: ModelArguments, data_args: DataArguments, processor, max_tokens: int):
    """All rows that can be used, by split and language, and how many could not, by reason."""
    data, left_out = {}, {}
    for split in SPLITS:
        for language in model_args.languages:
            rows = read_folder(data_args.data_dir.format(language=language), split, language)
            if data_args.max_rows is not None:
                rows = rows.select(range(min(data_args.max_rows, len(rows))))
            data[split, language], reasons = keep_usable(rows, processor, max_tokens)
            left_out[f"{language} {split}"] = dict(reasons)
            told = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none"
            print(f"{language} {split}: {len(data[split, language])} rows; left out: {told}")
            if not len(data[split, language]):
                raise ValueError(f"No usable row in the {split} split of {language}: nothing to train on or to score.")
    return data, left_out


def score(trainer: DistilWhisperTrainer, tests: dict) -> dict[str, dict[str, float]]:
    """WER and CER of each language's test split."""
    scores = {}
    for language, rows in tests.items():
        metrics = trainer.predict(rows, metric_key_prefix=language).metrics
        names = ("wer", "cer", "words", "utterances")
        scores[language] = {name: metrics[f"{language}_{name}"] for name in names}
        scores[language]["normalizer"] = trainer.args.normalizer
    return scores


def print_table(results: dict, languages: list[str]) -> None:
    rows = [name for name in ("before", "after", "gates open", "gates shut") if name in results]
    print(
        f"\n{'test split':<12}" + "".join(f"{language + ' WER':>10}{language + ' CER':>10}" for language in languages)
    )
    for name in rows:
        cells = "".join(f"{results[name][lang]['wer']:>10.3f}{results[name][lang]['cer']:>10.3f}" for lang in languages)
        print(f"{name:<12}{cells}")
    for language, share in results.get("openness at inference", {}).items():
        print(
            f"gates open at inference, {language}: " + ", ".join(f"{side} {value:.2f}" for side, value in share.items())
        )


if __name__ == "__main__":
    main()
