"""Which edge a scan is of: from the energy of its steepest rise and the tables of Elam, Ravel and Sieber.

(Radiat. Phys. Chem. 63 (2002) 121, by xraydb.) Where a file's own label contradicts the energy, the energy
wins and a warning says so.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np

from beamline.errors import DataFileError

Array = np.ndarray[Any, np.dtype[np.float64]]

EDGES = ("K", "L3", "L2", "L1")
"""Edges that are looked for, the likeliest first."""


def steepest(energy: Array, mu: Array, near: float | None = None) -> tuple[float, float]:
    """Return the energy of the steepest rise and its height, over windows of 2 eV or three points.

    Where an edge is expected `near` some energy, only 40 eV to either side are looked at.
    """
    width = max(2.0, float(np.median(np.diff(energy))) * 2)
    lo, hi = energy[0] + 0.02 * np.ptp(energy), energy[-1] - 0.02 * np.ptp(energy)
    if near is not None and lo < near < hi:
        lo, hi = max(lo, near - 40), min(hi, near + 40)
    grid = np.arange(lo, hi, width / 4)
    rise = np.interp(grid + width / 2, energy, mu) - np.interp(grid - width / 2, energy, mu)
    return float(grid[np.argmax(rise)]), float(rise.max())


def identify(
    energy: Array,
    mu: Array,
    name: str,
    element: str | None,
    edge: str | None,
    stated: tuple[str, str],
) -> dict[str, str]:
    """Return element and edge, and how they are known."""
    e0, height = steepest(energy, mu)
    if element:
        edge = edge or next(
            (e for e in EDGES if (t := tabulated(element, e)) is not None and abs(e0 - t) < 40), None
        )
        expected = tabulated(element, edge) if edge else None
        if edge is None or expected is None or abs(e0 - expected) > 40:
            guess = " ".join(_nearest(e0)) or "no tabulated edge"
            asked = f"{element} {edge}" if edge else element
            raise DataFileError(name, f"rises at {e0:.1f} eV, which is not {asked} but {guess}")
        return {"element": element, "edge": edge, "edge_from": "given"}
    symbol, line = stated[0].strip().capitalize(), (stated[1].strip().capitalize() or "K")
    if symbol:
        expected = tabulated(symbol, line)
        if expected is not None and energy[0] < expected < energy[-1]:
            # a spike or noise elsewhere may be steeper, but not by much
            at, local = steepest(energy, mu, expected)
            if abs(at - expected) <= 40 and local > 0.3 * height:
                return {"element": symbol, "edge": line, "edge_from": "file"}
    guessed = _nearest(e0)
    if symbol and guessed:
        warnings.warn(
            f"{name}: says {symbol} {line}, but μ rises at {e0:.1f} eV, which is {' '.join(guessed)}; "
            "the energy is believed",
            stacklevel=2,
        )
    if not guessed:
        return {"edge_from": f"no tabulated edge near {e0:.1f} eV"}
    return {"element": guessed[0], "edge": guessed[1], "edge_from": f"energy of the rise, {e0:.1f} eV"}


@cache
def tabulated(element: str, edge: str) -> float | None:
    """Return the tabulated energy of an edge in eV; None where there is no such edge."""
    import xraydb

    try:
        found = xraydb.xray_edge(element, edge)
    except (ValueError, KeyError, TypeError):
        return None
    return float(found.energy) if found is not None else None


def nearest_edge(nominal: float) -> tuple[str, str]:
    """Return the edge a beamline means by its nominal E0: the nearest within 8 eV, K edges first; or ""."""
    import xraydb

    best = (8.0, "", "")
    for z in range(3, 93):
        for rank, edge in enumerate(EDGES):
            found = tabulated(xraydb.atomic_symbol(z), edge)
            if found is not None:
                best = min(best, (abs(nominal - found) + 2 * rank, xraydb.atomic_symbol(z), edge))
    return best[1], best[2]


def _nearest(energy: float) -> tuple[()] | tuple[str, str]:
    """Return the likeliest edge: chemical shifts and the rise itself lie 0 to 15 eV above the tables.

    K edges are preferred to L3, L2 and L1 edges by 4 eV each.
    """
    import xraydb

    best: tuple[float, tuple[()] | tuple[str, str]] = (26.0, ())
    for z in range(3, 93):
        for rank, edge in enumerate(EDGES):
            found = tabulated(xraydb.atomic_symbol(z), edge)
            if found is None or not -15 < energy - found < 25:
                continue
            cost = abs(energy - found - 5) + 4 * rank
            if cost < best[0]:
                best = (cost, (xraydb.atomic_symbol(z), edge))
    return best[1]
