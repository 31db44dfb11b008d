"""The miniature learns a language that it has no token for, and to write Ukrainian in Latin letters beside Cyrillic."""

import csv
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from helpers.scripts import run_command

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, count_errors, load_model, load_processor
from modeling_distilwhisper.data.features import speech_features
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.data.samples import samples_of_row

QUICKSTART = Path(__file__).parents[2] / "examples/quickstart"
UNKNOWN = QUICKSTART.parent / "new_language"
BACKBONE = QUICKSTART / "teacher"  # it has heard five languages
HEARD = ("ca", "en", "es", "hu", "uk")
LATIN = dict(zip("абвгґдезиіїйклмнопрстуфцьєюяжхчшщ", [*"abvhgdezyiijklmnoprstufc", "'", *"ieua"], strict=False))
LATIN |= {"є": "ie", "ю": "iu", "я": "ia", "ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ь": ""}


def in_latin(text):
    return "".join(LATIN.get(letter, letter) for letter in text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new")
    shutil.copytree(UNKNOWN / "eo", folder / "data/eo")
    shutil.copytree(QUICKSTART / "in_domain/uk", folder / "data/uk-Latn")
    for path in (folder / "data/uk-Latn").glob("*/metadata.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        with open(path, "w", newline="", encoding="utf-8") as file:
            rows = [[name, in_latin(text), *rest] for name, text, *rest in rows[:130]]
            csv.writer(file).writerows([header, *rows])
    flags = ["--student", BACKBONE, "--languages", "eo", "uk-Latn", "--init_from", "eo=es", "uk-Latn=uk"]
    flags += ["--data", f"{folder}/data/{{language}}", "--max_steps", 200, "--per_device_train_batch_size", 8]
    flags += ["--learning_rate", 3e-3, "--warmup_epochs", 0.3, "--gate_budget", 0.9, "--report_to", "none"]
    flags += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    flags += ["--do_train", "true", "--use_cpu", "true", "--output_dir", folder / "run"]
    status, _, errors = run_command("train", *flags)
    assert status == 0, errors[-3000:]
    return folder / "run"


def heard(processor, language, count=40):
    folder = UNKNOWN if language == "eo" else QUICKSTART / "in_domain"
    rows = read_folder(folder / language, "test").select(range(count))
    return rows["text"][:], speech_features(processor, [samples_of_row(row["audio"]) for row in rows])


@torch.inference_mode()
def transcribe(model, processor, features, language):
    tokens = model.generate(**features, language=language, task="transcribe")
    return tokens, processor.batch_decode(tokens, skip_special_tokens=True)


def wer(references, hypotheses, language):
    return count_errors(references, hypotheses, languages=[language] * len(references)).rates()["wer"]


@pytest.mark.slow
def test_a_language_without_a_token_is_learned_beside_a_second_script_and_nothing_else_changes(trained):
    plain, processor = load_model(BACKBONE, "float32"), load_processor(trained)
    model = DistilWhisperForConditionalGeneration.from_pretrained(trained, dtype=torch.float32).eval()
    texts, features = heard(processor, "eo")
    before = {code: wer(texts, transcribe(plain, processor, features, code)[1], "eo") for code in (*HEARD, "it", "fr")}
    after = wer(texts, transcribe(model, processor, features, "eo")[1], "eo")
    print({"before": before, "after": after})
    assert after < 0.9 * min(before.values())

    for language in HEARD:
        _, features = heard(processor, language, 20)
        for one, two in zip(
            *(transcribe(whisper, processor, features, language) for whisper in (plain, model)), strict=True
        ):
            assert one.tolist() == two.tolist() if isinstance(one, torch.Tensor) else one == two, language
        assert torch.equal(*(whisper.detect_language(features["input_features"]) for whisper in (plain, model)))

    texts, features = heard(processor, "uk", 20)
    twice = {name: torch.cat([value, value]) for name, value in features.items()}
    _, written = transcribe(model, processor, twice, ["uk"] * 20 + ["uk-Latn"] * 20)
    cyrillic, latin = written[:20], written[20:]
    assert cyrillic == transcribe(plain, processor, features, "uk")[1]
    errors = wer([in_latin(text) for text in texts], latin, "uk-Latn")
    letters = "".join(latin).replace(" ", "")
    print({"Latin": errors, "letters": sum(letter.isascii() for letter in letters) / len(letters)})
    assert sum(letter.isascii() for letter in letters) > 0.9 * len(letters)


def test_the_speech_is_small_and_no_test_sentence_was_trained_on():
    texts = {}
    for split, count in {"train": 240, "validation": 20, "test": 40}.items():
        folder = UNKNOWN / "eo" / split
        with open(folder / "metadata.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count and {row["language"] for row in rows} == {"eo"}
        assert {row["file_name"] for row in rows} == {path.name for path in folder.glob("*.ogg")}
        assert all(soundfile.info(path).duration <= 3 for path in folder.glob("*.ogg"))
        texts[split] = {row["transcription"] for row in rows}
    assert not texts["test"] & (texts["train"] | texts["validation"]) and not texts["train"] & texts["validation"]
    assert sum(path.stat().st_size for path in UNKNOWN.rglob("*") if path.is_file()) < 6e5
