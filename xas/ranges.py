"""Where lines and polynomials are fitted: what a convention chooses, and what other edges leave.

Of a scan that reaches beyond the edge of another element of the sample only what comes before is of use: at
the nickel edge ends what can be known of cobalt, at k = 12.8. The energies of edges are those of the table of
Elam, Ravel and Sieber (Radiat. Phys. Chem. 63 (2002) 121); `MARGIN` before it, the tail of the next edge
begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from beamline.errors import ConfigError
from beamline.readers.absorption import nearest_edge, tabulated

Array = np.ndarray[Any, np.dtype[np.float64]]
Range = tuple[float, float]

MARGIN = 10.0
"""What a range keeps away from the next edge, eV."""
AFTER = 50.0
"""What a range keeps away from the edge before, eV: its fine structure is strongest there."""


@dataclass(frozen=True)
class Ranges:
    """Where the fits of a scan are.

    Attributes
    ----------
    pre, post
        Points of the axis of the line and of the polynomial, as (start, stop).
    degree
        Of the polynomial.
    flat
        The line is a constant: there are too few points for a slope.
    """

    pre: tuple[int, int]
    post: tuple[int, int]
    degree: int
    flat: bool


class NoRoom(Exception):  # noqa: N818 - it never leaves the package
    """There is no room for a fit; the arguments are problem and remedy."""


def find_ranges(
    energy: Array, e0: float, choice: Mapping[str, Any], limits: Range = (-np.inf, np.inf)
) -> Ranges:
    """Return the ranges of one scan.

    Parameters
    ----------
    energy
        Axis in eV.
    e0
        Edge energy, eV.
    choice
        Keys convention, pre, post, degree, and what Athena stored.
    limits
        Energies (eV) the ranges must not go beyond, from `edge_limits`.

    Raises
    ------
    NoRoom
        The scan is too short, or a range holds no data.
    """
    first, last = max(energy[0], limits[0]), min(energy[-1], limits[1])
    if e0 - first < 5 or last - e0 < 15:
        raise NoRoom(
            f"E0 = {e0:.1f} eV leaves no room between {first:.1f} and {last:.1f} eV",
            "the scan must begin 5 eV below the edge and end 15 eV above it; else give e0=",
        )
    for key in ("pre", "post"):
        _inside(energy, e0, key, choice.get(key))
    chosen = _athena if choice["convention"] == "athena" else _larch
    used = energy[(energy >= limits[0]) & (energy <= limits[1])]
    pre, post, degree = chosen(used, e0, choice)
    if limits != (-np.inf, np.inf):
        pre = max(pre[0], limits[0] - e0), pre[1]
        post = post[0], min(post[1], limits[1] - e0)
        if not (pre[0] < pre[1] and post[0] < post[1]):
            raise NoRoom(
                f"other edges leave {limits[0]:.0f} to {limits[1]:.0f} eV, without room for the fits",
                "choose ranges within",
            )
    low, high = _points(energy, e0, pre), _points(energy, e0, post)
    if high[1] - high[0] < 2:
        raise NoRoom("has fewer than two points in the post-edge range", "give post=")
    degree = min(degree, 1) if high[1] - high[0] < 5 else degree
    return Ranges(low, high, degree, low[1] - low[0] < 3)


def edge_limits(element: str, edge: str, elements: Sequence[str]) -> Range:
    """Return the energies between which the edges of all `elements` leave this one alone, in eV.

    Raises
    ------
    ConfigError
        An element does not exist, or the edge is not known.
    """
    at = tabulated(element, edge) if element else None
    if at is None:
        raise ConfigError(
            "elements", "limit nothing: the edge of the scans is not known", "read with element="
        )
    others = [energy for symbol in {*elements, element} for energy in _edges_of(symbol)]
    below = [energy for energy in others if energy < at - 1]
    above = [energy for energy in others if energy > at + 1]
    return max(below, default=-np.inf) + AFTER, min(above, default=np.inf) - MARGIN


def absorber(attrs: Mapping[str, Any], e0: float) -> tuple[str, str]:
    """Return element and edge of scans: what was found when they were read, else that near `e0`, or ""."""
    stated = str(attrs.get("element", "")), str(attrs.get("edge", ""))
    return stated if all(stated) else nearest_edge(e0 - 6.0)  # the rise lies above what is tabulated


@cache
def _edges_of(element: str) -> tuple[float, ...]:
    """Return the tabulated edges of an element (K, L and, of heavy ones, M), in eV."""
    import xraydb

    try:
        return tuple(float(edge.energy) for edge in xraydb.xray_edges(element).values())
    except (ValueError, KeyError, AttributeError) as error:
        raise ConfigError("elements", f"has {element!r}", 'give symbols, ["Ni", "Co", "Mn"]') from error


def _inside(energy: Array, e0: float, key: str, limits: Sequence[float] | None) -> None:
    """Refuse a range that was asked for where there are no data: another one would be taken in silence."""
    if limits is None:
        return
    relative = energy - e0
    if np.count_nonzero((relative >= limits[0]) & (relative <= limits[1])) < 2:
        raise NoRoom(
            f"has fewer than two points in the range {key} = {limits[0]:g} to {limits[1]:g} eV",
            f"it goes from {relative[0]:.0f} to {relative[-1]:.0f} eV relative to E0",
        )


def _larch(energy: Array, e0: float, choice: Mapping[str, Any]) -> tuple[Range, Range, int]:
    """Ranges as larch chooses them (xraylarch 2026.3, pre_edge)."""
    far = int(np.abs(energy - e0).argmin()) > 20
    unit = 5.0 if far else 2.0
    pre1 = max(unit * round((energy[1] - e0) / unit), energy[0] - e0)
    pre = choice.get("pre") or (pre1, 0.5 * pre1)
    post2 = min(5.0 * round((energy[-1] - e0) / 5.0), energy[-1] - e0)
    post1 = min(25.0, 5.0 * round(post2 / 15.0), post2 - 2)
    post = choice.get("post") or (post1, post2)
    span = post[1] - post[0]
    degree = choice.get("degree")
    usual = 2 if span >= 300 else 1 if span >= 30 else 0
    return (pre[0], pre[1]), (post[0], post[1]), usual if degree is None else degree


def _athena(energy: Array, e0: float, choice: Mapping[str, Any]) -> tuple[Range, Range, int]:
    """Ranges as Athena stored them, else its defaults; its nnorm counts coefficients."""

    def stored(low: str, high: str, default: Range) -> Range:
        return choice.get(f"athena_{low}", default[0]), choice.get(f"athena_{high}", default[1])

    pre = choice.get("pre") or stored("pre1", "pre2", (-150.0, -30.0))
    post = choice.get("post") or stored("nor1", "nor2", (150.0, energy[-1] - e0))
    pre = max(pre[0], energy[0] - e0), pre[1]
    if not pre[0] < pre[1]:
        pre = energy[0] - e0, 0.5 * (energy[0] - e0)
    post = post[0], min(post[1], energy[-1] - e0)
    if not post[0] < post[1]:
        post = 0.2 * post[1], post[1]
    degree = choice.get("degree")
    return pre, post, int(choice.get("athena_nnorm", 3)) - 1 if degree is None else degree


def _points(energy: Array, e0: float, limits: Range) -> tuple[int, int]:
    """Return the points of a range: from the one at or below its begin to before the one nearest its end."""
    start = max(int(np.searchsorted(energy, e0 + limits[0], side="right")) - 1, 0)
    stop = int(np.abs(energy - (e0 + limits[1])).argmin())
    return start, max(stop, start + 1)
