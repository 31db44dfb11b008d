"""The forms of an answer, without a server."""

import pytest

from modeling_distilwhisper.transcription.segments import Segment

for library in ("pydantic", "starlette"):
    pytest.importorskip(library, reason="needs the extra `serve`")


def test_a_segment_of_verbose_json_has_what_openais_has():
    """Editors of subtitles leave out segments by these numbers."""
    from modeling_distilwhisper.serving.forms import _segment  # it needs an extra

    segment = Segment(0.5, 2.0, "bo día bo día", avg_logprob=-0.512345, no_speech_prob=0.0123456)
    content = _segment(3, segment, 0.0)
    numbers = {"avg_logprob": -0.5123, "no_speech_prob": 0.0123, "compression_ratio": pytest.approx(0.93, abs=0.3)}
    assert content == {"id": 3, "start": 0.5, "end": 2.0, "text": "bo día bo día", "temperature": 0.0, **numbers}
    assert {"avg_logprob", "no_speech_prob"}.isdisjoint(_segment(0, Segment(0.0, 1.0, "bo"), 0.0))
