"""Files of settings: damaged, of another form, or with something smuggled in."""

from modeling_distilwhisper.commands import compare, evaluate, train
from modeling_distilwhisper.runs.settings import read_settings

from ..trial import Wrong, run_command

BASE = {
    "student": "examples/quickstart/student",
    "languages": "[ca]",
    "data": '["examples/quickstart/nowhere/{language}"]',
    "output_dir": "out",
}
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
FORMS = {
    "empty": "",
    "a comment": "# nothing",
    "a list": "- student\n- languages\n",
    "a text": "hello",
    "a number": "7",
    "null": "null",
    "cut JSON": '{"student": "x", "languages": ["g',
    "tabs": "student:\tx\n\tlanguages: [gl]\n",
    "open bracket": "languages: [gl\n",
    "billion laughs": BOMB,
    "an alias of itself": "a: &a [*a]\n",
    "a Python tag": "student: !!python/object/apply:os.system ['true']\n",
    "an unknown tag": "student: !thing x\n",
    "a binary tag": "student: !!binary aGVsbG8=\n",
    "two documents": "student: x\n---\nstudent: y\n",
    "a key twice": "student: x\nstudent: y\n",
    "a key that is a list": "[a, b]: x\n",
    "a key that is a mapping": "{a: b}: x\n",
    "not UTF-8": b"student: ol\xe1\n",
    "NUL": "student: a\0b\n",
    "zeros": bytes(2000),
    "deep": "a: " + "[" * 50_000 + "]" * 50_000,
    "a huge number": "a: {b: " + "9" * 5000 + "}",
}
# Values that must not become flags, types or others' settings.
VALUES = {
    "a flag in a list": "languages: [ca, '--max_rows=7']",
    "a short flag in a list": "languages: [ca, '-h']",
    "two dashes in a list": "languages: [ca, '--']",
    "a flag as a value": "student: --max_rows=7",
    "help as a value": "student: --help",
    "a nested list": "languages: [[ca, gl]]",
    "a mapping in a list": "languages: [{ca: 1}]",
    "a mapping as a value": "student: {a: b}",
    "a list for one value": "student: [a, b]",
    "an unknown key": "no_such_setting: 7",
    "a key with a flag": "'max_rows 7 --seed': 3",
    "a key with =": "'max_rows=7': 3",
    "a number for text": "max_rows: many",
    "a bool for a number": "max_rows: true",
    "null in a list": "languages: [ca, null]",
    "an empty list": "languages: []",
    "an empty value": "student: ''",
    "NaN": "kd_temperature: .nan",
    "infinite": "kd_beta: .inf",
    "a private name": "__class__: x",
    "merge keys": "<<: {max_rows: 7}",
}


def form(content):
    def act(folder):
        path = folder / "s.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        settings = read_settings(path)
        raise Wrong(f"read as {str(settings)[:100]}")

    return act


def command_of(module, content):
    def act(folder):
        path = folder / "s.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        run_command(module.main, path)
        raise Wrong("the command succeeded")

    return act


def value(line):
    def act(folder):
        lines = BASE | {"output_dir": str(folder / "out")}
        key = line.partition(":")[0]
        text = "".join(f"{name}: {content}\n" for name, content in lines.items() if name != key) + line + "\n"
        (folder / "s.yaml").write_text(text)
        try:
            run_command(train.main, folder / "s.yaml")
        except BaseException as error:
            message = str(error)
            # Refused for the data that is not there: so the setting itself was let through.
            if "nowhere" in message:
                raise Wrong(f"accepted: {line}") from None
            raise
        raise Wrong(f"accepted: {line}")

    return act


def trials():
    for name, content in FORMS.items():
        yield f"form, {name}", form(content)
    for name, content in list(FORMS.items())[:12]:
        yield f"train, {name}", command_of(train, content)
        yield f"eval, {name}", command_of(evaluate, content)
        yield f"compare, {name}", command_of(compare, content)
    for name, line in VALUES.items():
        yield f"value, {name}", value(line)
