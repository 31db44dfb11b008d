"""Files that a run wrote, damaged: results, records, settings of folders, comparisons; read by the commands."""

import json

from helpers import cards

from modeling_distilwhisper.commands import cache_teacher, card, compress, gates, join, push, transcribe
from modeling_distilwhisper.runs.records import RecordFile
from modeling_distilwhisper.runs.run_folder import RunFolder

from ..trial import Warnings, Wrong, run_command

CONTENTS = {
    "empty": b"", "cut": b'{"settings": {"model": {"stud', "null": b"null", "a list": b"[]", "a number": b"7",
    "text": b"hello world", "not UTF-8": b'{"a": "\xff"}', "an empty object": b"{}", "zeros": bytes(1000),
    "deep": b"[" * 100_000, "NaN": b'{"scores": NaN}', "other keys": b'{"a": {"b": 1}}',
}  # fmt: skip
RECORDS = {
    "a line cut": b'{"id": "1"}\n{"id": "2"',
    "a cut line in the middle": b'{"id": "1"}\n{"id": "2"\n{"id": "3"}\n',
    "no JSON": b"hello\n",
    "a list": b"[1]\n",
    "a number": b"7\n",
    "null": b"null\n",
    "blank lines": b'{"id": "1"}\n\n{"id": "2"}\n',
    "not UTF-8": b'{"id": "\xff"}\n',
    "zeros": bytes(500) + b"\n",
    "twice": b'{"id": "1", "n": 1}\n{"id": "1", "n": 1}\n',
}


def results_of(change):
    def act(folder):
        content = cards.results()
        change(content)
        (folder / "results.json").write_text(json.dumps(content))
        run_command(card.main, folder, "--output", folder / "card.md")
        raise Wrong("a card was written")

    return act


def drop(*keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def put(value, *keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


CHANGES = {
    "no settings": drop("settings"),
    "no model settings": drop("settings", "model"),
    "no languages": drop("settings", "model", "languages"),
    "settings are a list": put([], "settings"),
    "model settings are text": put("x", "settings", "model"),
    "languages are text": put("gl", "settings", "model", "languages"),
    "languages are numbers": put([1], "settings", "model", "languages"),
    "scores are text": put("x", "scores"),
    "scores are a list": put([1], "scores"),
    "data is a number": put(7, "settings", "data"),
    "a corpus is no text": put([7], "settings", "data", "data"),
    "method is a list": put(["experts"], "settings", "model", "method"),
}


def file_read(name, content, read):
    def act(folder):
        (folder / name).write_bytes(content)
        read(folder)
        raise Wrong("read")

    return act


def records(content):
    def act(folder):
        (folder / "r.jsonl").write_bytes(content)
        with Warnings() as warnings:
            read = RecordFile(folder / "r.jsonl").read()
        ids = [record["id"] for record in read]
        if len(set(ids)) < len(ids) or not (ids or warnings.text):
            raise Wrong(f"records {ids}, and nothing was said")

    return act


READERS = {
    "settings.json of a run": ("settings.json", lambda folder: RunFolder(folder, {"model": {"a": 1}})),
    "results.json by card": ("results.json", lambda folder: run_command(card.main, folder)),
}
NO_MODEL = {
    "join": (join, ["{folder}", "--output_dir", "{folder}/out"]),
    "compress": (compress, ["{folder}", "--output_dir", "{folder}/out", "--rank", "2"]),
    "push": (push, ["{folder}", "me/x"]),
    "transcribe": (transcribe, ["{folder}/a.wav", "--model", "{folder}", "--output_dir", "{folder}/out"]),
    "gates": (
        gates,
        ["--models", "{folder}", "--data", "{folder}", "--languages", "ca", "--output_dir", "{folder}/out"],
    ),
    "cache-teacher": (
        cache_teacher,
        [
            "--student",
            "{folder}",
            "--teacher",
            "{folder}",
            "--data",
            "{folder}",
            "--languages",
            "ca",
            "--output_dir",
            "{folder}/out",
        ],
    ),
}


def no_model(module, arguments, content):
    def act(folder):
        if content is not None:
            (folder / "config.json").write_bytes(content)
        run_command(module.main, *(argument.format(folder=folder) for argument in arguments))
        raise Wrong("succeeded")

    return act


def output_under_a_file(folder):
    (folder / "file").write_text("x")
    clip = "examples/quickstart/in_domain/ca/test/000.ogg"
    run_command(transcribe.main, clip, "--model", "examples/quickstart/student", "--output_dir", folder / "file/out")
    raise Wrong("succeeded")


def device(name):
    def act(folder):
        clip = "examples/quickstart/in_domain/ca/test/000.ogg"
        arguments = ["--model", "examples/quickstart/student", "--output_dir", folder / "out", "--device", name]
        run_command(transcribe.main, clip, *arguments)
        raise Wrong("succeeded")

    return act


def trials():
    for title, (name, read) in READERS.items():
        for kind, content in CONTENTS.items():
            yield f"{title}, {kind}", file_read(name, content, read)
    for name, content in RECORDS.items():
        yield f"records, {name}", records(content)
    for name, change in CHANGES.items():
        yield f"card, {name}", results_of(change)
    for name, (module, arguments) in NO_MODEL.items():
        for kind, content in {
            "no folder of a model": None,
            "empty config": b"",
            "config of another form": b"[]",
        }.items():
            yield f"{name}, {kind}", no_model(module, arguments, content)
    yield "output under a file", output_under_a_file
    for name in ("banana", "cuda:99", "", "meta", "cpu:x"):
        yield f"device {name!r}", device(name)
