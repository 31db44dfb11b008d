"""What a teacher expects, written once: as good as the teacher, taken up where it stopped, refused where it misfits."""

import json
import math
import shutil

import pyarrow as pa
import pytest
import torch
from helpers import speech, tiny
from helpers.scripts import run_script
from helpers.training import load, make_trainer, rows_of
from safetensors.torch import load_file, save
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.runs.lock import release
from modeling_distilwhisper.training.cache_files import tokenizer_digest
from modeling_distilwhisper.training.cache_writer import CacheWriter, WithDigests
from modeling_distilwhisper.training.teacher import Teacher, load_teacher
from modeling_distilwhisper.training.teacher_cache import TeacherCache

NO_EVALUATION = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed, language in enumerate(("gl", "ca")):
        speech.write_folder(folder / language, language, seed=seed)
    return folder


@pytest.fixture(scope="module")
def recordings(data):
    return {language: data / language for language in ("gl", "ca")}


def cache_teacher(whisper_dir, data, folder, *arguments):
    flags = ("--student", whisper_dir, "--teacher", whisper_dir, "--output_dir", folder, "--batch_size", 4)
    flags += ("--part_size", 4, "--data", f"{data.name}={data}/{{language}}", "--languages", *arguments)
    return run_script("run_cache_teacher.py", *flags)


@pytest.fixture(scope="module")
def cache(whisper_dir, data, tmp_path_factory):
    """Of nearly all tokens: what differs from the teacher then is a fault."""
    folder = tmp_path_factory.mktemp("cache")
    code, printed, errors = cache_teacher(whisper_dir, data, folder, "gl", "ca", "--k", 1600, "--temperatures", 1, 2)
    assert code == 0, errors[-3000:]
    assert sum(line.split()[-3:] == ["12", "12", "0"] for line in printed.splitlines()) == 2, printed
    return folder


@pytest.fixture(scope="module")
def states(whisper_dir, processor, recordings, data, tmp_path_factory):
    """The other form, written in this process."""
    folder = tmp_path_factory.mktemp("states")
    teacher = load_teacher(str(whisper_dir))
    config = teacher.model.config
    teacher.prepare(config, processor, "cpu")
    metadata = {"tokenizer": tokenizer_digest(processor), "vocabulary": config.vocab_size}
    writer = CacheWriter(folder, teacher, k=None, temperatures=[], metadata=metadata, data=[])
    utterances = list(rows(recordings, data))
    batch = SpeechCollator(processor, extra=WithDigests(None))(utterances)
    prompted = shift_tokens_right(batch["labels"], config.pad_token_id, config.decoder_start_token_id)
    writer.write(writer.lines(utterances, batch, prompted))
    return folder


def rows(recordings, data, languages=("gl", "ca")):
    """Rows as the script names their data set."""
    data_set = rows_of(recordings, languages)
    return data_set.remove_columns("data_set").add_column("data_set", [data.name] * len(data_set))


@pytest.mark.slow
def test_training_from_the_cache_is_training_from_the_teacher(
    whisper_dir, whisper, processor, recordings, data, cache, states, tmp_path
):
    """Teacher and student differ. Two workers read one of the caches.

    The small learning rate is no detail: a gate close to its threshold flips with the last bit of a weight.
    """
    ends, settings = [], NO_EVALUATION | {"learning_rate": 3e-4}
    for teacher, workers in ((whisper, 0), (TeacherCache(cache), 2), (TeacherCache(states), 0)):
        student = load(whisper_dir)
        tiny.unsettle(student)
        trainer = make_trainer(student, processor, recordings, tmp_path, ("gl", "ca"), **settings)
        trainer = type(trainer)(
            student,
            trainer.args,
            teacher=teacher,
            train_dataset=rows(recordings, data),
            data_collator=SpeechCollator(processor),
            processing_class=processor,
        )
        trainer.args.dataloader_num_workers = workers
        torch.manual_seed(0)
        trainer.train()
        losses = [entry["kd_loss"] for entry in trainer.state.log_history if "kd_loss" in entry]
        ends.append((losses, tiny.state_of(student)))
    (live, live_state), *others = ends
    for cached, state in others:
        assert live[0] > 0.01 and cached == pytest.approx(live, rel=1e-2)
        for name, tensor in live_state.items():
            torch.testing.assert_close(state[name], tensor, atol=5e-3, rtol=1e-2, msg=name)


@pytest.mark.slow
def test_the_script_trains_from_the_cache_and_a_stopped_cache_is_finished(whisper_dir, data, cache, tmp_path):
    """Half of the files and a half-written one: what lacks is added, what is there is not made again."""
    begun = tmp_path / "begun"
    shutil.copytree(cache, begun)
    parts = sorted(begun.glob("part-*.arrow"))
    for part in (parts[1], *parts[4:]):
        part.unlink()
    (begun / ".part.partial").write_bytes(b"half")
    kept = {part: part.read_bytes() for part in (parts[0], *parts[2:4])}
    training = ("--student", whisper_dir, "--teacher_cache", begun, "--languages", "gl", "ca", "--use_cpu", "true")
    training += ("--data", f"{data.name}={data}/{{language}}", "--output_dir", tmp_path / "run", "--report_to", "none")
    training += ("--generation_max_length", 16, "--num_train_epochs", 1)
    code, _, errors = cache_teacher(whisper_dir, data, begun, "gl", "ca", "--k", 1600, "--temperatures", 1, 2)
    assert code == 0, errors[-3000:]
    assert all(part.read_bytes() == content for part, content in kept.items())
    uninterrupted, finished = TeacherCache(cache), TeacherCache(begun)
    assert uninterrupted.table.sort_by([("language", "ascending"), ("id", "ascending")]).equals(
        finished.table.sort_by([("language", "ascending"), ("id", "ascending")])
    )
    code, _, errors = run_script("run_distil.py", *training)
    assert code == 0, errors[-3000:]
    assert (tmp_path / "run/results.json").is_file()


def test_states_of_a_teacher_with_another_vocabulary_mean_what_it_says(whisper, processor, recordings, data, tmp_path):
    """The teacher lacks a language that the student knows, and every token behind it is elsewhere."""
    student = tiny.make_processor((*tiny.LANGUAGES, "uk"))
    size = len(student.tokenizer)
    config = tiny.make_whisper(student).config
    teacher = Teacher(whisper, processor).prepare(config, student, "cpu")
    metadata = {"tokenizer": tokenizer_digest(student), "vocabulary": size}
    writer = CacheWriter(tmp_path, teacher, k=None, temperatures=[], metadata=metadata, data=[])
    utterances = list(rows(recordings, data, ["gl"]))[:4]
    batch = SpeechCollator(student, extra=WithDigests(None))(utterances)
    prompted = shift_tokens_right(batch["labels"], config.pad_token_id, config.decoder_start_token_id)
    writer.write(writer.lines(utterances, batch, prompted))
    cache = TeacherCache(tmp_path).prepare(rows(recordings, data, ["gl"]).select(range(4)), config, student, 3.0, "cpu")
    predicted = cache.targets(SpeechCollator(student, extra=cache)(utterances), prompted).log_softmax(-1)
    expected = teacher.targets(batch, prompted).log_softmax(-1)
    real = batch["labels"] != -100
    assert (expected[real] == -torch.inf).any()
    torch.testing.assert_close(predicted[real], expected[real], atol=0.02, rtol=0.01)


def test_a_cache_of_another_kind_is_not_mixed_in(whisper, cache):
    before = {path.name: path.read_bytes() for path in cache.iterdir()}
    manifest = TeacherCache(cache).manifest
    metadata = {name: manifest[name] for name in manifest.keys() - {"format", "k", "temperatures", "data"}}
    with pytest.raises(ValueError, match=r"another kind: temperatures \[1.0, 2.0\], now \[1.0\]. Use another folder"):
        CacheWriter(cache, Teacher(whisper), k=1600, temperatures=[1.0], metadata=metadata, data=[])
    release(cache)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == before


def test_a_damaged_part_is_named(cache, tmp_path):
    shutil.copytree(cache, tmp_path / "damaged")
    part = tmp_path / "damaged/part-00001.arrow"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(
        ValueError, match="part-00001.arrow is damaged .* Delete that file. Run `distilwhisper cache-teacher`"
    ):
        TeacherCache(tmp_path / "damaged")


def test_the_corpora_of_a_cache_are_noted(cache, data):
    assert json.loads((cache / "manifest.json").read_text())["data"] == [f"{data.name}={data}/{{language}}"]


def test_a_cache_that_does_not_fit_is_refused(whisper_dir, processor, recordings, data, cache, tmp_path):
    student = load(whisper_dir)
    data_set = rows(recordings, data)
    refused = [
        (
            data_set.remove_columns("id").add_column("id", ["x"] * len(data_set)),
            1.0,
            processor,
            "lacks 24 of the 24 rows",
        ),
        (data_set, 3.0, processor, r"made for the temperatures \[1.0, 2.0\], not 3.0"),
        (data_set, 1.0, tiny.make_processor((*tiny.LANGUAGES, "uk")), "made for another tokenizer"),
        (None, 1.0, processor, "Expected a data set with these columns"),
        (data_set.map(lambda row: {"text": row["text"] + "!"}), 1.0, processor, "The text of .* changed since"),
    ]
    for chosen, temperature, tokens, message in refused:
        with pytest.raises(ValueError, match=message):
            TeacherCache(cache).prepare(chosen, student.config, tokens, temperature, "cpu")
    with pytest.raises(ValueError, match="holds no manifest.json"):
        TeacherCache(tmp_path)
    old = tmp_path / "old"
    old.mkdir()
    (old / "manifest.json").write_text(json.dumps({"format": 0}))
    with pytest.raises(ValueError, match="has format 0, expected 1"):
        TeacherCache(old)


def test_rows_that_changed_since_are_refused_when_they_are_read(whisper_dir, processor, recordings, data, cache):
    prepared = TeacherCache(cache).prepare(rows(recordings, data), load(whisper_dir).config, processor, 1.0, "cpu")
    collator = SpeechCollator(processor, extra=prepared)
    one, other = list(rows(recordings, data, ["gl"]))[:2]
    assert collator([one])["teacher_ids"].shape[-1] == 1600
    with pytest.raises(ValueError, match="The labels of .* changed since"):
        collator([{**one, "text": "mo mo mo"}])
    with pytest.raises(ValueError, match="The audio of .* changed since"):
        collator([{**one, "audio": other["audio"]}])


def test_evaluation_needs_no_cached_rows(whisper_dir, processor, recordings, data, cache, tmp_path):
    trainer = make_trainer(load(whisper_dir), processor, recordings, tmp_path, ("gl", "ca"), **NO_EVALUATION)
    cached = type(trainer)(
        trainer.model,
        trainer.args,
        teacher=TeacherCache(cache),
        train_dataset=rows(recordings, data),
        eval_dataset=rows_of(recordings, ["gl"], "validation"),
        data_collator=SpeechCollator(processor),
        processing_class=processor,
    )
    assert "eval_wer" in cached.evaluate()


def rewritten(cache, folder, column, change):
    """A copy of a cache in which a function changed the numbers of one line of a column."""
    shutil.copytree(cache, folder)
    (path, *_) = sorted(folder.glob("part-*.arrow"))
    lines = pa.ipc.open_file(path).read_all()
    values = lines[column].to_pylist()
    values[1] = change(values[1])
    place = lines.column_names.index(column)
    changed = lines.set_column(place, lines.schema.field(column), pa.array(values, lines.schema.field(column).type))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, lines.schema) as writer:
        writer.write_table(changed)
    return folder


@pytest.mark.parametrize(
    ("kind", "column", "change"),
    [
        ("cache", "logits", lambda numbers: [math.nan, *numbers[1:]]),
        ("cache", "rest", lambda numbers: [*numbers[:-1], math.inf]),
        ("cache", "ids", lambda numbers: [10**6, *numbers[1:]]),
        ("cache", "logits", lambda numbers: numbers[:-1]),
        ("states", "hidden", lambda numbers: [math.inf, *numbers[1:]]),
        ("states", "hidden", lambda numbers: [*numbers, 0.0]),
    ],
)
def test_predictions_that_no_teacher_makes_are_refused_before_training(
    request, whisper_dir, processor, recordings, data, tmp_path, kind, column, change
):
    """They turned every weight to NaN, and the loss in the log to 0.0."""
    folder = rewritten(request.getfixturevalue(kind), tmp_path / "changed", column, change)
    with pytest.raises(ValueError, match="not finite or not complete for 1 rows, such as {'data_set'.* Delete that"):
        TeacherCache(folder).prepare(rows(recordings, data), load(whisper_dir).config, processor, 1.0, "cpu")


def test_a_damaged_output_matrix_or_manifest_is_named(whisper_dir, processor, recordings, data, states, tmp_path):
    config = load(whisper_dir).config

    def prepare(name, content):
        folder = tmp_path / name / str(len(content))
        shutil.copytree(states, folder)
        (folder / name).write_bytes(content)
        return TeacherCache(folder).prepare(rows(recordings, data), config, processor, 1.0, "cpu")

    with pytest.raises(ValueError, match="output.safetensors is damaged or missing .* Delete that folder"):
        prepare("output.safetensors", b"half")
    output = load_file(states / "output.safetensors")
    output["weight"][3] = math.nan
    with pytest.raises(ValueError, match="output.safetensors is damaged: expected the weights of"):
        prepare("output.safetensors", save(output))
    for content in (b"", b"[1]", b'{"format": 1}', b'{"format": 1, "k": -1}', b"\xff"):
        with pytest.raises(ValueError, match="Delete that folder and make a new cache"):
            prepare("manifest.json", content)


@pytest.mark.parametrize("k", [8, None])
def test_predictions_that_are_not_finite_are_not_written(whisper, processor, recordings, data, tmp_path, k):
    """Nor those that half precision cannot hold."""
    config = whisper.config
    teacher = Teacher(whisper).prepare(config, processor, "cpu")
    with torch.no_grad():
        whisper.model.decoder.layer_norm.weight *= 1e6 if k is None else math.nan
    metadata = {"tokenizer": tokenizer_digest(processor), "vocabulary": config.vocab_size}
    writer = CacheWriter(tmp_path, teacher, k=k, temperatures=[1.0], metadata=metadata, data=[])
    utterances = list(rows(recordings, data, ["gl"]))[:2]
    batch = SpeechCollator(processor, extra=WithDigests(None))(utterances)
    prompted = shift_tokens_right(batch["labels"], config.pad_token_id, config.decoder_start_token_id)
    with pytest.raises(ValueError, match="predictions for .* are not finite. Leave that row out"):
        writer.lines(utterances, batch, prompted)


@pytest.mark.parametrize(("k", "temperatures"), [(0, [1.0]), (-1, [1.0]), (8, [math.nan]), (8, [0.0]), (8, [])])
def test_a_cache_of_impossible_settings_is_not_begun(whisper, tmp_path, k, temperatures):
    with pytest.raises(ValueError, match="A cache"):
        CacheWriter(tmp_path / "cache", Teacher(whisper), k=k, temperatures=temperatures, metadata={}, data=[])
    assert not (tmp_path / "cache").exists()
