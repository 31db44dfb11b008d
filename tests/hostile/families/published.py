"""Names and texts from outside that end in a card: shown as the text that they are, never as markup or code."""

import ast
import json
import re

import yaml
from helpers import cards

from modeling_distilwhisper.commands import card

from ..trial import Leak, Wrong, run_command

TEXTS = {
    "a script": "<script>alert(1)</script>",
    "an image": "<img src=x onerror=alert(1)>",
    "an image of Markdown": "![x](https://evil.example/x.png)",
    "a link of Markdown": "[click](javascript:alert(1))",
    "a comment": "--> <!-- x",
    "an iframe": "<iframe src=//evil.example></iframe>",
    "a row of a table": "a | b |\n| c | d |",
    "a heading": "\n\n# OWNED\n\n",
    "a fence": "\n```\nrm -rf /\n```\n",
    "front matter": "\n---\nlicense: mit\n---\n",
    "a template": "{{ 7 * 7 }}{% for x in y %}",
    "an entity": "&lt;script&gt;",
    "an address": "https://evil.example/x",
    "code": "`code` ${HOME}",
}
# The words by which such a text would be markup in the page.
MARKUP = re.compile(
    r"(?<!\\)(?:<script|<img src=x|<iframe|!\[x\]\(http|\]\(javascript:)|^# OWNED|^rm -rf|\b49\b", re.MULTILINE
)
NAMES = (
    'me/x")\nimport os\nos.system("true',
    'me/"; print(1) #',
    "me/x\n```\n<script>",
    "me/x' + str(1) + '",
    'me/x"""',
    "me/x\\",
)


def make(folder, content, *flags):
    (folder / "results.json").write_text(json.dumps(content))
    run_command(card.main, folder, "--output", folder / "card.md", *flags)
    return (folder / "card.md").read_text()


def check(text):
    body = re.sub(r"^---\n.*?\n---\n", "", text, count=1, flags=re.DOTALL)
    body = re.sub(r"^```.*?^```$", "", body, flags=re.MULTILINE | re.DOTALL)
    body = re.sub(r"`[^`\n]*`", "", body)
    if found := MARKUP.search(body):
        raise Wrong(f"markup in the card: {body[max(0, found.start() - 40) : found.end() + 40]!r}")
    front = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, flags=re.DOTALL)[1])
    if front.get("license") == "mit":
        raise Wrong("the front matter was changed")


def in_place(place, value):
    def act(folder):
        content = cards.results()
        place(content, value)
        check(make(folder, content))

    return act


def student(content, value):
    content["settings"]["model"]["student"] = value


def teacher(content, value):
    content["settings"]["model"]["teacher"] = value


def corpus(content, value):
    name = content["settings"]["data"]["data"][0]
    content["settings"]["data"]["data"][0] = f"{value}={name}"


def score_of(content, value):
    for scores in content["scores"].values():
        scores[value] = next(iter(scores.values()))


def example(content, value):
    content["example"] = {name: value for name in content.get("example") or {"reference": "", "clip": ""}}


def left_out(content, value):
    for record in content["data"]:
        if isinstance(record, dict):
            record["left_out"] = {value: 3}


PLACES = {"student": student, "teacher": teacher, "corpus": corpus, "a score's data set": score_of, "example": example}


def note(value):
    def act(folder):
        make(folder, cards.results(), "--license", value)
        text = (folder / "card.md").read_text()
        check(text)

    return act


def named(name):
    def act(folder):
        text = make(folder, cards.results(), "--name", name)
        for sample in re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            try:
                tree = ast.parse(sample)
            except SyntaxError:
                raise Wrong(f"the sample is no Python: {sample[:80]!r}") from None
            calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
            if calls & {"os.system", "print", "str"} - {"print"} or any(
                ast.unparse(n) == "import os" for n in tree.body
            ):
                raise Leak(f"the name became code: {sample[:80]!r}")
        check(text)

    return act


def trials():
    for place, put in PLACES.items():
        for name, value in TEXTS.items():
            yield f"{place} is {name}", in_place(put, value)
    for name, value in TEXTS.items():
        yield f"license is {name}", note(value)
    for number, name in enumerate(NAMES):
        yield f"name {number}", named(name)
