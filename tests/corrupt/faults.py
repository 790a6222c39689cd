"""Ways to damage a file, each applied to every format it can happen to.

A fault takes a specimen and gives its bytes after the damage. `BYTES` can happen to any file, `ROWS` to texts
with one reading a line. `Fault.points` is how many readings it may cost: the reading that is left must be
that of the whole file for all others.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.corrupt.specimens import Specimen


@dataclass(frozen=True)
class Fault:
    """A kind of damage.

    Attributes
    ----------
    name
        What it is called.
    apply
        ``specimen -> damaged bytes``.
    points
        How many readings may be missing afterwards; None where a part of the file is.
    """

    name: str
    apply: Callable[[Specimen], bytes]
    points: int | None = 0


def _cut(part: float) -> Fault:
    return Fault(f"cut at {part:.0%}", lambda s: s.content[: max(1, int(part * len(s.content)))], None)


def _nul(specimen: Specimen) -> bytes:
    middle = len(specimen.content) // 2
    return specimen.content[:middle] + bytes(16) + specimen.content[middle + 16 :]


def _junk(specimen: Specimen) -> bytes:
    tenth = max(len(specimen.content) // 10, 1)
    return (
        specimen.content[: 5 * tenth] + np.random.default_rng(1).bytes(tenth) + specimen.content[6 * tenth :]
    )


def _zipped(specimen: Specimen) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../inside", specimen.content)
    return buffer.getvalue()


class _Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch pickled",)


_OBJECTS = b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }"

BYTES: tuple[Fault, ...] = (
    Fault("empty", lambda s: b"", None),
    *(_cut(part) for part in (0.02, 0.3, 0.5, 0.75, 0.97)),
    Fault("its last byte is lost", lambda s: s.content[:-1], 1),
    Fault("its first byte is junk", lambda s: b"\xfe" + s.content[1:], 1),
    Fault("NUL bytes", _nul, 0),
    Fault("junk in the middle", _junk, 0),
    Fault("nothing but junk", lambda s: np.random.default_rng(2).bytes(4000), None),
    Fault("nothing but zeros", lambda s: bytes(5000), None),
    Fault("a text of words", lambda s: b"not what the name says\n" * 40, None),
    Fault("UTF-16", lambda s: s.content.decode("latin-1").encode("utf-16"), 0),
    Fault("UTF-16 without a mark", lambda s: s.content.decode("latin-1").encode("utf-16-le"), 0),
    Fault("gzipped", lambda s: gzip.compress(s.content), 0),
    Fault("bzipped", lambda s: bz2.compress(s.content), 0),
    Fault("zipped", _zipped, 0),
    Fault("a pickle", lambda s: pickle.dumps(_Evil()), None),
    Fault(
        "a pickle in an array",
        lambda s: b"\x93NUMPY\x01\x00v\x00" + _OBJECTS.ljust(117) + b"\n" + pickle.dumps(_Evil()),
        None,
    ),
)


def _cells(change: Callable[[list[bytes], int], list[bytes]]) -> Callable[[Specimen], bytes]:
    """Change the cells of the row in the middle; `change` gets them and the place of the axis."""

    def apply(specimen: Specimen) -> bytes:
        lines, row = _lines(specimen)
        end = b"\r\n" if lines[row].endswith(b"\r\n") else b"\n"
        separator = None if specimen.separator is None else specimen.separator.encode()
        cells = change(lines[row].removesuffix(end).split(separator), specimen.axis)
        lines[row] = (separator or b" ").join(cells) + end
        return b"".join(lines)

    return apply


def _lines(specimen: Specimen) -> tuple[list[bytes], int]:
    """Return the lines and the row in the middle of the readings."""
    lines = specimen.content.splitlines(keepends=True)
    return lines, (specimen.first + len(lines)) // 2


def _axis(text: bytes) -> Callable[[Specimen], bytes]:
    return _cells(lambda cells, axis: [*cells[:axis], text, *cells[axis + 1 :]])


def _number(change: Callable[[bytes], bytes]) -> Callable[[Specimen], bytes]:
    """Change the number in the axis."""
    return _cells(lambda cells, axis: [*cells[:axis], change(cells[axis]), *cells[axis + 1 :]])


def _swapped(specimen: Specimen) -> bytes:
    lines, row = _lines(specimen)
    lines[row - 1], lines[row] = lines[row], lines[row - 1]
    return b"".join(lines)


def _twice(specimen: Specimen) -> bytes:
    lines, row = _lines(specimen)
    return b"".join([*lines[:row], lines[row], *lines[row:]])


def _commas(specimen: Specimen) -> bytes:
    lines, _ = _lines(specimen)
    return b"".join(
        [*lines[: specimen.first], *(line.replace(b".", b",") for line in lines[specimen.first :])]
    )


def _cut_in_a_number(specimen: Specimen) -> bytes:
    """End the file behind the second byte of the last cell of the row in the middle."""
    lines, row = _lines(specimen)
    separator = (specimen.separator or " ").encode()
    start, _, last = lines[row].rstrip().rpartition(separator)
    return b"".join(lines[:row]) + start + separator + last[:2]


def _cut_behind_a_cell(specimen: Specimen) -> bytes:
    lines, row = _lines(specimen)
    separator = (specimen.separator or " ").encode()
    return b"".join(lines[:row]) + lines[row].rstrip().rpartition(separator)[0] + b"\n"


ROWS: tuple[Fault, ...] = (
    Fault("NaN in the axis", _axis(b"NaN"), 1),
    Fault("infinity in the axis", _axis(b"inf"), 1),
    Fault("an overflow in the axis", _axis(b"1e999"), 1),
    Fault("no axis", _axis(b""), 1),
    Fault("a word in the axis", _axis(b"beam"), 1),
    Fault("an accent in the axis", _number(lambda n: n[:1] + b"\xe9" + n[1:]), 1),
    Fault("NUL in the axis", _number(lambda n: n[:1] + b"\0" + n[1:]), 1),
    Fault("an underscore in the axis", _number(lambda n: n[:1] + b"_" + n[1:]), 1),
    Fault("two decimal points", _number(lambda n: n + b".5"), 1),
    Fault("an O for a zero", _number(lambda n: n.replace(b"0", b"O")), 1),
    Fault("digits of another script", _number(lambda n: "\N{ARABIC-INDIC DIGIT TWO}".encode() + n[1:]), 1),
    Fault("a cell too few", _cells(lambda cells, axis: cells[:-1]), 1),
    Fault("a cell too many", _cells(lambda cells, axis: [*cells, b"1.0"]), 1),
    Fault("rows swapped", _swapped, 0),
    Fault("a row twice", _twice, 0),
    Fault("decimal commas", _commas, 0),
    Fault("cut in a number", _cut_in_a_number, None),
    Fault("cut behind a cell", _cut_behind_a_cell, None),
)


def flipped(specimen: Specimen, seed: int, count: int) -> bytes:
    """Return a specimen with bits flipped anywhere, always the same ones for a seed."""
    random, content = np.random.default_rng(seed), bytearray(specimen.content)
    for _ in range(count):
        content[random.integers(len(content))] ^= 1 << int(random.integers(8))
    return bytes(content)
