"""Text lists: what systems write in different ways means the same; what is wrong is named."""

import re
from pathlib import Path

import pytest

from clustercontrast.data import lists
from clustercontrast.data.tree import Tree
from clustercontrast.files import UserError

PLAIN = "a/1.bmp 0\nb/2.bmp 10\n"
VARIANTS = [
    PLAIN.replace("\n", "\r\n").encode(),
    b"\xef\xbb\xbf" + PLAIN.encode(),
    PLAIN.encode("utf-16"),
    b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    PLAIN.replace("/", "\\").encode(),
    PLAIN.replace(" ", " \t ").encode(),
    (PLAIN + "\r\n \r\n").encode(),
    ("  " + PLAIN.replace("\n", "\t\n")).encode(),
    PLAIN.rstrip().encode(),
]


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "list.txt"


@pytest.mark.parametrize("content", VARIANTS)
def test_index_files_mean_the_same_however_they_are_written(file, content):
    file.write_bytes(content)
    assert lists.labels(file, Tree(file.parent), "again") == {"a/1.bmp": 0, "b/2.bmp": 10}


def test_paths_may_hold_blanks(file):
    file.write_text("my images/a b.bmp 7\n")
    assert lists.labels(file, Tree(file.parent), "again") == {"my images/a b.bmp": 7}


def test_paths_are_those_on_disk_and_none_is_listed_twice(file):
    (file.parent / "a").mkdir()
    (file.parent / "a" / "1.bmp").touch()
    file.write_text("a/1.BMP 0\nb/1.BMP 1\n")
    assert lists.labels(file, Tree(file.parent), "again") == {"a/1.bmp": 0, "b/1.BMP": 1}
    file.write_text("a/1.BMP 0\na/1.bmp 0\n")
    with pytest.raises(UserError, match=r"list\.txt, line 2 is malformed or repeats"):
        lists.labels(file, Tree(file.parent), "again")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a.bmp", 1),
        ("a.bmp 0\n1", 2),
        ("a.bmp 0\n\nb.bmp", 3),
        ("a.bmp -1", 1),
        ("a.bmp x", 1),
        ("d/a.bmp 0\nd\\a.bmp 0", 2),
    ],
)
def test_malformed_and_repeated_lines_are_named(file, content, line):
    file.write_text(content)
    with pytest.raises(
        UserError, match=rf"list\.txt, line {line} is malformed or repeats.*: again"
    ):
        lists.labels(file, Tree(file.parent), "again")


@pytest.mark.parametrize(
    "content", [b"3,1\n", b"\xef\xbb\xbf3 ,\t1\r\n\r\n", "3,1\r\n".encode("utf-16"), b"3,1\n9,9"]
)
def test_identities_are_those_of_the_first_line(file, content):
    file.write_bytes(content)
    assert lists.identities(file, "again") == [3, 1]


@pytest.mark.parametrize("content", ["", "1,,2", "one", "1,1", "-1", "10000"])
def test_wrong_identities_are_refused(file, content):
    file.write_text(content)
    with pytest.raises(UserError, match=r"list\.txt (is empty|has repeated).*, again"):
        lists.identities(file, "again")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_say_by_their_header_what_separates_fields(file, delimiter):
    lines = [["x", "y"], ["a b", '"1,2;3"'], ["", ""], [" c ", "4 "]]
    file.write_text("\r\n".join(delimiter.join(line) for line in lines))
    assert lists.table(file, "again") == [
        (1, ["x", "y"]),
        (2, ["a b", "1,2;3"]),
        (4, ["c", "4"]),
    ]


def labels(file, advice):
    return lists.labels(file, Tree(file.parent), advice)


@pytest.mark.parametrize("read", [lists.text, labels, lists.identities, lists.table])
def test_what_cannot_be_read_is_one_line_with_the_advice(file, read):
    with pytest.raises(UserError, match=rf"cannot read {re.escape(str(file))} .*, again"):
        read(file, "again")
    file.write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"list\.txt is not text in UTF-8 \(.*\), again"):
        read(file, "again")


def test_an_open_quote_is_no_table(file):
    file.write_text('a,b\n"1,2\n')
    with pytest.raises(UserError, match=r"list\.txt is not a table"):
        lists.table(file, "again")


@pytest.mark.parametrize("content", ["3,1\n".encode("utf-16-le"), b"a,b\n1,\0\n", b"a\0.bmp 1\n"])
@pytest.mark.parametrize("read", [lists.text, labels, lists.identities, lists.table])
def test_nul_bytes_are_no_text(file, read, content):
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"list\.txt is not text .* NUL bytes.*, again") as error:
        read(file, "again")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("-7", -7), ("+007", 7), ("9" * 18, 10**18 - 1)]
)
def test_whole_numbers_are_a_sign_and_digits(text, number):
    assert lists.integer("list, line 3", "camera", text) == number


@pytest.mark.parametrize(
    "text", ["", "1_0", "1.0", "1e3", "--1", " 1", "٣", "²", "9" * 19, "9" * 5000]
)
def test_other_numbers_are_refused(file, text):
    with pytest.raises(UserError, match=r"^list, line 3 has the camera '.*', expected an integer"):
        lists.integer("list, line 3", "camera", text)
    file.write_text(f"a.bmp {text}" if text.strip() == text else "a.bmp")
    with pytest.raises(UserError, match="line 1 is malformed"):
        labels(file, "again")
    file.write_text(f"5,{text.strip() or 'x'}x")
    with pytest.raises(UserError, match="malformed"):
        lists.identities(file, "again")
