"""A file of settings means the same as the flags, and flags after it win."""

import pytest
from transformers import HfArgumentParser

from modeling_distilwhisper.runs.run_folder import RunFolder
from modeling_distilwhisper.runs.settings import parse_settings
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments as Arguments


def parse(*argv):
    (arguments,) = parse_settings(HfArgumentParser(Arguments), list(map(str, argv)))
    return arguments


def write(path, text):
    path.write_text(text)
    return path


def test_a_file_means_the_same_as_flags(tmp_path):
    file = write(
        tmp_path / "run.yaml",
        "output_dir: out\nlearning_rate: 3e-5\nuse_cpu: yes\nreport_to: [none]\nrun_name: no\nmax_grad_norm: null\n"
        "gradient_checkpointing_kwargs: {use_reentrant: false}\n",
    )
    arguments = parse(file)
    flags = ("--output_dir", "out", "--learning_rate", "3e-5", "--use_cpu", "yes", "--report_to", "none")
    expected = parse(*flags, "--run_name", "no", "--gradient_checkpointing_kwargs", '{"use_reentrant": false}')
    for name in ("output_dir", "learning_rate", "use_cpu", "report_to", "run_name", "gradient_checkpointing_kwargs"):
        assert getattr(arguments, name) == getattr(expected, name), name
    assert arguments.learning_rate == 3e-5
    assert arguments.run_name == "no", "a word, as it is written, and no truth value"
    assert arguments.max_grad_norm == Arguments(output_dir="out").max_grad_norm


def test_flags_after_a_file_win(tmp_path):
    file = write(tmp_path / "run.json", '{"output_dir": "out", "kd_beta": 1.0, "kd_divergence": "kl"}')
    arguments = parse(file, "--kd_beta", 3)
    assert (arguments.kd_beta, arguments.kd_divergence) == (3.0, "kl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kd_btea: 1.0", "has unknown settings: kd_btea"),
        ("- a\n- b", "holds no settings"),
        ("", "holds no settings"),
        ("output_dir: out\nkd_beta: much", "invalid float value"),
        ("output_dir: [out", "is no YAML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, capsys, text, message):
    with pytest.raises(SystemExit):
        parse(write(tmp_path / "run.yaml", text))
    assert message in capsys.readouterr().err


def test_a_run_is_resumed_only_with_its_settings(tmp_path):
    settings = {"model": {"student": "base", "languages": ["gl"]}, "data": {"data": ["d"]}}
    run = RunFolder(tmp_path / "run", settings)
    assert run.read("before.json") is None
    scores = {"before": {"cv": {"gl": {"wer": 0.5}}}}
    assert run.write("before.json", scores) == scores
    assert RunFolder(tmp_path / "run", settings).read("before.json") == scores
    settings["model"] = {"student": "small", "languages": ["gl"]}
    with pytest.raises(ValueError, match="holds a run with other settings: student 'base', now 'small'"):
        RunFolder(tmp_path / "run", settings)


def test_only_complete_checkpoints_are_resumed_from(tmp_path):
    run = RunFolder(tmp_path, {})
    assert run.last_checkpoint() is None
    for step in (5, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if step < 100:
            (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-best/trainer_state.json").write_text("{}")
    assert run.last_checkpoint() == str(tmp_path / "checkpoint-10")


def test_an_interrupted_write_leaves_the_old_results(tmp_path):
    run = RunFolder(tmp_path, {})
    run.write("rows.json", {"wer": 0.1})
    with pytest.raises(TypeError):
        run.write("rows.json", {"wer": object()})
    assert run.read("rows.json") == {"wer": 0.1}
