"""A row of a table comes out as it was written, or its file and line are named: never cut, shifted or swallowed."""

import json
import re
from collections import Counter

import pytest
from helpers import corpora
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_distilwhisper.data import tables
from modeling_distilwhisper.data.common_voice import read_common_voice
from modeling_distilwhisper.data.fleurs import read_fleurs
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.data.rows import one_line
from modeling_distilwhisper.data.selection import read_rows
from modeling_distilwhisper.data.sources import parse_sources
from modeling_distilwhisper.data.tables import read_csv, read_tsv

HEADER = "file_name,transcription,language\n"


@pytest.fixture
def read(tmp_path):
    """Reads a folder whose metadata has this content: the texts by file name, and the rows left out by reason."""

    def read(content, name="metadata.csv", language="gl"):
        (tmp_path / "data/train").mkdir(parents=True)
        path = tmp_path / "data/train" / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        left_out = Counter()
        rows = read_folder(tmp_path / "data", "train", language, left_out=left_out)
        return dict(zip(rows["id"], rows["text"], strict=True)), left_out

    return read


@pytest.fixture
def warnings(monkeypatch):
    lines = []
    monkeypatch.setattr(tables.logger, "warning", lines.append)
    return lines


GOOD = "z.flac,boas noites,gl\n"
FIT = {"z.flac": "boas noites"}


@pytest.mark.parametrize(
    ("row", "left_out"),
    [
        ("a.flac,bos días, meu amigo,gl", {"extra cell": 1}),
        ("a.flac,bos días, meu amigo", {"unknown language": 1}),
        ("a.flac,bos días, es", {"other language": 1}),
        ("a.flac,bos días,,gl", {"extra cell": 1}),
        ("a.flac,bos días,gl,", {"extra cell": 1}),
        ("a.flac,bos días", {"missing cell": 1}),
        ("a.flac", {"missing cell": 1}),
        ('a.flac,"bos días,gl\nb.flac,meu amigo",gl', {"cell over several lines": 2}),
        ('a.flac,"bos días,gl\nb.flac,la,gl\nc.flac,la,gl\nd.flac,meu amigo",gl', {"cell over several lines": 4}),
        ('"a.flac,bos días,gl\nb.flac,la,gl\nc.flac",meu amigo,gl', {"cell over several lines": 3}),
        ('a.flac,"bos días,gl\nb.flac",gl', {"cell over several lines": 2}),
        (f"a.flac,{'a' * 200_000},gl", {"very long cell": 1}),
        ("a.flac,bos\0días,gl", {"NUL sign": 1}),
        ("a.flac,bos\rdías,gl", {"missing cell": 2}),
        ("../test/a.flac,bos días,gl", {"file outside the folder": 1}),
        (r"..\test\a.flac,bos días,gl", {"file outside the folder": 1}),
        (r"C:\data\a.flac,bos días,gl", {"file outside the folder": 1}),
    ],
)
def test_a_row_that_does_not_fit_is_left_out_and_its_line_is_named(read, warnings, row, left_out):
    for_user = f"(line{'' if sum(left_out.values()) == 1 else 's'} 2"
    assert read(HEADER + row + "\n" + GOOD) == (FIT, left_out)
    assert len(warnings) == 1 and f"metadata.csv: {sum(left_out.values())} rows are left out" in warnings[0]
    assert all(f"{reason} {for_user}" in warnings[0] for reason in left_out)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("bos días, meu amigo", '"bos días, meu amigo"'),
        ('say "yes", then', '"say ""yes"", then"'),
        ('say "yes" then', 'say "yes" then'),
        ("bos días meu amigo", '"bos días\nmeu amigo"'),
        ("bos días", "  bos días "),
        ("NA", "NA"),
        ("", ""),
        ('"', '""""'),
    ],
)
def test_a_row_that_fits_is_read_to_the_letter(read, warnings, text, cell):
    assert read(f"{HEADER}a.flac,{cell},gl\n{GOOD}") == ({"a.flac": text} | FIT, {})
    assert not warnings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + 'a.flac,"la ri,gl\nb.flac,mo,gl\n', "lines 2 to 3: this is not CSV .*rows may be joined"),
        (HEADER + GOOD + 'a.flac,"la"ri,gl\n', "line 3: this is not CSV"),
        (HEADER + 'a.flac,la ri",gl\n' + GOOD, "line 2: this is not CSV"),
        (HEADER + 'a.flac,12" vinyl,gl\n' + GOOD, "line 2: this is not CSV"),
        (HEADER + 'a.flac,"' + "la,gl\n" * 40_000, "lines 2 to .*: this is not CSV"),
        ((HEADER + GOOD + "a.flac,été,gl\n").encode("latin-1"), "line 3: expected UTF-8, got bytes that are not"),
        ((HEADER + GOOD).encode("utf-16-le"), "line 1: expected UTF-8, got what looks like UTF-16"),
        ("file_name,text,text\n", "line 1: two columns have the name 'text'"),
        ("\nfile_name,text, text\n", "line 2: two columns have the name 'text'"),
        ("file_name;text\na.flac;la\n", r"has columns \['file_name;text'\]. .* with commas between them"),
        ("file_name,,language\na.flac,la,gl\n", r"has columns \['file_name', 'language'\]. Expected file_name"),
        ("", r"has columns \[\]. Expected file_name"),
        (HEADER + "a.flac,la\nb.flac,mo\n", r"has no row that can be read: missing cell \(lines 2, 3\)"),
        (HEADER + "a.flac,la,Klingon\n", r".*unknown language \(line 2\).* such as ca or Catalan"),
    ],
)
def test_a_table_that_would_be_misread_is_refused_by_file_and_line(read, content, message):
    with pytest.raises(ValueError, match=f"metadata.csv,? {message}"):
        read(content)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_the_line_ends_of_any_system_are_understood(read, encoding, end):
    content = f"{HEADER}a.flac,été, x,gl\n\n{GOOD}".replace("\n", end)
    assert read(content.encode(encoding)) == (FIT, {"extra cell": 1})


def test_a_column_without_a_name_takes_no_text(read):
    """In front of the others it is an index, as pandas writes it."""
    content = ",file_name,transcription,,\n0,a.flac,la,,\n1,b.flac,bos días, meu amigo,\n2,c.flac,mo,,\n"
    assert read(content) == ({"a.flac": "la", "c.flac": "mo"}, {"extra cell": 1})


@pytest.mark.parametrize(
    ("content", "texts", "left_out"),
    [
        ("file_name,text\nx.flac,la\na.flac,bos días\nmeu amigo\nz.flac,mo\nw.flac,mo", ["la", "mo"], 2),
        ("text,file_name\nla,x.flac\nla,y.flac\nbos días\nmeu amigo,a.flac\nmo,w.flac", ["la", "mo"], 2),
        ('text,file_name\nla,x.flac\n"",y.flac\n""\n"meu amigo",a.flac\nmo,w.flac', ["la", "mo"], 2),
        ("file_name,text\nx.flac,la\na.flac\nw.flac,mo", ["la", "mo"], 0),
    ],
)
def test_a_text_that_a_line_break_cut_does_not_come_out(read, content, texts, left_out):
    """The rows before and behind may be cut. A file name alone is no end of a text."""
    rows, counts = read(content)
    assert list(rows.values()) == texts
    assert counts == {"missing cell": 1} | ({"row beside a lonely cell": left_out} if left_out else {})


def test_only_the_first_lines_are_listed(read, warnings):
    read(HEADER + "a.flac,la\n" * 1000 + GOOD)
    assert "missing cell (lines 2, 3, 4, 5, 6 and 995 more)" in warnings[0]


def test_two_listings_of_a_split_are_refused(read, tmp_path):
    read(HEADER + GOOD)
    (tmp_path / "data/train/metadata.jsonl").write_text("{}")
    with pytest.raises(ValueError, match="has both metadata.csv and metadata.jsonl"):
        read_folder(tmp_path / "data", "train", "gl")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"file_name": "a.flac", "text": 42}', "cell without text"),
        ('{"file_name": 7, "text": "la"}', "cell without text"),
        ('{"file_name": "a.flac", "text": ["la", "ri"]}', "cell without text"),
        ('{"file_name": "a.flac", "text": "la", "gender": {"a": 1}}', "cell without text"),
        ('{"file_name": "a.flac", "text": "la", "age": NaN}', "cell without text"),
        ('{"file_name": "a.flac", "text": "la", "speaker": true}', "cell without text"),
        ('{"file_name": "a.flac", "text": "la", "language": ["gl"]}', "cell without text"),
        (r'{"file_name": "a.flac", "text": "la \ud800"}', "cell without text"),
        (r'{"file_name": "a.flac", "text": "la\u0000"}', "NUL sign"),
        ('{"file_name": "a.flac", "text": "la", "text": "ri"}', "repeated name"),
        ('{"file_name": "a.flac", "text": "la", "x": {"y": 1, "y": 2}}', "repeated name"),
        ('{"file_name": "a.flac"}', "missing cell"),
        ('{"text": "la"}', "missing cell"),
        ('{"file_name": "a.flac", "text": null}', "missing cell"),
        ('["a.flac", "la"]', "no JSON object"),
        ('{"file_name": "a.flac", "text": "la', "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ("9" * 5000, "no JSON object"),
        ('{"file_name": "a.flac", "text": "la", "language": "es"}', "other language"),
    ],
)
def test_an_odd_json_line_is_left_out_and_its_line_is_named(read, warnings, line, reason):
    good = json.dumps({"file_name": "z.flac", "text": "boas\nnoites", "age": 34, "words": [{"nested": [1]}]})
    assert read(f"{good}\n\n{line}\n", "metadata.jsonl") == (FIT, {reason: 1})
    assert f"{reason} (line 3)" in warnings[0]


def test_json_over_several_lines_is_refused(read):
    with pytest.raises(ValueError, match=r"metadata.jsonl has no row that can be read: no JSON object \(lines 1, 2, 3"):
        read(json.dumps([{"file_name": "a.flac", "text": "la"}], indent=1), "metadata.jsonl")


@pytest.mark.parametrize(
    ("row", "left_out"),
    [
        ("p\ta.mp3\tbos\tdías\t1\tgl", {"extra cell": 1}),
        ("p\ta.mp3\tbos días", {"missing cell": 1}),
        ("p\ta.mp3\tbos días\t1\tes", {"other language": 1}),
        ("p\t../a.mp3\tbos días\t1\tgl", {"file outside the folder": 1}),
        ("p\ta.mp3\tbos\0días\t1\tgl", {"NUL sign": 1}),
        ("p\ta.mp3\tbos\rdías\t1\tgl", {"missing cell": 2}),
    ],
)
def test_common_voice_leaves_out_what_does_not_fit(tmp_path, warnings, row, left_out):
    (tmp_path / "gl").mkdir()
    long = "a" * 200_000
    lines = ["client_id\tpath\tsentence\tup_votes\tlocale", row, 'p\tz.mp3\t"boas\t1\tgl', f"p\ty.mp3\t{long}\t1\t"]
    (tmp_path / "gl/test.tsv").write_bytes("\n".join(lines).encode("utf-8-sig"))
    counts = Counter()
    rows = read_common_voice(tmp_path, "test", "gl", left_out=counts)
    assert rows["text"][:] == ['"boas', long] and counts == left_out and "gl/test.tsv: " in warnings[0]
    (tmp_path / "gl/test.tsv").write_bytes("\n".join([*lines, "p\tb.mp3\tété\t1\tgl"]).encode("latin-1"))
    with pytest.raises(ValueError, match=r"gl/test.tsv, line \d: expected UTF-8"):
        read_common_voice(tmp_path, "test", "gl")


@pytest.mark.parametrize(
    ("row", "left_out"),
    [
        ("7\ta.wav\tBos días\t\tbos días\tb\t320\tMALE", {"extra cell": 1}),
        ("7\ta.wav\tbos días\tb\t320\tMALE\t", {"shifted cell": 1}),
        ("7\ta.wav\tBos días\tbos días\tb\t320", {"missing cell": 1}),
        ("7\t/a.wav\tBos días\tbos días\tb\t320\tMALE", {"file outside the folder": 1}),
    ],
)
def test_fleurs_leaves_out_what_does_not_fit(tmp_path, warnings, row, left_out):
    (tmp_path / "gl_es").mkdir()
    (tmp_path / "gl_es/test.tsv").write_text(f'{row}\n8\tz.wav\t"Boas\tboas\tb\t32000\tMALE\n')
    counts = Counter()
    rows = read_fleurs(tmp_path, "test", "gl", left_out=counts)
    assert rows["text"][:] == ["boas"] and counts == left_out and "line 1" in warnings[0]


def test_what_a_reader_leaves_out_stands_in_the_line_of_the_selection(tmp_path):
    folder = corpora.write_fleurs(tmp_path, "gl_es", ["la", "ri"])
    listing = folder / "data/gl_es/test.tsv"
    listing.write_text(listing.read_text() + "9\ta.wav\n")
    (source,) = parse_sources([f"fleurs:{folder}"], ["gl"])
    selection = read_rows(source, "test", "Galician", max_rows=2)
    assert str(selection) == "fleurs test gl: 2 rows; left out: 1 missing cell"


# Cells with all signs that a table gives a meaning to.
CELLS = st.text(st.sampled_from(list("ab é,;\t\"'\n\r\\\0\u2028\ufeff")) | st.characters(codec="utf-8"), max_size=8)
PLAIN = CELLS.map(lambda cell: cell.translate({ord(sign): "_" for sign in "\t\n\r"}))


@st.composite
def damaged(draw, cells, write, structure):
    """A header, rows, and their text with a sign put in or taken out, or none."""
    width = draw(st.integers(2, 5))
    header = [f"column {number}" for number in range(width)]
    rows = draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=6))
    text = write(header, rows)
    # In a cell with quotation marks, other signs are text.
    inside = [as_csv is write and text[:place].count('"') % 2 == 1 for place in range(len(text) + 1)]
    damages = [(place, sign, place) for place in range(len(text) + 1) for sign in structure]
    damages += [(place, "", place + 1) for place, sign in enumerate(text) if sign in structure]
    damages = [(end, sign, start) for end, sign, start in damages if not inside[end] or '"' in (sign, text[end:start])]
    end, sign, start = draw(st.sampled_from([(0, "", 0), *damages]))
    return header, rows, text[:end] + sign + text[start:]


def as_csv(header, rows):
    """As `csv` writes it (that of Python 3.10 cannot write NUL)."""
    quoted = [[as_cell(text) for text in row] for row in [header, *rows]]
    return "".join(",".join(['""'] if row == [""] else row) + "\r\n" for row in quoted)


def as_cell(text):
    return '"' + text.replace('"', '""') + '"' if re.search('[",\r\n]', text) else text


def as_tsv(header, rows):
    return "".join("\t".join(row) + "\n" for row in [header, *rows])


def assert_as_written_or_named(read, path, header, rows, text):
    path.write_bytes(text.encode())
    try:
        table = read(path)
    except ValueError as error:
        table, message = None, str(error)
    if table is None:
        assert "line" in message
        return
    if table.columns != header:  # a damaged header: the reader of a corpus misses its columns
        return
    came_out = Counter(tuple(one_line(row[name]) for name in header) for row in table.rows)
    assert came_out <= Counter(tuple(map(one_line, row)) for row in rows), "a row that nobody wrote"
    with_text = sum(1 for row in rows if "".join(row).strip())
    left_out = sum(map(len, table.left_out.values()))
    assert came_out.total() + left_out >= with_text - 1, "a row that vanished; a lost line end may join two"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(damaged(CELLS, as_csv, '",\n'))
def test_each_row_of_csv_comes_out_as_it_was_written_or_is_named(tmp_path_factory, drawn):
    assert_as_written_or_named(read_csv, tmp_path_factory.getbasetemp() / "damaged.csv", *drawn)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(damaged(PLAIN, as_tsv, "\t\n"))
def test_each_row_of_tsv_comes_out_as_it_was_written_or_is_named(tmp_path_factory, drawn):
    assert_as_written_or_named(read_tsv, tmp_path_factory.getbasetemp() / "damaged.tsv", *drawn)
