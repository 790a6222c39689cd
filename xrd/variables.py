"""The parameters of a phase: which there are, where they start, what symmetry leaves of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xrd import broadening, texture
from xrd.phases import CELL, WITHIN, Floats, Phase, Site, echelon, operations

GROUPS = (
    *("cell", "scale", "size", "strain", "texture", "coordinates", "uiso", "occupancies"),
    *("background", "displacement", "profile"),
)
"""Names that stand for several parameters."""

Terms = tuple[tuple[tuple[str, float], ...], float]


@dataclass(frozen=True)
class Parameter:
    """One number of a model.

    Attributes
    ----------
    value
        What it starts with, or is held at.
    free
        Whether it is refined.
    low, high
        Bounds it is kept within.
    units, long_name
        As in a Dataset.
    group
        The group it belongs to, one of `GROUPS`.
    by_symmetry
        It is fixed, or follows another, because of symmetry (or of what the phase is).
    """

    value: float
    free: bool = False
    low: float = -math.inf
    high: float = math.inf
    units: str = ""
    long_name: str = ""
    group: str = ""
    by_symmetry: bool = False


def phase_parameters(phase: Phase) -> Mapping[str, Parameter]:
    """Return the parameters of a phase by their names, in the order results have them."""
    return dict(_parameters(phase))


def phase_ties(phase: Phase) -> Mapping[str, Terms]:
    """Return how coordinates follow each other on special positions: (others with factors, offset)."""
    ties: dict[str, Terms] = {}
    for site in phase.sites:
        free, dependence = coordinate_freedom(phase.space_group, (site.x, site.y, site.z))
        start = (site.x, site.y, site.z)
        for axis in range(3):
            row = dependence[axis]
            if axis in free or not row.any():
                continue
            terms = tuple((f"{site.label}.{'xyz'[j]}", float(f)) for j, f in zip(free, row, strict=True) if f)
            followed = sum(f * start[j] for j, f in zip(free, row, strict=True))
            ties[f"{site.label}.{'xyz'[axis]}"] = (terms, start[axis] - followed)
    return ties


def coordinate_freedom(symbol: str, position: Any, tolerance: float = 1e-3) -> tuple[list[int], Floats]:
    """Return which coordinates of a position are free, and how all three depend on them (3, free).

    The operations that leave the position where it is leave only displacements in the space that their mean
    projects on.
    """
    rotations, translations = operations(symbol)
    start = np.asarray(position, dtype=float)
    moved = rotations @ start + translations - start
    stays = np.abs(moved - np.rint(moved)).max(axis=1) < tolerance
    projector = rotations[stays].mean(axis=0)
    basis = echelon(projector.T)
    free = [int(np.flatnonzero(np.abs(row) > 1e-9)[0]) for row in basis]
    return free, basis.T.reshape(3, len(free))


def _parameters(phase: Phase) -> Iterator[tuple[str, Parameter]]:
    for name in phase.free_cell:
        length = name in "abc"
        value = phase.cell[CELL.index(name)]
        low, high = (0.7 * value, 1.4 * value) if length else (20.0, 160.0)
        yield name, Parameter(value, True, low, high, "angstrom" if length else "deg", group="cell")
    # Of a phase whose intensities are free the scale says nothing more.
    known = phase.intensities == "structure"
    yield "scale", Parameter(phase.scale, known, 0.0, group="scale", by_symmetry=not known)
    smallest, largest = WITHIN["size"]
    widths = {"low": smallest, "high": largest, "units": "um", "group": "size"}
    yield "size", Parameter(phase.size, True, **widths)  # type: ignore[arg-type]
    if phase.size_model == "uniaxial":
        yield "size_axial", Parameter(phase.size_axial, True, **widths)  # type: ignore[arg-type]
    if phase.strain_model == "generalised":
        names = broadening.stephens_terms(phase.space_group)
        start = phase.stephens or broadening.isotropic_stephens(phase)
        for name, value in zip(names, start, strict=True):
            yield name, Parameter(value, True, group="strain")
    else:
        bounds = WITHIN["strain"]
        yield "strain", Parameter(phase.strain, True, *bounds, "1e-6", group="strain")
        if phase.strain_model == "uniaxial":
            yield "strain_axial", Parameter(phase.strain_axial, True, *bounds, "1e-6", group="strain")
    yield "march", Parameter(phase.march, False, *WITHIN["march"], group="texture")
    for name in texture.harmonic_terms(phase):
        yield name, Parameter(0.0, True, group="texture")
    for site in phase.sites:
        yield from _site(phase, site)


def _site(phase: Phase, site: Site) -> Iterator[tuple[str, Parameter]]:
    free, _ = coordinate_freedom(phase.space_group, (site.x, site.y, site.z))
    for axis, name in enumerate("xyz"):
        value = getattr(site, name)
        fixed = axis not in free
        yield f"{site.label}.{name}", Parameter(value, group="coordinates", by_symmetry=fixed)
    yield f"{site.label}.occupancy", Parameter(site.occupancy, group="occupancies")
    yield f"{site.label}.uiso", Parameter(site.uiso, False, -0.05, 0.5, "angstrom**2", group="uiso")
