"""What comes from files and flags stands in a card as the text it is: no HTML, link, picture or front matter of it."""

import ast
import copy
import re

import pytest
import yaml
from helpers.cards import make
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from modeling_distilwhisper.reporting.markdown import as_markdown, code_span, python_string, table_of

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</td></table><h1>owned</h1>",
    "[click](https://evil.example)",
    "![x](https://evil.example/pixel.png)",
    "<https://evil.example>",
    "https://evil.example/a",
    "www.evil.example",
    "mail me@evil.example",
    "[x]: javascript:alert(1)",
    "a | b |\n|---|",
    "# heading\n\n- list",
    "```\ncode\n```",
    "`code` and ``more``",
    "**bold** __strong__ ~~gone~~ *it* _em_",
    "&lt;b&gt; &amp; &#60;",
    "{{ 7 * 7 }} {% raw %} {# x #}",
    "--- \nlicense: mit\n---",
    "<!-- comment --> $$x$$",
    "\u202eesrever\u2066 \u200bzero",
    "back\\slash\\",
    "a\\|b \\`c",
]


def parse(markdown: str) -> list:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)


def kinds(tokens) -> set[str]:
    flat = [child for token in tokens for child in (token, *(token.children or []))]
    return {token.type for token in flat}


def shown(markdown: str) -> str:
    """What a reader sees of one line of Markdown."""
    (inline,) = [token for token in parse(f"x {markdown} x") if token.type == "inline"]
    return "".join(child.content for child in inline.children)[2:-2]


def visible(text: str) -> str:
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_shown_as_it_is(text):
    for made in (as_markdown(text), code_span(text)):
        assert shown(made) == visible(text)
    assert kinds(parse(f"x {as_markdown(text)} x")) <= {
        *("paragraph_open", "paragraph_close", "inline", "text", "text_special", "code_inline")
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_is_one_cell_and_no_more(text):
    tokens = parse(table_of([{"system": text, text: "y"}, {"system": "a", text: "z"}]))
    assert sum(token.type == "td_open" for token in tokens) == 4
    assert not kinds(tokens) & {"html_block", "html_inline", "link_open", "image", "fence", "heading_open", "em_open"}


PLACES = {
    "data set": lambda content, text: rename(content["scores"], text),
    "language": lambda content, text: rename(content["scores"]["after"], text, deeper=True),
    "normaliser": lambda content, text: each_rate(content, normalizer=text),
    "unit": lambda content, text: each_rate(content, unit=text),
    "teacher": lambda content, text: content["settings"]["model"].update(teacher=text),
    "student": lambda content, text: content["settings"]["model"].update(student=text),
    "earlier experts": lambda content, text: content["settings"]["model"].update(experts_from=text),
    "precision": lambda content, text: content["settings"]["model"].update(student_precision=text),
    "teacher's precision": lambda content, text: content.update({"teacher precision": text}),
    "metric": lambda content, text: content["settings"]["training"].update(metric_for_best_model=text),
    "schedule": lambda content, text: content["settings"]["training"].update(kd_beta_schedule=text),
    "budgets": lambda content, text: content["settings"]["model"].update(language_budgets=[text]),
    "seed": lambda content, text: content["settings"]["training"].update(seed=text),
    "corpus": lambda content, text: content["data"][0].update(data_set=text),
    "best": lambda content, text: content["best by language"].update({text: {"step": 40, "score": 0.1}}),
    "usage": lambda content, text: content["expert usage at inference"].update(
        {text: content["expert usage at inference"]["hu"]}
    ),
    "sizes": lambda content, text: content["sizes"]["experts"].update({text: content["sizes"]["experts"]["hu"]}),
    "trained languages": lambda content, text: content["settings"]["model"].update(languages=[text, "ca"]),
}


def rename(scores, text, deeper=False):
    for by_name in list(scores.values()):
        if isinstance(by_name, dict) and by_name:
            by_name[text] = by_name.pop(next(iter(by_name)))


def each_rate(content, **values):
    for by_set in content["scores"].values():
        for by_language in by_set.values():
            for rates in by_language.values():
                rates.update(values)


@pytest.mark.parametrize("text", ["<img src=x>[a](http://b)![c](d)\n\n# e\n---\nlicense: mit\n---\n{{ 7 * 7 }}"])
@pytest.mark.parametrize("place", PLACES)
def test_no_part_of_the_results_acts_in_a_card(results, place, text):
    plain = ModelCard(str(make(copy.deepcopy(results))))
    PLACES[place](results, text)
    card = ModelCard(str(make(results)))
    body = MarkdownIt("commonmark").enable("table")
    before, after = (kinds(body.parse(one.text)) for one in (plain, card))
    assert after - before <= {"code_inline", "text_special"} and "image" not in after and "html_inline" not in after
    assert headings(card) == headings(plain), "no heading of it"
    assert {link for link in links(card)} <= {link for link in links(plain)}, "no link of it"
    assert card.data.license is None and set(card.data.to_dict()) <= {*plain.data.to_dict(), "model-index"}
    assert "49" not in re.findall(r"\b49\b", card.text.replace("{{ 7 * 7 }}", ""))


def headings(card):
    tokens = parse(card.text)
    return [tokens[number + 1].content for number, token in enumerate(tokens) if token.type == "heading_open"][1:]


def links(card):
    flat = [child for token in parse(card.text) for child in token.children or []]
    return [token.attrs["href"] for token in flat if token.type == "link_open"]


@pytest.mark.parametrize(
    "name",
    [
        'x"); import os; os.system("id") #',
        "a\nb",
        'me/model\\"',
        "a'b",
        "```",
        "\u2028x",
        "\u202ex",
        "é/ü",
        "{{ 7*7 }}",
    ],
)
def test_the_python_sample_is_only_the_sample_whatever_the_name(results, name):
    card = ModelCard(str(make(results, name=name)))
    first, second = re.findall(r"```python\n(.*?)\n```", card.text, re.DOTALL)
    tree = ast.parse(first)
    assert [type(node).__name__ for node in tree.body] == ["ImportFrom", "Assign", "Assign", "Assign"]
    assert ast.literal_eval(tree.body[1].value) == name
    assert ast.literal_eval(ast.parse(second).body[1].value.keywords[0].value) == name
    assert ast.literal_eval(python_string(name)) == name


@pytest.mark.parametrize(
    "text", ["a\n---\nlicense: gpl", "x: [y", "- a\n- b", '"', "'", "!!python/object:os.system x", "#c"]
)
def test_the_front_matter_is_read_back_as_it_was_given(results, text):
    card = make(results, name=text, license=text)
    front = str(card).split("\n---\n")[0].removeprefix("---\n")
    assert yaml.safe_load(front)["license"] == text
    assert ModelCard(str(card)).data.license == text and ModelCard(str(card)).data.model_name == text
