"""What clients of the Hub do in a separate process, which takes the stand-in for the Hub: see `client`."""

import contextlib
import io
import os

import torch
from helpers import tiny
from helpers.training import load, make_trainer
from transformers import AutoModelForSpeechSeq2Seq, WhisperProcessor, pipeline

import distilwhisper_cli
from modeling_distilwhisper import DistilWhisperForConditionalGeneration

ME, OTHER = "hf_me", "hf_other"  # tokens


def load_and_generate(where, cache, languages=None, rows=("gl", "ca"), **settings) -> list[list[int]]:
    """Tokens that a model generates from the same noise, a row for each language."""
    model = DistilWhisperForConditionalGeneration.from_pretrained(
        where, languages=languages, cache_dir=cache, **settings
    )
    return tokens(model, rows)


def tokens(model, rows=("gl", "ca")) -> list[list[int]]:
    noise = torch.randn(len(rows), 8, 200, generator=torch.Generator().manual_seed(3))
    return model.eval().generate(noise, language=list(rows), task="transcribe", max_new_tokens=8).tolist()


def push(folder, repo_id, how="push_experts_to_hub", name=None, loaded=None, **settings) -> str:
    """Pushes what is in a folder or repository (`loaded`: which revision of it); gives the id of the commit."""
    model = DistilWhisperForConditionalGeneration.from_pretrained(folder, **(loaded or {}))
    if name is not None:
        model.config.base_model_name_or_path = name
    return getattr(model, how)(repo_id, token=settings.pop("token", ME), **settings).oid


def save_and_push(folder, target, repo_id) -> None:
    model = DistilWhisperForConditionalGeneration.from_pretrained(folder)
    model.save_pretrained(target, push_to_hub=True, repo_id=repo_id, token=ME)


def make_from_hub(repo_id, languages, cache, target, **where) -> None:
    model = DistilWhisperForConditionalGeneration.from_whisper(repo_id, languages=languages, cache_dir=cache, **where)
    tiny.unsettle(model)
    model.save_pretrained(target, save_backbone=False)


def with_environment(name, value, function, *arguments, **settings):
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        return function(*arguments, **settings)
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def generate_by_auto_class(repo_id, cache) -> list[list[int]]:
    return tokens(AutoModelForSpeechSeq2Seq.from_pretrained(repo_id, cache_dir=cache))


def transcribe_by_pipeline(repo_id, cache, language) -> str:
    pipe = pipeline("automatic-speech-recognition", model=repo_id, model_kwargs={"cache_dir": cache})
    return transcribe_noise(pipe, language)


def transcribe_noise(pipe, language) -> str:
    samples = torch.randn(16_000, generator=torch.Generator().manual_seed(4)).numpy()
    return pipe(samples, generate_kwargs={"language": language, "max_new_tokens": 12})["text"]


def run_command(*argv, token=ME) -> tuple[int, str, str]:
    """Exit status, output and errors of `distilwhisper` with these arguments; the token says who is logged in."""
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        code = with_environment("HF_TOKEN", token, distilwhisper_cli.main, [*map(str, argv)])
    return code, printed.getvalue(), errors.getvalue()


def train_and_push(whisper_dir, recordings, output, repo_id, **settings) -> dict[str, list[list[int]]]:
    """Trains for two steps, and pushes as the settings say; what the model generates after it, with each language."""
    trainer = make_trainer(
        load(whisper_dir, ("gl", "ca")),
        WhisperProcessor.from_pretrained(whisper_dir),
        recordings,
        output,
        languages=("gl", "ca"),
        push_to_hub=True,
        hub_model_id=repo_id,
        hub_token=ME,
        max_steps=2,
        learning_rate=0.05,
        eval_strategy="no",
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=False,
        **settings,
    )
    trainer.train()
    if settings["hub_strategy"] == "end":
        trainer.push_to_hub()
    return tokens(trainer.model)


def resume_from(whisper_dir, recordings, checkpoint, output) -> int:
    """The step that a training has reached which goes on from a checkpoint."""
    processor = WhisperProcessor.from_pretrained(whisper_dir)
    settings = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "max_steps": 3}
    model = load(whisper_dir, ("gl", "ca"))
    trainer = make_trainer(model, processor, recordings, output, languages=("gl", "ca"), **settings)
    return trainer.train(resume_from_checkpoint=str(checkpoint)).global_step
