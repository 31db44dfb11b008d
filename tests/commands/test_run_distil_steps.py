"""The steps of a training run, alone and together, and what its student may be."""

import json
import shutil

import pytest
import torch
from helpers import speech, tiny
from safetensors.torch import load_file

import distilwhisper_cli
from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.evaluation.gates import gates_of_utterance

SHORT = ["--max_steps", 1, "--max_rows", 2, "--use_cpu", "true", "--report_to", "none", "--generation_max_length", 8]
SHORT += ["--warmup_epochs", 0]  # else the only step would change nothing


@pytest.fixture
def train(whisper_dir, recordings, tmp_path, capsys):
    """Runs `distilwhisper train`; gives its folder."""

    def run(*flags, student=whisper_dir, language="gl", folder=tmp_path / "run", succeeds=True):
        corpus = ["--languages", language, "--data", recordings[language]] if language else []
        command = ["train", "--student", student, *corpus, *SHORT, "--output_dir", folder, *flags]
        code = distilwhisper_cli.main([*map(str, command)])
        printed = capsys.readouterr()
        assert (code == 0) is succeeds, printed.err
        return folder if succeeds else printed.err

    return run


def content(folder, name):
    return json.loads((folder / name).read_text())


def files(folder):
    return {path.name for path in folder.iterdir()}


RESULTS = {"train_results.json", "eval_results.json", "predict_results.json", "all_results.json"}


def test_a_run_without_steps_takes_all_and_writes_the_results_of_each(train):
    folder = train()
    assert files(folder) >= RESULTS | {"results.json", "trainer_state.json", "README.md", "expert.gl.safetensors"}
    assert content(folder, "train_results.json")["train_samples"] == 2
    assert content(folder, "eval_results.json").keys() >= {"eval_wer", "eval_loss", "eval_samples", "eval_wer_gl"}
    predicted = content(folder, "predict_results.json")
    scores = content(folder, "results.json")["scores"]["after"]["gl"]["gl"]
    assert predicted["predict_wer"] == predicted["predict_gl_gl_wer"] == scores["wer"]
    assert predicted["predict_samples"] == 2
    assert content(folder, "all_results.json").keys() >= {"train_loss", "eval_wer", "predict_wer"}


@pytest.mark.parametrize(("step", "split"), [("eval", "validation"), ("predict", "test")])
def test_scoring_alone_trains_nothing_and_reads_no_other_split(train, recordings, tmp_path, step, split):
    alone = tmp_path / "one split"
    alone.mkdir()
    shutil.copytree(recordings["gl"] / split, alone / split)
    folder = train(f"--do_{step}", "--languages", "gl", "--data", alone, language=None)
    assert files(folder) == {"settings.json", "rows.json", f"{step}_results.json", "all_results.json"}
    assert f"{step}_wer" in content(folder, f"{step}_results.json")


def test_training_alone_leaves_a_model_that_the_next_steps_score(train, recordings, tmp_path):
    folder = train("--do_train", "--learning_rate", 0.1)
    assert not files(folder) & {"eval_results.json", "predict_results.json", "results.json", "before.json"}
    assert files(folder) >= {"train_results.json", "expert.gl.safetensors", "model.safetensors"}
    train("--do_eval", "--do_predict", "--learning_rate", 0.1)
    assert files(folder) >= RESULTS
    trained = content(folder, "eval_results.json")["eval_loss"]
    plain = train("--do_eval", folder=tmp_path / "plain")
    assert content(plain, "eval_results.json")["eval_loss"] != trained, "of the trained experts"
    train("--do_eval", student=folder)
    assert content(folder, "eval_results.json")["eval_loss"] == trained, "a run's folder as the student"


def test_a_language_is_added_to_a_student_with_experts_whose_languages_stay_bit_for_bit(
    train, model, processor, tmp_path
):
    model.remove_language("gl")
    model.save_pretrained(tmp_path / "student")
    model.save_experts(tmp_path / "student", int8=True)
    processor.save_pretrained(tmp_path / "student")
    old = (tmp_path / "student/expert.ca.safetensors").read_bytes()
    flags = ("--expert_rank", 2, "--gate_budget", 0.7, "--learning_rate", 0.1)
    folder = train(*flags, student=tmp_path / "student")
    assert (folder / "expert.ca.safetensors").read_bytes() == old
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(folder)
    assert loaded.config.languages == ["ca", "gl"]
    assert (loaded.config.budget_of("ca"), loaded.config.budget_of("gl")) == (0.5, 0.7)
    assert loaded.experts_of("gl")["encoder", 0].rank == 2 and loaded.experts_of("ca")["encoder", 0].rank == 0
    before = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "student")
    assert loaded.config.language_token_ids["ca"] == before.config.language_token_ids["ca"]
    assert content(folder, "results.json")["best by language"].keys() == {"gl"}
    errors = train("--method", "finetune", student=folder, folder=tmp_path / "plain", succeeds=False)
    assert "needs a plain Whisper" in errors and "has experts" in errors
    assert "overwrite its student" in train("--do_train", student=folder, folder=folder, succeeds=False)


def test_experts_learn_translation_and_then_translate_alone(train, whisper_dir, tmp_path):
    folder = train("--task", "translate", "--learning_rate", 0.1)
    results = content(folder, "results.json")
    assert results["scores"]["after"]["gl"]["gl"].keys() >= {"bleu", "chrf"}
    assert content(folder, "eval_results.json").keys() >= {"eval_bleu", "eval_chrf", "eval_chrf_gl"}
    assert "predict_gl_gl_bleu" in content(folder, "predict_results.json")
    model = DistilWhisperForConditionalGeneration.from_pretrained(folder)
    gl, transcribe, translate = (token(model, name) for name in ("gl", "transcribe", "translate"))
    start = model.config.decoder_start_token_id
    for_encoder, for_decoder = model.read_prompt(torch.tensor([[start, gl, transcribe], [start, gl, translate]]))
    assert (for_encoder.tolist(), for_decoder.tolist()) == ([gl, gl], [-1, gl])
    errors = train(student=folder, folder=tmp_path / "more", language="ca", succeeds=False)
    assert "were trained with --task translate" in errors
    other = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["ca"])
    with pytest.raises(ValueError, match="holds experts with expert_task translate, and this model has transcribe"):
        other.load_experts(folder, "gl")


def token(model, name):
    settings = model.generation_config
    return (settings.lang_to_id | {f"<|{task}|>": token for task, token in settings.task_to_id.items()})[f"<|{name}|>"]


@pytest.mark.parametrize(("frozen", "trained"), [("encoder", "decoder"), ("decoder", "encoder")])
def test_a_frozen_side_has_no_experts_when_it_is_trained_saved_and_loaded(
    frozen, trained, train, whisper, whisper_dir, processor
):
    folder = train(f"--freeze_{frozen}", "true", "--learning_rate", 0.1)
    assert not [name for name in load_file(folder / "expert.gl.safetensors") if f".{frozen}." in name]
    usage = content(folder, "results.json")["expert usage at inference"]["gl"]
    assert usage[frozen] == 0 and f"{frozen} 0" not in usage and f"{trained} 0" in usage
    model = DistilWhisperForConditionalGeneration.from_pretrained(folder).eval()
    assert {side for side, _ in model.routed_layers()} == {trained}
    batch = tiny.make_audio(processor, [1.0]) | {"labels": torch.tensor([[token(model, "gl"), 264, 268, 5, 6]])}
    tiny.unsettle(model)
    assert {len(gates) for gates in gates_of_utterance(model, batch).values()} == {2}, "a row for each layer"
    with torch.no_grad():
        ours, plain = model(**batch), whisper(**batch)
        states = ours.encoder_last_hidden_state
        decoded_by_whisper = whisper(encoder_outputs=(states,), labels=batch["labels"])
    assert torch.equal(states, plain.encoder_last_hidden_state) == (frozen == "encoder")
    assert torch.equal(ours.logits, decoded_by_whisper.logits) == (frozen == "decoder")
    both = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["ca"])
    with pytest.raises(ValueError, match=f"holds experts with {frozen}_experts False, and this model has True"):
        both.load_experts(folder, "gl")


def test_a_language_without_experts_in_either_side_is_refused(train, whisper_dir):
    neither = {"encoder_experts": False, "decoder_experts": False}
    with pytest.raises(ValueError, match="Either `encoder_experts` or `decoder_experts` must be true"):
        DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["ca"], **neither)
    errors = train("--freeze_encoder", "true", "--freeze_decoder", "true", succeeds=False)
    assert "leaves nothing to train" in errors


def test_a_split_that_is_missing_is_named_only_where_it_is_wanted(train, tmp_path):
    data = speech.write_folder(tmp_path / "data", "gl", rows=4)
    for path in [*(data / "validation").iterdir()]:
        path.unlink()
    errors = train("--do_eval", "--languages", "gl", "--data", data, language=None, succeeds=False)
    assert "validation/metadata.csv" in errors
    train("--do_predict", "--languages", "gl", "--data", data, language=None)
