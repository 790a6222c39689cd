"""Text files of columns: the small core the text formats share.

A measured table is a head of comments or labels and then lines of numbers. Files come as UTF-8, UTF-16 with a
byte order mark, or the Windows code page 1252, with LF, CRLF or CR, and some programs write a decimal comma.
What cannot be read with certainty is refused: a guess here would be a wrong number in a paper.
"""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beamline.errors import DataFileError

if TYPE_CHECKING:
    import numpy as np

MAX_BYTES = 64 * 2**20
"""Largest text file that is read."""

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")
_SEPARATORS = re.compile(r"[\s;]+")
_EMPTY = re.compile(r"[,;]\s*[,;]")
_PLAIN = "save it with decimal points and spaces"


@dataclass(frozen=True)
class Table:
    """A text file of columns.

    Attributes
    ----------
    head
        The lines before the numbers, without line ends.
    columns
        The numbers, shape (rows, columns).
    tail
        Comment lines after the first number.
    is_cut
        The last row had no line end, so that its last number may be cut short, and was left out.
    """

    head: tuple[str, ...]
    columns: np.ndarray[Any, Any]
    tail: tuple[str, ...] = ()
    is_cut: bool = False


def decode(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> str:
    """Return the text of a file.

    Raises
    ------
    DataFileError
        The file is not text, or larger than `limit` bytes.
    """
    with open(path, "rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise DataFileError(
            path, f"is larger than {limit} bytes", "it does not look like a text of this format"
        )
    return decode_bytes(raw, path)


def decode_bytes(raw: bytes, path: str | os.PathLike[str]) -> str:
    """Return bytes as text: by their byte order mark, as UTF-8, or as code page 1252; `path` names them.

    Raises
    ------
    DataFileError
        They are not text.
    """
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    if encoding is None and b"\0" in raw:
        raise DataFileError(path, "is not a text file")
    for candidate in (encoding,) if encoding else ("utf-8", "cp1252"):
        try:
            return raw.decode(candidate).replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            continue
    raise DataFileError(path, "is not a text file", "it is neither UTF-8, UTF-16 nor Windows text")


def table(path: str | os.PathLike[str], comments: str = "#") -> Table:
    """Read a text file of columns.

    Parameters
    ----------
    path
        The file.
    comments
        Characters that start a comment line.

    Raises
    ------
    DataFileError
        There are no numbers, lines differ in their number of columns, or something among the numbers is
        neither a number nor a comment.

    Notes
    -----
    A last row without a line end is left out (`Table.is_cut`): its last number may be cut short.
    """
    return split(decode(path), path, comments)


def split(content: str, path: str | os.PathLike[str], comments: str = "#", skip: int = 0) -> Table:
    """Split a text into its head and its columns; the first `skip` lines are head whatever they hold.

    Raises
    ------
    DataFileError
        As `table`.
    """
    import numpy as np

    lines = content.split("\n")
    comma = comma_of(lines[skip:], path, comments) if "," in content else " "
    head: list[str] = list(lines[:skip])
    tail: list[str] = []
    rows: list[list[float]] = []
    for index, line in enumerate(lines[skip:], skip + 1):
        stripped = line.strip()
        if not stripped or stripped[0] in comments:
            (tail if rows else head).append(line)
            continue
        row = _floats(stripped, comma)
        if row is None and not rows:
            head.append(line)
        elif row is None:
            raise DataFileError(
                path, f"line {index} is not a row of numbers: {line[:60]!r}", "is it complete?"
            )
        elif rows and len(row) != len(rows[0]):
            raise DataFileError(
                path,
                f"line {index} has {len(row)} columns, the lines before have {len(rows[0])}",
                "is it complete?",
            )
        else:
            rows.append(row)
    is_cut = len(rows) > 1 and is_unfinished(content) and lines[-1].strip()[0] not in comments
    if is_cut:
        rows.pop()
    if not rows:
        raise DataFileError(path, "holds no numbers")
    if head[skip:] and _is_damaged_row(head[-1], comments, comma, len(rows[0])):
        raise DataFileError(
            path, f"line {len(head)} is not a row of numbers: {head[-1][:60]!r}", "restore it"
        )
    remarks = tuple(line for line in tail if line.strip())
    return Table(tuple(head), np.array(rows, dtype=float), remarks, is_cut)


def _is_damaged_row(line: str, comments: str, comma: str, width: int) -> bool:
    """Tell whether the last line above the numbers is one of them with a single word that is none."""
    stripped = line.strip()
    if not stripped or stripped[0] in comments:
        return False
    words = [word for word in _SEPARATORS.split(stripped.replace(",", comma)) if word]
    numbers = [word for word in words if _floats(word, ".") is not None]
    return len(words) == width > 1 and len(numbers) == width - 1


def parse_number(word: str) -> float:
    """Return a number as instruments write it: Python would take digits of any script and underscores too.

    Raises
    ------
    ValueError
        It is none.
    """
    if "_" in word or not word.isascii():
        raise ValueError(f"not a number: {word!r}")
    return float(word)


def comma_of(lines: list[str], path: str | os.PathLike[str], comments: str) -> str:
    """Return what a comma among the numbers stands for: "." (a decimal sign) or " " (it separates columns).

    In "1,5 2,5" it is a decimal sign: every word has at most one, and nothing else separates less. In "1, 2",
    "1,2,3" and "1.5,2.5" it separates. A file of "1,5" alone, or of both kinds, could be either.

    Raises
    ------
    DataFileError
        It could be either.
    """
    decimal = separator = unclear = point = False
    for line in lines:
        stripped = line.strip()
        if not stripped or stripped[0] in comments:
            continue
        if _floats(stripped, ".") is None and _floats(stripped, " ") is None:
            continue
        point |= "." in stripped
        if "," not in stripped:
            continue
        words = _SEPARATORS.split(stripped)
        if any(
            w.count(",") > 1 or w.startswith(",") or w.endswith(",") or "." in w for w in words if "," in w
        ):
            separator = True
        elif len(words) > 1:
            decimal = True
        else:
            unclear = True
    if decimal and (separator or point):
        raise DataFileError(path, "mixes decimal commas with points or commas between columns", _PLAIN)
    if unclear and not (decimal or separator or point):
        raise DataFileError(path, "has commas that could be decimal signs or separators", _PLAIN)
    return "." if decimal else " "


def is_binary(raw: bytes) -> bool:
    """Tell whether bytes hold control characters that no text has."""
    return _CONTROL.search(raw) is not None


def is_unfinished(content: str) -> bool:
    """Tell whether a text ends right behind its last word, which may then be cut short."""
    return bool(content) and not content[-1].isspace() and content[-1] != "\x1a"


def _floats(line: str, comma: str) -> list[float] | None:
    """Return the numbers of a line; None where it holds anything else, or an empty column."""
    if _EMPTY.search(line):
        return None
    words = [word for word in _SEPARATORS.split(line.replace(",", comma)) if word]
    try:
        return [parse_number(word) for word in words] if words else None
    except ValueError:
        return None
