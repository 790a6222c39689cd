"""Reflections of a phase: families of equivalents, their multiplicities, absences, and their labels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beamline.errors import ConfigError
from xrd.phases import Phase, metric, operations

Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Families:
    """Reflections that symmetry does not make equal, in order of falling d.

    Attributes
    ----------
    hkl
        One of each family (n, 3): without a minus where there is one, of these the largest.
    multiplicity
        Members of each family (n), Friedel's counted.
    """

    hkl: Integers
    multiplicity: Integers


def families(phase: Phase, d_min: float) -> Families:
    """Return the reflections of a phase down to a spacing (angstrom)."""
    return _families(phase.space_group, phase.cell, round(float(d_min), 6))


def equivalents(phase: Phase, hkl: Any) -> Integers:
    """Return the images of each reflection under all rotations, (n, rotation, 3); some may be equal."""
    rotations = np.unique(np.rint(operations(phase.space_group)[0]).astype(np.int64), axis=0)
    return np.asarray(np.einsum("ni,rij->nrj", np.asarray(hkl, dtype=np.int64), rotations))


def is_absent(phase: Phase, hkl: Any) -> Any:
    """Tell which reflections (n, 3) the space group forbids."""
    return _absent(phase.space_group, np.atleast_2d(np.asarray(hkl, dtype=np.int64)))


def label(hkl: Sequence[int]) -> str:
    """Return the name of a reflection: "003", "10-4", and with spaces where an index has two digits."""
    words = [str(int(index)) for index in hkl]
    return ("" if all(len(word.lstrip("-")) == 1 for word in words) else " ").join(words)


def parse_label(phase: Phase, text: str) -> tuple[int, int, int]:
    """Return the reflection that a label means in a phase.

    The battery literature calls reflections of layered oxides h0l whatever the setting: (105), (107), (102).
    Where that is forbidden and 0kl with the same numbers is not, the latter is meant: (105) is (015).

    Raises
    ------
    ConfigError
        It is no label, or both are forbidden.
    """
    cleaned = text.strip().strip("()")
    parts = cleaned.replace(",", " ").split()
    if len(parts) == 1:
        parts = _digits(cleaned)
    try:
        h, k, i = (int(part) for part in parts)
    except ValueError as error:
        raise ConfigError(
            f"reflection {text!r}", "is no label", "write it as 003, 10-4 or '0 0 12'"
        ) from error
    if not bool(is_absent(phase, [(h, k, i)])[0]):
        return h, k, i
    if not bool(is_absent(phase, [(k, h, i)])[0]):
        return k, h, i
    raise ConfigError(f"reflection {text!r}", f"is forbidden in {phase.space_group}", "check the label")


def _digits(text: str) -> list[str]:
    found: list[str] = []
    sign = ""
    for character in text:
        if character == "-":
            sign = "-"
        else:
            found.append(sign + character)
            sign = ""
    return found


@functools.lru_cache(maxsize=64)
def _families(symbol: str, cell: tuple[float, ...], d_min: float) -> Families:
    reciprocal = np.linalg.inv(metric(cell))
    # |h| <= a / d: the distance of the planes is not smaller than d.
    limits = [int(edge / d_min) + 1 for edge in cell[:3]]
    ranges = [np.arange(-n, n + 1) for n in limits]
    ranges[0] = ranges[0][ranges[0] >= 0]  # the other half are Friedel mates
    hkl = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    q = np.einsum("ni,ij,nj->n", hkl, reciprocal, hkl)
    hkl = hkl[(q > 0) & (q <= d_min**-2)]
    hkl = hkl[~_absent(symbol, hkl)]
    rotations = np.unique(np.rint(operations(symbol)[0]).astype(np.int64), axis=0)
    base = 2 * max(limits) + 200
    best = np.full(len(hkl), np.iinfo(np.int64).min)
    for rotation in (*rotations, *(-rotations)):
        image = hkl @ rotation
        # Rank: no minus first, then the largest indices from the left.
        rank = ((image[:, 0] + base) * 2 * base + image[:, 1] + base) * 2 * base + image[:, 2] + base
        rank = rank + (image >= 0).all(axis=1) * (8 * base**3)
        best = np.maximum(best, rank)
    _, first = np.unique(best, return_index=True)
    keys = best[first] % (8 * base**3)
    unique = np.stack([keys // (4 * base**2), keys // (2 * base) % (2 * base), keys % (2 * base)], 1) - base
    images = np.einsum("ni,rij->nrj", unique, np.concatenate([rotations, -rotations]))
    codes = np.sort((images @ np.array([4 * base**2, 2 * base, 1])), axis=1)
    count = 1 + (np.diff(codes, axis=1) != 0).sum(axis=1)
    order = np.argsort(np.einsum("ni,ij,nj->n", unique, reciprocal, unique), kind="stable")
    return Families(unique[order], count[order])


def _absent(symbol: str, hkl: Integers) -> Any:
    """Tell where an operation keeps hkl but shifts its phase."""
    rotations, translations = operations(symbol)
    absent = np.zeros(len(hkl), dtype=bool)
    for rotation, translation in zip(np.rint(rotations).astype(np.int64), translations, strict=True):
        kept = (hkl @ rotation == hkl).all(axis=1)
        phase = hkl @ translation
        absent |= kept & (np.abs(phase - np.rint(phase)) > 1e-3)
    return absent
