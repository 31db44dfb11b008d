"""The tables of a run: no score is lost, none stands where it does not belong."""

from modeling_distilwhisper.training.scoring import wer_rows


def rates(wer, words=10):
    return {"wer": wer, "cer": wer / 2, "words": words, "normalizer": "marks"}


def test_every_score_has_its_place_and_missing_ones_are_empty():
    scores = {
        "before": {"in": {"gl": rates(0.5), "en": rates(0.2, words=7)}, "out": {"gl": rates(0.6)}},
        "after": {"in": {"gl": rates(0.1), "en": rates(0.2, words=7)}, "out": {"gl": rates(0.3)}},
        "gates open": {"in": {"gl": rates(0.4)}},
    }
    assert wer_rows(scores) == [
        {
            "data_set": "in",
            "language": "gl",
            "words": 10,
            "normalizer": "marks",
            "before": 0.5,
            "after": 0.1,
            "gates open": 0.4,
        },
        {
            "data_set": "in",
            "language": "en",
            "words": 7,
            "normalizer": "marks",
            "before": 0.2,
            "after": 0.2,
            "gates open": None,
        },
        {
            "data_set": "out",
            "language": "gl",
            "words": 10,
            "normalizer": "marks",
            "before": 0.6,
            "after": 0.3,
            "gates open": None,
        },
    ]
