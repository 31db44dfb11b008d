"""Listings of corpora: damaged CSV, TSV and JSON lines. Each row that comes out must be one that was written."""

import json

from modeling_distilwhisper.data.common_voice import read_common_voice
from modeling_distilwhisper.data.fleurs import read_fleurs
from modeling_distilwhisper.data.folder import read_folder

from ..trial import Warnings, Wrong

HEADER = "file_name,transcription,language"
GOOD = ["a.flac,ola,gl", "b.flac,boas noites,gl", "c.flac,adeus,gl"]
TEXTS = {"a.flac": "ola", "b.flac": "boas noites", "c.flac": "adeus"}


def listing(text, header=HEADER, rows=tuple(GOOD)):
    return "\n".join([header, *rows, *([text] if text is not None else []), ""])


# The row or the file, and the texts that it holds beside those of `GOOD`.
CSV = {
    "one cell too many": (listing("d.flac,bos días, meu amigo,gl"), {}),
    "two cells too many": (listing("d.flac,un, dous, tres,gl"), {}),
    "a cell too few": (listing("d.flac,ola outra vez"), {}),
    "one cell": (listing("d.flac"), {}),
    "trailing comma": (listing("d.flac,ola outra vez,gl,"), {"d.flac": "ola outra vez"}),
    "stray quotes that balance": (
        "\n".join([HEADER, 'a.flac,"ola,gl', "b.flac,boas noites,gl", 'c.flac,adeus",gl', "d.flac,fin,gl", ""]),
        {"d.flac": "fin"},
    ),
    "a quote that opens": (listing('d.flac,"sen fin,gl'), {}),
    "a quote within a cell": (listing('d.flac,o "novo" mundo,gl'), {"d.flac": 'o "novo" mundo'}),
    "quoted newline": (listing('d.flac,"dúas\nliñas",gl'), {"d.flac": "dúas liñas"}),
    "quoted comma": (listing('d.flac,"un, dous",gl'), {"d.flac": "un, dous"}),
    "doubled quotes": (listing('d.flac,"di ""ola""",gl'), {"d.flac": 'di "ola"'}),
    "shifted row": (listing("d.flac,pt,ola,gl"), {}),
    "another language by a shift": (listing("ola,d.flac,gl"), {"ola": "d.flac"}),
    "semicolons": (listing(None, rows=[row.replace(",", ";") for row in GOOD], header=HEADER.replace(",", ";")), {}),
    "tabs": (listing(None, rows=[row.replace(",", "\t") for row in GOOD], header=HEADER.replace(",", "\t")), {}),
    "duplicate text column": (listing(None, "file_name,transcription,transcription", ["a.flac,ola,outra"]), {}),
    "duplicate file column": (listing(None, "file_name,file_name,transcription", ["a.flac,b.flac,ola"]), {}),
    "empty header": (listing(None, "", GOOD), {}),
    "no header": (listing(None, GOOD[0], GOOD[1:]), {}),
    "header alone": (listing(None, rows=[]), {}),
    "empty file": ("", {}),
    "blank lines": (listing("\n\nd.flac,fin,gl\n\n"), {"d.flac": "fin"}),
    "header in capitals": (listing(None, HEADER.upper()), {}),
    "spaces in the header": (listing(None, HEADER.replace(",", ", ")), {}),
    "empty column name": (listing(None, HEADER + ",", [row + "," for row in GOOD]), {}),
    "long cell": (listing(f"d.flac,{'la ' * 60_000},gl"), {"d.flac": ("la " * 60_000).strip()}),
    "long quoted cell": (listing(f'd.flac,"{"la, " * 60_000}",gl'), {"d.flac": ("la, " * 60_000).strip()}),
    "NUL": (listing("d.flac,o\0la,gl"), {"d.flac": "o\0la"}),
    "only NUL": ("\0" * 500, {}),
    "carriage returns": (listing("d.flac,fin,gl").replace("\n", "\r"), {"d.flac": "fin"}),
    "both line ends": (listing("d.flac,fin,gl").replace("\n", "\r\n"), {"d.flac": "fin"}),
    "carriage return in a cell": (listing("d.flac,fin\rou non,gl"), {}),
    "line separator in a cell": (listing("d.flac,fin\u2028ou non,gl"), {"d.flac": "fin ou non"}),
    "cut in a row": (listing("d.flac,fi").rstrip(), {}),
    "language in capitals": (listing("d.flac,fin,GL"), {"d.flac": "fin"}),
    "language by name": (listing("d.flac,fin,Galician"), {"d.flac": "fin"}),
    "language with region": (listing("d.flac,fin,gl-ES"), {"d.flac": "fin"}),
    "language with spaces": (listing("d.flac,fin, gl "), {"d.flac": "fin"}),
}
ENCODINGS = {
    "UTF-8 with BOM": "utf-8-sig", "UTF-16": "utf-16", "UTF-16 without BOM": "utf-16-le", "Latin-1": "latin-1",
    "UTF-32": "utf-32", "EBCDIC": "cp500", "Shift JIS": "shift_jisx0213", "Windows": "cp1252",
}  # fmt: skip
JSONL = {
    "cut line": '{"file_name": "a.flac", "text": "ola"}\n{"file_name": "b.fl',
    "a list": '["a.flac", "ola"]\n',
    "a list of pairs": '[["file_name", "a.flac"], ["text", "ola"]]\n',
    "a string": '"a.flac"\n',
    "a number": "7\n",
    "null": "null\n",
    "one array": '[{"file_name": "a.flac", "text": "ola"}]',
    "pretty": '{\n"file_name": "a.flac",\n"text": "ola"\n}\n',
    "duplicate key": '{"file_name": "a.flac", "text": "adeus", "text": "ola"}\n',
    "text is a number": '{"file_name": "a.flac", "text": 12}\n',
    "text is a list": '{"file_name": "a.flac", "text": ["ola"]}\n',
    "text is null": '{"file_name": "a.flac", "text": null}\n',
    "file is a number": '{"file_name": 12, "text": "ola"}\n',
    "file is an object": '{"file_name": {"path": "a.flac"}, "text": "ola"}\n',
    "language is a list": '{"file_name": "a.flac", "text": "ola", "language": ["gl"]}\n',
    "NaN": '{"file_name": "a.flac", "text": NaN}\n',
    "lone surrogate": '{"file_name": "a.flac", "text": "ola \\ud800"}\n',
    "surrogate in the name": '{"file_name": "\\ud800.flac", "text": "ola"}\n',
    "deep nesting": '{"file_name": "a.flac", "text": ' + "[" * 100_000 + "]" * 100_000 + "}\n",
    "huge number": '{"file_name": "a.flac", "text": ' + "1" * 10_000 + "}\n",
    "no text": '{"file_name": "a.flac"}\n',
    "no file": '{"text": "ola"}\n',
    "trailing comma": '{"file_name": "a.flac", "text": "ola",}\n',
    "single quotes": "{'file_name': 'a.flac', 'text': 'ola'}\n",
    "two in a line": '{"file_name": "a.flac", "text": "ola"} {"file_name": "b.flac", "text": "boas noites"}\n',
    "empty": "",
    "blank": "\n\n",
}
JSON_IDS = {"a.flac", "b.flac", "12", ""}
COMMON_VOICE = {
    "a cell too many": "c1\tc.mp3\tun\tdous\t1\t0",
    "a cell too few": "c1\tc.mp3",
    "quotes": 'c1\tc.mp3\t"un\t1\t0',
    "newline in a sentence": "c1\tc.mp3\tun\ndous\t1\t0",
    "votes that are no numbers": "c1\tc.mp3\tun\tmany\t-1",
    "no path": "c1\t\tun\t1\t0",
    "path outside": "c1\t../../c.mp3\tun\t1\t0",
    "long sentence": f"c1\tc.mp3\t{'la ' * 60_000}\t1\t0",
    "NUL": "c1\tc.mp3\to\0la\t1\t0",
    "not UTF-8": "c1\tc.mp3\tol\udce1\t1\t0",
    "carriage return": "c1\tc.mp3\tun\rdous\t1\t0",
}
FLEURS = {
    "a cell too many": "7\tc.wav\tUn.\tun\tu n\t100\tMALE\tmore",
    "a cell too few": "7\tc.wav\tUn.\tun\tu n",
    "quotes": '7\tc.wav\t"Un.\tun\tu n\t100\tMALE',
    "newline": "7\tc.wav\tUn\n.\tun\tu n\t100\tMALE",
    "no path": "7\t\tUn.\tun\tu n\t100\tMALE",
    "path outside": "7\t/etc/passwd\tUn.\tun\tu n\t100\tMALE",
    "long": f"7\tc.wav\tUn.\t{'la ' * 60_000}\tu n\t100\tMALE",
    "not UTF-8": "7\tc.wav\tUn.\tol\udce1\tu n\t100\tMALE",
}


def check(rows, expected, warnings, optional=()):
    """Each row is as written; one that is missing was counted in a warning."""
    texts = {row["id"]: row["text"] for row in rows}
    for name, text in texts.items():
        if text and text != expected.get(name) and name in expected:
            raise Wrong(f"{name}: {text[:60]!r} in place of {expected[name][:60]!r}")
        if text and name not in expected and name not in optional:
            raise Wrong(f"{name}: {text[:60]!r} was written by nobody")
    if (missing := expected.keys() - texts.keys()) and not warnings.text:
        raise Wrong(f"{sorted(missing)} are missing, and nothing was said")
    emptied = [name for name, text in texts.items() if expected.get(name) and not text]
    if emptied and not warnings.text:
        return  # rows without text are counted by the selection, as "empty text"


def folder_trial(name, content):
    def act(folder):
        (folder / "test").mkdir()
        (folder / "test" / name).write_bytes(
            content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        )
        with Warnings() as warnings:
            rows = read_folder(folder, "test", "gl")
        return rows, warnings

    return act


def csv_trial(content, more):
    def act(folder):
        rows, warnings = folder_trial("metadata.csv", content)(folder)
        kept = {row["id"] for row in rows}
        # A row that is not as written may only be missing, never changed; whole listings may be refused.
        check(rows, TEXTS | more, warnings) if len(content) and kept else None
        if not kept and not warnings.text and len(content.split("\n")) > 2:
            raise Wrong("no row, and nothing was said")

    return act


def encoding_trial(encoding):
    def act(folder):
        text = listing("d.flac,día,gl")
        rows, warnings = folder_trial("metadata.csv", text.encode(encoding))(folder)
        check(rows, TEXTS | {"d.flac": "día"}, warnings)

    return act


def jsonl_trial(content):
    def act(folder):
        rows, warnings = folder_trial("metadata.jsonl", content)(folder)
        texts = {row["id"]: row["text"] for row in rows}
        if any(text not in ("", "ola", "12", "boas noites") for text in texts.values()) or set(texts) - JSON_IDS:
            raise Wrong(f"{texts} was written by nobody")
        if not texts and content.strip() and not warnings.text:
            raise Wrong("no row, and nothing was said")

    return act


def both(folder):
    (folder / "test").mkdir()
    (folder / "test/metadata.csv").write_text(listing(None))
    (folder / "test/metadata.jsonl").write_text(json.dumps({"file_name": "z.flac", "text": "outra"}) + "\n")
    with Warnings() as warnings:
        read_folder(folder, "test", "gl")
    if not warnings.text:
        raise Wrong("one of two listings was not read, and nothing was said")


def common_voice_trial(line):
    def act(folder):
        language = folder / "cv/gl"
        language.mkdir(parents=True)
        lines = [
            "client_id\tpath\tsentence\tup_votes\tdown_votes",
            "c1\ta.mp3\tola\t2\t0",
            line,
            "c1\tb.mp3\tfin\t1\t0",
            "",
        ]
        (language / "test.tsv").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
        with Warnings() as warnings:
            rows = read_common_voice(folder / "cv", "test", "gl")
        sentence = {"a.mp3": "ola", "b.mp3": "fin"}
        if len(cells := line.split("\t")) == 5:
            sentence[cells[1]] = " ".join(cells[2].split())
        check(rows, sentence, warnings)
        if any(row["audio"]["path"] and ".." in row["audio"]["path"] for row in rows):
            raise Wrong("a path outside the corpus")

    return act


def fleurs_trial(line):
    def act(folder):
        data = folder / "fleurs/data/gl_es"
        data.mkdir(parents=True)
        lines = ["1\ta.wav\tOla.\tola\to l a\t100\tMALE", line, "2\tb.wav\tFin.\tfin\tf i n\t100\tFEMALE", ""]
        (data / "test.tsv").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
        with Warnings() as warnings:
            rows = read_fleurs(folder / "fleurs", "test", "gl")
        sentence = {"a.wav": "ola", "b.wav": "fin"}
        if len(cells := line.split("\t")) == 7:
            sentence[cells[1]] = " ".join(cells[3].split())
        check(rows, sentence, warnings)
        if any(row["audio"]["path"] and "etc" in row["audio"]["path"] for row in rows):
            raise Wrong("a path outside the corpus")

    return act


def trials():
    for name, (content, more) in CSV.items():
        yield f"csv, {name}", csv_trial(content, more)
    for name, encoding in ENCODINGS.items():
        yield f"csv, {name}", encoding_trial(encoding)
    for name, content in JSONL.items():
        yield f"json lines, {name}", jsonl_trial(content)
    yield "csv beside json lines", both
    for name, line in COMMON_VOICE.items():
        yield f"Common Voice, {name}", common_voice_trial(line)
    for name, line in FLEURS.items():
        yield f"FLEURS, {name}", fleurs_trial(line)
