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
_SEPARATORS = re.compile(r"[\s;]+")


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
    """

    head: tuple[str, ...]
    columns: np.ndarray[Any, Any]
    tail: tuple[str, ...] = ()


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
    head: list[str] = list(lines[:skip])
    tail: list[str] = []
    rows: list[list[float]] = []
    numbers = _Numbers()
    for index, line in enumerate(lines[skip:], skip + 1):
        stripped = line.strip()
        if not stripped or stripped[0] in comments:
            (tail if rows else head).append(line)
            continue
        row = numbers.parse(stripped)
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
    if not rows:
        raise DataFileError(path, "holds no numbers")
    return Table(tuple(head), np.array(rows, dtype=float), tuple(line for line in tail if line.strip()))


class _Numbers:
    """Parse rows of numbers; the first row decides whether the comma is a decimal sign or a separator."""

    def __init__(self) -> None:
        self.comma: str | None = None

    def parse(self, line: str) -> list[float] | None:
        if self.comma is None:
            return self._decide(line)
        return _floats(line.replace(",", self.comma))

    def _decide(self, line: str) -> list[float] | None:
        if "," not in line:
            # files of whole numbers followed by "1,5" exist, so a first row without a comma decides nothing
            return _floats(line)
        # "1,5 2,5": a comma inside every word is a decimal sign; "1.5,2.5" or "1, 2": a separator
        words = _SEPARATORS.split(line)
        decimal = len(words) > 1 and "." not in line and all(re.fullmatch(r"[^,]+(,\d+)?", w) for w in words)
        row = _floats(line.replace(",", "." if decimal else " "))
        if row is not None:
            self.comma = "." if decimal else " "
        return row


def _floats(line: str) -> list[float] | None:
    words = [word for word in _SEPARATORS.split(line) if word]
    try:
        # underscores are digits of Python, not of a measurement
        return [float(word) for word in words] if words and "_" not in line else None
    except ValueError:
        return None
