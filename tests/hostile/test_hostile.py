"""Wrong inputs in families: no silently wrong result, no hang, no leak, and hardly an exception without a sentence."""

import pytest

from hostile.__main__ import all_trials, count, try_all
from hostile.trial import CLASSES, Trial, Wrong, judge

MOST_BARE = 0.02  # share of the inputs


@pytest.mark.slow
def test_wrong_inputs_end_in_a_clear_error_or_in_the_right_result():
    verdicts = try_all(all_trials())
    assert len(verdicts) >= 400
    totals = {name: sum(row[name] for row in count(verdicts).values()) for name in CLASSES}
    bad = [
        f"{verdict.outcome}: {trial.family}: {trial.name}: {verdict.reason}"
        for trial, verdict in verdicts.items()
        if verdict.outcome not in ("right", "clear error")
    ]
    assert totals["silently wrong"] == totals["hang"] == totals["leak"] == 0, "\n".join(bad)
    assert totals["bare"] < MOST_BARE * len(verdicts), "\n".join(bad)


def wrong(folder):
    raise Wrong("a cut text")


def refuse(folder):
    raise ValueError("Expected a number from 1, got 0. Give another.")


def short(folder):
    raise ValueError("bad")


def key(folder):
    raise KeyError("scores")


def litter(folder):
    (folder / ".x.partial").write_text("")


def memory(folder):
    bytearray(8_000_000_000)


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        (lambda folder: None, "right"),
        (refuse, "clear error"),
        (short, "bare"),
        (key, "bare"),
        (wrong, "silently wrong"),
        (litter, "leak"),
        (memory, "leak"),
    ],
)
def test_each_way_to_end_is_told_from_the_others(act, outcome):
    assert judge(Trial("tests", "planted", act)).outcome == outcome


def test_a_trial_that_never_ends_is_killed_and_counted(monkeypatch):
    monkeypatch.setattr("hostile.trial.SECONDS", 0.5)

    def forever(folder):
        while True:
            pass

    assert judge(Trial("tests", "planted", forever)).outcome == "hang"
