"""Other runtimes transcribe real recordings like the exported model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from faster_whisper import WhisperModel
from helpers.real import required
from transformers import WhisperProcessor

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.audio import SAMPLING_RATE, read_audio
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.evaluation.metrics import error_rates
from modeling_distilwhisper.export.whisper import WAYS, export_to_whisper, save_processor

pytestmark = pytest.mark.real
CLIPS = 6


@pytest.fixture(scope="module", autouse=True)
def all_cores():
    torch.set_num_threads(os.cpu_count())


@pytest.fixture(scope="module")
def clips():
    rows = read_folder(Path(required("DISTILWHISPER_TEST_PROMPTS")) / "ru", "test").select(range(CLIPS))
    return [row["path"] for row in rows["audio"]]


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    """Russian experts some noise away from whisper-base, half of the tokens to them: as folder and as model."""
    checkpoint = required("DISTILWHISPER_TEST_CHECKPOINT")
    folder = tmp_path_factory.mktemp("routed")
    model = DistilWhisperForConditionalGeneration.from_whisper(checkpoint, languages=["ru"]).eval()
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for expert in model.experts_of("ru").values():
            for matrix in (expert.fc1, expert.fc2):
                matrix.weight += 0.05 * matrix.weight.std() * torch.randn(matrix.weight.shape, generator=noise)
            expert.gate.threshold.fill_(0.0)
    model.save_pretrained(folder)
    WhisperProcessor.from_pretrained(checkpoint).save_pretrained(folder)
    return folder, model


def test_faster_whisper_writes_what_the_exported_whisper_writes(routed, clips, tmp_path):
    folder, model = routed
    processor = WhisperProcessor.from_pretrained(folder)
    plain = export_to_whisper(model, "ru", {place: WAYS["mean"](0.5) for place in model.routed_layers()})
    plain.save_pretrained(tmp_path / "plain")
    save_processor(processor, tmp_path / "plain")
    command = ["ct2-transformers-converter", "--model", "plain", "--output_dir", "ct2"]
    command[0] = str(Path(sys.executable).with_name(command[0]))
    files = ["tokenizer.json", "preprocessor_config.json"]
    subprocess.run([*command, "--copy_files", *files], cwd=tmp_path, check=True)
    faster = WhisperModel(str(tmp_path / "ct2"), device="cpu", compute_type="float32", cpu_threads=os.cpu_count())
    ours, theirs = [], []
    for clip in clips:
        features = processor(read_audio(clip), sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features
        tokens = plain.generate(features, language="ru", task="transcribe")
        ours.append(processor.batch_decode(tokens, skip_special_tokens=True)[0].strip())
        greedy = {"beam_size": 1, "temperature": 0.0, "without_timestamps": True}
        segments, _ = faster.transcribe(read_audio(clip), language="ru", **greedy)
        theirs.append("".join(segment.text for segment in segments).strip())
    rates = error_rates(ours, theirs, languages="ru")
    assert rates["words"] > 50
    assert rates["wer"] < 0.1, "faster-whisper's log-mel features differ in their last digits, and a letter with them"


def test_onnxruntime_computes_what_pytorch_does(routed, clips, tmp_path):
    folder, _ = routed
    script = Path(__file__).parents[2] / "examples/export_onnx.py"
    flags = [str(folder), "--language", "ru", "--clip", clips[0], "--output_dir", str(tmp_path / "onnx")]
    done = subprocess.run([sys.executable, script, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    heard, expected = (line.partition(":")[2].strip() for line in done.stdout.splitlines()[-2:])
    assert heard == expected and heard, "the transcripts of onnxruntime and of PyTorch"
    assert {path.name for path in (tmp_path / "onnx").iterdir()} >= {
        "encoder_model.onnx",
        "config.json",
        "tokenizer.json",
    }
