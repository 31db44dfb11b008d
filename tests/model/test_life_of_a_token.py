"""docs/life_of_a_token.md: its examples give what it says, and each name in it is a name of the code."""

import doctest
import re
from pathlib import Path

import modeling_distilwhisper

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/life_of_a_token.md"


def test_the_examples_of_the_page_give_what_it_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = re.sub(r"^```.*$", "", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    output: list[str] = []
    results = doctest.DocTestRunner().run(test, out=output.append)
    assert results.attempted > 15 and not results.failed, "".join(output)


def test_each_class_of_the_page_is_one_of_the_code():
    folder = Path(modeling_distilwhisper.__file__).parent
    defined = {
        name
        for path in [*folder.glob("*_distilwhisper.py"), folder / "evaluation/gates.py"]
        for name in re.findall(r"^ *(?:class|def) (\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    text = PAGE.read_text(encoding="utf-8")
    classes = set(re.findall(r"\b(?:Language|Distil|Routed|Gate|Loading|Saving|Push|LowRank|Full)\w+[a-z]\w*\b", text))
    methods = set(re.findall(r"`(?:\w+\.)?(_?[a-z]+_[a-z_]+)`", text)) - {
        "language_ids",
        "decoder_language_ids",
        "do_sample",
    }
    assert len(classes) > 12 and classes <= defined, classes - defined
    assert methods and methods <= defined, methods - defined
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (PAGE.parent / link).is_file(), link
