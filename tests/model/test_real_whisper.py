"""On a real Whisper and real recordings: nothing changes that should not, and a short training keeps to its language.

    DISTILWHISPER_TEST_CHECKPOINT=openai/whisper-base DISTILWHISPER_TEST_PROMPTS=prompts pytest -m real

The checkpoint is a folder or a Hub id; the prompts are what `examples/get_prompts.py prompts ru fr` writes.
"""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.real import required
from helpers.remote import run_without_the_package
from helpers.speech import make_pipeline
from transformers import AutoProcessor, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.audio import SAMPLING_RATE, read_audio
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.evaluation.gates import measure_expert_usage
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments
from modeling_distilwhisper.training.cache_files import tokenizer_digest
from modeling_distilwhisper.training.cache_writer import CacheWriter, WithDigests
from modeling_distilwhisper.training.losses import js_divergence, kl_divergence
from modeling_distilwhisper.training.teacher import load_teacher
from modeling_distilwhisper.training.teacher_cache import TeacherCache
from modeling_distilwhisper.training.trainer import DistilWhisperTrainer

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", autouse=True)
def all_cores():
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count()))


@pytest.fixture(scope="module")
def checkpoint():
    return required("DISTILWHISPER_TEST_CHECKPOINT")


@pytest.fixture(scope="module")
def processor(checkpoint):
    return AutoProcessor.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def plain(checkpoint):
    return WhisperForConditionalGeneration.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="module")
def routed(checkpoint):
    return DistilWhisperForConditionalGeneration.from_whisper(checkpoint, languages=["ru"]).eval()


@pytest.fixture(scope="module")
def prompts():
    folder = Path(required("DISTILWHISPER_TEST_PROMPTS"))
    return {language: read_folder(folder / language, "test") for language in ("ru", "fr")}


def clips_of(prompts, language, count=6):
    return [read_audio(path) for path in prompts[language][:count]["audio"]]


@pytest.mark.parametrize("language", ["ru", "fr"])
def test_prompts_are_transcribed_as_by_plain_whisper(plain, routed, processor, prompts, language):
    """Russian has a new expert, French none. Greedily: with the pipeline's five beams it takes minutes."""
    clips = clips_of(prompts, language)
    settings = {"generate_kwargs": {"language": language, "task": "transcribe", "num_beams": 1}, "batch_size": 3}
    theirs = make_pipeline(plain, processor)(clips, **settings)
    assert make_pipeline(routed, processor)(clips, **settings) == theirs
    assert sum(len(result["text"].split()) for result in theirs) > 10
    routed.config.languages, loaded = [], routed.config.languages
    try:
        assert make_pipeline(routed, processor)(clips, **settings) == theirs, "with no expert in use"
    finally:
        routed.config.languages = loaded


@pytest.mark.parametrize("language", ["ru", "fr"])
def test_audio_over_30_s_is_transcribed_as_by_plain_whisper(plain, routed, processor, prompts, language):
    long = np.concatenate(clips_of(prompts, language, 14))
    assert len(long) > 31 * SAMPLING_RATE
    settings = {"generate_kwargs": {"language": language, "num_beams": 1}, "return_timestamps": True}
    ours, theirs = (make_pipeline(model, processor)(long, **settings) for model in (routed, plain))
    assert ours == theirs
    assert len(theirs["chunks"]) > 3


def test_words_are_timed_as_by_plain_whisper(checkpoint, processor, prompts):
    plain = WhisperForConditionalGeneration.from_pretrained(checkpoint).eval()
    routed = DistilWhisperForConditionalGeneration.from_whisper(checkpoint, languages=["ru"]).eval()
    clip = clips_of(prompts, "ru", 1)[0]
    settings = {"generate_kwargs": {"language": "ru"}, "return_timestamps": "word"}
    ours, theirs = (make_pipeline(model, processor)(clip, **settings) for model in (routed, plain))
    assert ours == theirs
    assert len(theirs["chunks"]) >= 2


def test_languages_are_detected_as_by_plain_whisper(plain, routed, processor, prompts):
    clips = clips_of(prompts, "ru", 3) + clips_of(prompts, "fr", 3)
    features = processor(clips, sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features
    ours, theirs = (model.detect_language(features) for model in (routed, plain))
    assert torch.equal(ours, theirs)
    assert len(set(theirs.tolist())) >= 2


REMOTE = """
import torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

folder, clip = sys.argv[1], torch.load(sys.argv[2]).numpy()
model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, languages=["ru"], trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
parts = {"tokenizer": processor.tokenizer, "feature_extractor": processor.feature_extractor}
for speech in (
    pipeline("automatic-speech-recognition", model=model, **parts),
    pipeline("automatic-speech-recognition", model=folder, trust_remote_code=True),
):
    print(speech(clip, generate_kwargs={"language": "ru"})["text"])
"""


def test_a_short_training_keeps_to_its_language_and_its_folder_is_enough(
    checkpoint, plain, processor, prompts, tmp_path
):
    torch.manual_seed(0)
    model = DistilWhisperForConditionalGeneration.from_whisper(checkpoint, languages=["ru"])
    before = copy.deepcopy(model.state_dict())
    rows = read_folder(Path(os.environ["DISTILWHISPER_TEST_PROMPTS"], "ru"), "train").select(range(8))
    arguments = DistilWhisperTrainingArguments(
        output_dir=str(tmp_path / "run"),
        per_device_train_batch_size=4,
        max_steps=6,
        warmup_steps=1,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        report_to="none",
        use_cpu=True,
    )
    DistilWhisperTrainer(
        model,
        arguments,
        teacher=plain,
        train_dataset=rows,
        data_collator=SpeechCollator(processor),
        processing_class=processor,
    ).train()
    model.eval()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) != (".experts." in name), name
    usage = measure_expert_usage(model, [SpeechCollator(processor)(list(rows))])
    assert usage["all"] == pytest.approx(model.config.gate_budget, abs=0.15)

    french = clips_of(prompts, "fr")
    settings = {"generate_kwargs": {"language": "fr", "num_beams": 1}, "batch_size": 3}
    assert make_pipeline(model, processor)(french, **settings) == make_pipeline(plain, processor)(french, **settings)

    clip, other = clips_of(prompts, "ru", 2)
    features = processor([clip, other, *french[:2]], sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features
    mixed = model.generate(features, language=["ru", "ru", "fr", "fr"], task="transcribe")
    for index, language in enumerate(["ru", "ru", "fr", "fr"]):
        alone = model.generate(features[index : index + 1], language=language, task="transcribe")[0]
        decode = processor.tokenizer.decode
        assert decode(mixed[index], skip_special_tokens=True) == decode(alone, skip_special_tokens=True)

    text = make_pipeline(model, processor)(clip, generate_kwargs={"language": "ru"})["text"]
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    torch.save(torch.from_numpy(clip), tmp_path / "clip.pt")
    printed = run_without_the_package(REMOTE, tmp_path, tmp_path / "saved", tmp_path / "clip.pt")
    assert printed == [text, text]


def test_the_scoring_script_gives_the_known_error_rates_of_whisper_base(checkpoint, tmp_path):
    """Greedy, Whisper's basic normaliser: measured once by other code than this package's."""
    folder = os.environ["DISTILWHISPER_TEST_PROMPTS"]
    script = Path(__file__).parents[2] / "examples/run_eval.py"
    command = ["--models", f"plain={checkpoint}", "--data", f"{folder}/{{language}}", "--languages", "ru", "fr"]
    command += ["--normalizer", "report", "--output_dir", str(tmp_path / "scores")]
    subprocess.run([sys.executable, script, *command], check=True)
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    wers = {row["language"]: row["wer"] for row in scores}
    assert wers == pytest.approx({"ru": 0.230, "fr": 0.163}, abs=0.005)


@pytest.mark.parametrize(("k", "temperature", "within"), [(None, 1.0, 0.005), (None, 3.0, 0.005), (64, 1.0, 0.1)])
def test_the_cache_gives_the_loss_of_the_teacher(
    checkpoint, plain, processor, prompts, tmp_path, k, temperature, within
):
    """For a student that differs by some noise. Many unlikely tokens of small probability weigh much together."""
    student = copy.deepcopy(plain)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if ".fc" in name and name.endswith("weight"):
                weight += 0.1 * weight.std() * torch.randn(weight.shape, generator=noise)
    config = student.config
    rows = prompts["ru"].select(range(6))
    teacher = load_teacher(checkpoint).prepare(config, processor, "cpu")
    batch = SpeechCollator(processor, extra=WithDigests(None))(list(rows))
    prompted = shift_tokens_right(batch["labels"], config.pad_token_id, config.decoder_start_token_id)
    metadata = {"tokenizer": tokenizer_digest(processor), "vocabulary": config.vocab_size}
    writer = CacheWriter(tmp_path, teacher, k=k, temperatures=[temperature], metadata=metadata, data=[])
    writer.write(writer.lines(list(rows), batch, prompted))
    cache = TeacherCache(tmp_path).prepare(rows, config, processor, temperature, "cpu")
    cached = cache.targets(SpeechCollator(processor, extra=cache)(list(rows)), prompted)
    with torch.no_grad():
        ours = student(batch["input_features"], decoder_input_ids=prompted).logits
        live = teacher.targets(batch, prompted)
    for divergence in (js_divergence, kl_divergence):
        live_loss, cached_loss = (
            divergence(ours, expected, batch["labels"], temperature=temperature).item() for expected in (live, cached)
        )
        name = divergence.__name__
        print(f"{name}, k = {k}, temperature {temperature}: {live_loss:.5f}, from the cache {cached_loss:.5f}")
        assert cached_loss == pytest.approx(live_loss, rel=within)
        assert k is None or cached_loss <= live_loss
