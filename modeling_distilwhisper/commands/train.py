"""Train the experts of some languages, with or without a teacher, and score them before and after.

    distilwhisper train --student openai/whisper-base --teacher openai/whisper-large-v2 \
        --languages gl --data "recordings/{language}" --output_dir distilwhisper-base-gl

    distilwhisper train examples/quickstart/quickstart.yaml --output_dir try

Settings come from flags, or from a YAML or JSON file with flags after it. `data` names corpora: folders with train/,
validation/ and test/, each with audio files and a metadata.csv (file_name, transcription, language), or Common Voice,
FLEURS or any data set of the Hub, such as `common_voice:cv-corpus-13.0?train=10000&validation=1000` and
`fleurs:google/fleurs`. Without a teacher the experts are trained on cross-entropy alone (CLSR-FT). An
interrupted run continues when it is started again; a finished one shows its results again. --do_train, --do_eval and
--do_predict choose single steps. examples/run_distil.py explains each step.
"""

import os
import sys

from transformers import set_seed

from ..data.collate import SpeechCollator
from ..own_tokens_distilwhisper import add_own_tokens
from ..runs.any_whisper import load_processor
from ..runs.results import RunResults
from ..runs.run_folder import RunFolder
from ..training.arguments import DistilWhisperTrainingArguments
from ..training.teacher import Teacher
from ..training.teacher_cache import TeacherCache
from ..training.trainer import DistilWhisperTrainer
from .command_line import command, parse_dataclasses
from .training_run.arguments import DataArguments, ModelArguments, check_arguments, open_run
from .training_run.models import load_teachers, precision_of_teacher
from .training_run.own_languages import start_as_detected
from .training_run.plan import Plan
from .training_run.results import (
    collect_results,
    finished_results,
    keep_rows,
    predict_metrics,
    push,
    report,
    save_metrics,
    save_model,
    save_run,
)
from .training_run.scores import score_after, score_before
from .training_run.speech import SpeechData


@command
def main(argv: list[str], prog: str) -> None:
    model_args, data_args, training_args = parse_dataclasses(
        __doc__, argv, prog, ModelArguments, DataArguments, DistilWhisperTrainingArguments
    )
    train(model_args, data_args, training_args)


def train(model_args: ModelArguments, data_args: DataArguments, training_args: DistilWhisperTrainingArguments) -> None:
    """A complete run: load, score, train, score again, save and report."""
    check_arguments(model_args, data_args, training_args)
    if model_args.token:
        os.environ["HF_TOKEN"] = model_args.token  # where everything that asks the Hub looks for it
    set_seed(training_args.seed)
    plan = Plan.of(model_args, data_args, training_args)

    # The student is a Whisper whose weights are frozen. Each of its feed-forward blocks gets, for each language, an
    # expert, which begins as a copy of that block, and a gate, which chooses one of the two for each token. The teacher
    # is a larger Whisper, or a cache of its predictions (`distilwhisper cache-teacher`). Without one, experts learn
    # from transcripts alone. A run that only scores takes the model that it has trained, or the student as it is.
    processor = load_processor(model_args.student, model_args.model_revision)
    model = plan.load_model()
    add_own_tokens(processor.tokenizer, model)  # of languages that Whisper has none for
    teacher_model, teacher = load_teachers(model_args, training_args.device) if training_args.do_train else (None, None)

    # The data: rows with audio, text and language, of all corpora and languages together. A batch mixes languages, and
    # each row is routed to the experts of its language. Rows that cannot be used are left out and counted.
    longest = model.config.max_target_positions
    data = SpeechData(data_args, model_args.languages, processor, longest, plan.splits)
    if data.train is not None and model_args.method == "experts":
        start_as_detected(model, processor, data.train, model_args)

    # The trainer is Transformers' Seq2SeqTrainer with another loss (equation 4.8 of the report): cross-entropy, plus
    # the distance to the teacher's predictions, plus the gate budget loss, which holds the gates to their budget.
    trainer = DistilWhisperTrainer(
        model,
        training_args,
        teacher=teacher,
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=processor,
        data_collator=SpeechCollator(processor, model_args.task),
        compute_metrics=plan.compute_metrics(processor),
    )

    trainer.pushes_backbone = model_args.save_backbone

    # Everything that a run writes is in its folder, which refuses a run with other settings or other rows. A run that
    # is started again continues from its last checkpoint; if it is finished, it shows its results again.
    run = open_run(model_args, data_args, training_args)
    results = finished_results(run, training_args) if plan.is_complete else None
    if results is None:
        results = take_steps(plan, run, trainer, data, teacher_model, teacher)

    # Tables to read, and pictures.
    if results is not None and trainer.is_world_process_zero():
        report(results, run.folder)


def take_steps(
    plan: Plan,
    run: RunFolder,
    trainer: DistilWhisperTrainer,
    data: SpeechData,
    teacher_model: Teacher | None,
    teacher: Teacher | TeacherCache | None,
) -> RunResults | None:
    """Trains (`--do_train`), scores the validation split (`--do_eval`) and the test split (`--do_predict`).

    Returns:
        The results of a run that trains and scores the test split; else `None`.
    """
    model_args, training_args = plan.model_args, plan.training_args
    if not plan.is_alone:
        keep_rows(run, data)
    scores, trained = {}, None
    if training_args.do_train:
        # Error rates before training, then training, then after it. With `torchrun` all processes do this.
        if training_args.do_predict:
            scores = score_before(run, trainer, data, teacher_model if plan.data_args.score_teacher else None)
        set_seed(training_args.seed)  # scoring may draw random numbers, and a continued run does not score again
        trained = trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint or run.last_checkpoint())
        # A file for each language's experts, and the processor.
        if trainer.is_world_process_zero():
            save_model(run, trainer, model_args)
        save_metrics(trainer, "train", trained.metrics | {"train_samples": data.count("train")})
        trainer.save_state()
    if training_args.do_eval:
        metrics = trainer.evaluate(metric_key_prefix="eval")
        save_metrics(trainer, "eval", metrics | {"eval_samples": data.count("validation")})
    if training_args.do_predict:
        scores |= score_after(trainer, data)
        save_metrics(trainer, "predict", predict_metrics(scores["after"]))
    results = None
    if trained is not None and training_args.do_predict:
        # results.json and a model card for the Hub.
        precision = precision_of_teacher(teacher, model_args.teacher_precision)
        results = collect_results(run, scores, trainer, trained, data, precision)
        if trainer.is_world_process_zero():
            save_run(run, trainer, model_args, data, results)
    if training_args.push_to_hub and trained is not None:
        push(run, trainer)
    return results


if __name__ == "__main__":
    sys.exit(main())
