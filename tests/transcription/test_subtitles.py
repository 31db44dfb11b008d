"""Players read the files of transcripts, whatever the text holds."""

import json

from modeling_distilwhisper.transcription.segments import Segment, Transcript
from modeling_distilwhisper.transcription.subtitles import to_json, to_srt, to_text, to_vtt

TRANSCRIPT = Transcript(
    language="gl",
    seconds=3725.5,
    segments=[
        Segment(0.0, 2.5, "Ola, <mundo> & todos"),
        Segment(59.9996, 61.04, "dous"),
        Segment(3661.07, 3665.5, "fin"),
    ],
)


def test_subrip_counts_from_one_and_has_commas():
    assert to_srt(TRANSCRIPT) == (
        "1\n00:00:00,000 --> 00:00:02,500\nOla, <mundo> & todos\n\n"
        "2\n00:01:00,000 --> 00:01:01,040\ndous\n\n"
        "3\n01:01:01,070 --> 01:01:05,500\nfin\n"
    )


def test_webvtt_has_its_header_points_and_no_tags_from_the_text():
    assert to_vtt(TRANSCRIPT) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:02.500\nOla, &lt;mundo&gt; &amp; todos\n\n"
        "00:01:00.000 --> 00:01:01.040\ndous\n\n"
        "01:01:01.070 --> 01:01:05.500\nfin\n"
    )


def test_json_holds_all_of_it_and_text_a_line_a_segment():
    content = json.loads(to_json(TRANSCRIPT))
    assert content["text"] == "Ola, <mundo> & todos dous fin" and content["language"] == "gl"
    assert content["segments"][1] == {"start": 59.9996, "end": 61.04, "text": "dous"}
    assert to_text(TRANSCRIPT) == "Ola, <mundo> & todos\ndous\nfin\n"


def test_no_text_ends_its_cue_or_begins_another():
    """A blank line and an arrow are what players know cues by."""
    odd = Transcript("gl", 9.0, [Segment(0.0, 1.0, "un\n\n2\r\n00:00 --> 00:09\u2028dous"), Segment(1.0, 2.0, "tres")])
    srt, vtt = to_srt(odd), to_vtt(odd)
    assert srt == (
        "1\n00:00:00,000 --> 00:00:01,000\nun 2 00:00 → 00:09 dous\n\n2\n00:00:01,000 --> 00:00:02,000\ntres\n"
    )
    assert vtt.count("-->") == 2 and "\nun 2 00:00 --&gt; 00:09 dous\n\n00:00:01.000" in vtt
    assert to_text(odd) == "un 2 00:00 --> 00:09 dous\ntres\n"


def test_an_empty_transcript_is_an_empty_file_of_each_format():
    silence = Transcript("gl", 1.0, [])
    assert to_srt(silence) == "" and to_vtt(silence) == "WEBVTT\n" and to_text(silence) == ""
    assert json.loads(to_json(silence))["segments"] == []
