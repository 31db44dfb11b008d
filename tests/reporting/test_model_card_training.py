"""A card tells how its model was trained, and in which precision, and leaves out what a run does not have."""

import re

import pytest
from helpers.cards import HEADINGS, make, tables
from huggingface_hub import ModelCard

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.reporting.model_card import sizes


def test_a_run_from_before_there_were_cards_gets_one(results):
    for part in ("data", "sizes"):
        del results[part]
    for system_scores in results["scores"].values():
        for rates in (rates for scores in system_scores.values() for rates in scores.values()):
            del rates["wer_low"], rates["wer_high"]
    card = ModelCard(str(make(results)))
    assert len(card.data.eval_results) == 12 and " to " not in tables(card)[0]["with experts"]
    assert "file, MB" not in card.text and "hours" not in card.text


PARTS = {
    "expert usage at inference": "Gates",
    "scores": "Results",
    "sizes": "Size",
    "training": None,
    "best by language": None,
}


@pytest.mark.parametrize("missing", [*([part] for part in PARTS), list(PARTS)], ids=lambda parts: parts[-1])
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "absent"])
def test_a_card_leaves_out_what_a_run_does_not_have(results, missing, empty):
    results["settings"]["training"]["load_best_model_at_end"] = True  # or "best by language" is not read
    for part in missing:
        del results[part]
        if empty:
            results[part] = {}
    card = ModelCard(str(make(results)))
    headings = re.findall(r"^## (.*)", card.text, re.MULTILINE)
    assert headings == [name for name in HEADINGS if name not in [PARTS[part] for part in missing]]
    assert bool(card.data.eval_results) == ("scores" not in missing)
    assert ("minutes since" in card.text) == ("training" not in missing)
    assert "Teacher: `teacher`, by Jensen-Shannon" in card.text
    assert not re.search(r"\bNone\b|\n\n\n|normaliser ``|[^\n]\n##", card.text)


def test_a_run_without_scores_shows_those_of_its_evaluation(results, summary):
    results["scores"] = {"before": {}, "after": {}}
    assert "## Results" not in make(results).text
    card = make(results, evaluation=summary, system="ours")
    assert len(card.data.eval_results) == 4 and "normaliser `report` (Whisper's" in card.text
    assert "\n\n## Results\n\n### Groups of speakers\n\n|" in make(results, bias=[{"female": 1}]).text
    del results["settings"]["training"]
    assert "Teacher: `teacher`.\n\n## Gates" in make(results).text, "how is not known"


def test_how_it_was_trained_is_told_as_it_was(results):
    settings, training = results["settings"]["model"], results["settings"]["training"]
    text = make(results).text
    assert "Teacher: `teacher`, by Jensen-Shannon divergence at temperature 1, weight 10. 7 epochs" in text
    assert "the budget was 90 %" in text and "The experts are those of the last step." in text
    settings |= {"teacher": None, "language_budgets": ["ca=0.7"], "gate_training": "soft"}
    training |= {"load_best_model_at_end": True, "max_steps": 40}
    results["best by language"] = {"ca": {"step": 30, "score": 0.123}}
    text = make(results).text
    assert "No teacher: cross-entropy on the transcripts alone (CLSR-FT). 40 steps" in text
    assert "(ca=0.7)" in text and "In training, gates were soft" in text
    assert "those of its best WER in validation (Catalan (ca) 12.3 after 30 steps)" in text
    settings["teacher_cache"] = "cache"
    assert "Teacher: a cache of its outputs, by Jensen-Shannon divergence" in make(results).text


def test_scores_on_a_quantised_backbone_are_called_so_and_those_on_a_whole_one_are_not(results, summary):
    assert not re.search("quantised|precision", str(make(results)))
    results["settings"]["model"]["student_precision"] = "nf4"
    card = make(results)
    assert all(re.search(r"normaliser marks-2, precision nf4\)$", one.metric_name) for one in card.data.eval_results)
    assert card.text.count("; in `nf4`)") == 2 and "Where a table says `nf4`, Whisper's own weights were" in card.text
    assert "During training, Whisper's own weights were in `nf4`" in card.text
    card = make(results, evaluation=summary | {"precision": "float32"}, system="ours")
    names = {one.dataset_name: one.metric_name for one in card.data.eval_results}
    assert names["in-domain, Catalan (ca)"].endswith("normaliser report)")
    assert names["out-of-domain, Catalan (ca)"].endswith("normaliser marks-2, precision nf4)")
    assert re.findall(r"\*\*([\w-]+)\*\* \(.*; in `nf4`\)", card.text) == ["out-of-domain"]
    card = make(results, evaluation=summary | {"precision": "bfloat16"}, system="ours")
    names = {one.dataset_name: one.metric_name for one in card.data.eval_results}
    assert names["in-domain, Catalan (ca)"].endswith("normaliser report, precision bfloat16)")


def test_precisions_and_ranks_of_a_training_are_told(results):
    text, settings = make(results).text, results["settings"]["model"]
    assert "rank" not in text and "mixed" not in text and "through one feed-forward" in text
    results["teacher precision"] = "torch.float32"
    assert make(results).text == text
    results["teacher precision"] = "torch.float16"
    assert "Teacher: `teacher` in `float16`, by Jensen-Shannon" in make(results).text
    del results["teacher precision"]
    settings |= {"teacher_precision": "int8", "expert_rank": 16}
    results["settings"]["training"]["bf16"] = True
    for size in results["sizes"]["experts"].values():
        del size["rank"]  # as in results of older runs: then the setting says it
    text = make(results).text
    assert "Teacher: `teacher` in `int8`, by Jensen-Shannon" in text and "mixed precision (bfloat16)" in text
    assert "; rank 16 for Catalan (ca), 16 for Hungarian (hu), 16 for Ukrainian (uk)." in text
    assert "through one feed-forward" not in text
    settings |= {"expert_rank": 0, "experts_from": "/compressed"}  # experts with other ranks
    results["sizes"]["experts"]["hu"]["rank"] = 64
    assert "; rank 64 for Hungarian (hu)." in make(results).text


def test_the_rank_is_that_of_the_experts_whatever_the_config_says(whisper_dir, tmp_path):
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl"], expert_rank=4)
    model.save_pretrained(tmp_path)
    model.config.expert_rank = 0
    assert sizes(model, tmp_path)["experts"]["gl"]["rank"] == 4
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl"])
    model.save_pretrained(tmp_path)
    assert sizes(model, tmp_path)["experts"]["gl"]["rank"] == 0


def test_the_minutes_of_an_interrupted_training_are_those_of_all_starts_or_said_to_be_of_the_last(results):
    results["training"]["train_runtime"] = 60.0
    assert "; 1.0 minutes since its last start." in str(make(results))
    results["training"]["train_runtime_of_all_starts"] = 150.0
    assert "; 2.5 minutes." in str(make(results))
