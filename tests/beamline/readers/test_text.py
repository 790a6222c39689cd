"""The core of the text formats: encodings, comments, decimal commas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamline.errors import DataFileError
from beamline.readers import text
from tests.beamline.readers import files


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    path = files.write(tmp_path / "a.txt", f"# Größe in µm{end}1 2{end}".encode(encoding))
    table = text.table(path)
    assert table.head == ("# Größe in µm",)
    np.testing.assert_array_equal(table.columns, [[1, 2]])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1,5 2,5\n2,5 3\n", [[1.5, 2.5], [2.5, 3]]),
        ("1,5\t2\n2\t3,25\n", [[1.5, 2], [2, 3.25]]),
        ("1,5;2,5\n", [[1.5, 2.5]]),
        ("1.5,2.5\n2.5,3\n", [[1.5, 2.5], [2.5, 3]]),
        ("1.5, 2.5\n", [[1.5, 2.5]]),
        ("1, 2, 3\n", [[1, 2, 3]]),
        ("1,2,3\n", [[1, 2, 3]]),
        ("1 2\n3,5 4\n", [[1, 2], [3.5, 4]]),
        ("1,2\n1.5,2\n", [[1, 2], [1.5, 2]]),
        ("-1e-3  +2E+05\n", [[-1e-3, 2e5]]),
        ("1 nan\n", [[1, np.nan]]),
    ],
)
def test_numbers(content: str, expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(text.split(content, "a.txt").columns, expected)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("1,2\n3,4\n", "could be decimal signs or separators"),
        ("1,5 2\n3.5 4\n", "mixes decimal commas"),
        ("1.5 2\n3,5 4\n", "mixes decimal commas"),
        ("1,5 2\n3, 4\n", "mixes decimal commas"),
        ("1.0,2\n3,,4\n", "line 2 is not a row"),
        ("1;2\n3;;4\n", "line 2 is not a row"),
        ("1 2\n3 4_000\n", "line 2"),
        ("1 2\n3\n", "line 2 has 1 columns"),
        ("1 2\nend of file\n", "line 2 is not a row"),
        ("# only a comment\n", "holds no numbers"),
    ],
)
def test_what_cannot_be_known_is_refused(content: str, cause: str) -> None:
    with pytest.raises(DataFileError, match=cause):
        text.split(content, "a.txt")


def test_comments_after_the_numbers_are_kept_apart(tmp_path: Path) -> None:
    table = text.table(files.write(tmp_path / "a.txt", "title\n# a\n1 2\n# b\n\n3 4\n"))
    assert table.head == ("title", "# a")
    assert table.tail == ("# b",)
    assert len(table.columns) == 2


def test_large_files_and_binary_files_are_refused(tmp_path: Path) -> None:
    path = files.write(tmp_path / "a.txt", b"1 2\n" * 100)
    with pytest.raises(DataFileError, match="larger than 399 bytes"):
        text.decode(path, limit=399)
    assert len(text.decode(path, limit=400)) == 400
    for content in (b"1 2\n\0\0\0\0", b"\x81\x8d\x8f\x90", b"\xff\xfe1"):
        with pytest.raises(DataFileError, match="not a text file"):
            text.decode(files.write(path, content))


@settings(deadline=None, max_examples=100)
@given(
    rows=st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)), min_size=1, max_size=5).filter(
        lambda rows: any("." in repr(v) for v in rows[0])
    ),
    separator=st.sampled_from([" ", "\t", ";", " ; "]),
)
def test_decimal_commas_give_the_same_numbers(rows: list[tuple[float, float]], separator: str) -> None:
    lines = [separator.join(f"{value:.3f}".replace(".", ",") for value in row) for row in rows]
    expected = [[float(f"{value:.3f}") for value in row] for row in rows]
    np.testing.assert_array_equal(text.split("\n".join([*lines, ""]), "a.txt").columns, expected)
