"""A model as a job for GSAS-II's process (`xrd.gsas2_process`): names, values, what is free, what is tied.

GSAS-II calls a parameter ``phase:histogram:name;index``; the histogram is written * here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beamline.errors import ConfigError, FitError
from xrd.models import Model
from xrd.observations import Observations
from xrd.phases import CELL, Floats, Phase, expand_cell, metric, operations, space_group

STRAINS: dict[str, dict[str, tuple[int, ...]]] = {
    "cubic": {"D11": (0, 1, 2)},
    "tetragonal": {"D11": (0, 1), "D33": (2,)},
    "hexagonal": {"D11": (0, 1, 3), "D33": (2,)},
    "rhombohedral": {"D11": (0, 1, 2), "D12": (3, 4, 5)},
    "orthorhombic": {"D11": (0,), "D22": (1,), "D33": (2,)},
    "monoclinic a": {"D11": (0,), "D22": (1,), "D33": (2,), "D23": (5,)},
    "monoclinic b": {"D11": (0,), "D22": (1,), "D33": (2,), "D13": (4,)},
    "monoclinic c": {"D11": (0,), "D22": (1,), "D33": (2,), "D12": (3,)},
    "triclinic": {"D11": (0,), "D22": (1,), "D33": (2,), "D12": (3,), "D13": (4,), "D23": (5,)},
}
"""The terms that move a cell, and to which elements of A they are added, by lattice."""

_RECTANGULAR = ("cubic", "tetragonal", "hexagonal", "orthorhombic")
"""Lattices in which each edge has a term of its own."""
_OF_EDGE = {"a": "D11", "b": "D22", "c": "D33"}

_OF_PHASE = {
    "scale": "Scale",
    "size": "Size;i",
    "size_axial": "Size;a",
    "strain": "Mustrain;i",
    "strain_axial": "Mustrain;a",
    "march": "MD",
}
_OF_SITE = {"x": "dAx", "y": "dAy", "z": "dAz", "occupancy": "Afrac", "uiso": "AUiso"}
_OF_HUMP = {"position": "BkPkpos", "area": "BkPkint", "variance": "BkPksig", "gamma": "BkPkgam"}
_OF_PATTERN = {
    "zero": "Zero",
    "displacement_x": "DisplaceX",
    "displacement_y": "DisplaceY",
    "displacement": "Shift",
    "transparency": "Transparency",
    "absorption": "Absorption",
    "instrument/SHL": "SH/L",
    **{f"instrument/{name}": name for name in "UVWXYZ"},
}
_FIRST = ("background", "scale")
_SECOND = ("cell", "displacement", "")
"""Groups that the first pattern begins with, and those that come before its shape; ``""`` has the zero."""


class Job:
    """A model and its patterns in GSAS-II's words.

    Parameters
    ----------
    observations, model
        What is refined against what.
    values
        Where each pattern begins, in the order of ``model.parameters``; with the model by default.

    Raises
    ------
    ConfigError
        The model has what GSAS-II cannot be given.
    """

    def __init__(
        self, observations: Observations, model: Model, values: Sequence[Floats] | None = None
    ) -> None:
        self.observations, self.model = observations, model
        self.values = [model.values()] if values is None else list(values)
        self.names = _unique([Path(name).stem or "pattern" for name in observations.names])
        _check(model)
        table = model.parameters
        self.variables = {name: v for name in table if (v := self._variable(name)) is not None}
        matrix, _ = model.constraints()
        moving = np.abs(matrix).max(axis=1, initial=0.0) > 0
        self.moving = [
            name
            for name, moves in zip(table, moving, strict=True)
            if moves and name in self.variables and not table[name].by_symmetry
        ]
        self.moving_cells = [
            [n for n in phase.free_cell if table[f"{phase.name}/{n}"].free] for phase in model.phases
        ]
        self._check_cells()

    def description(self) -> dict[str, Any]:
        """Return the job without its stages."""
        instrument = self.model.instrument
        geometry = "Bragg-Brentano" if instrument.geometry == "bragg-brentano" else "Debye-Scherrer"
        x = self.observations.two_theta[self.observations.used]
        return {
            "names": self.names,
            "limits": [float(x[0]), float(x[-1])],  # of points: GSAS-II goes one beyond a limit between two
            "excluded": [list(pair) for pair in self.model.excluded],
            "geometry": [geometry, instrument.radius],
            "terms": self.model.background.terms,
            "peaks": len(self.model.background.humps),
            "phases": [self._phase(phase) for phase in self.model.phases],
            "values": [self._start(values) for values in self.values],
            "variables": [*(self.variables[name] for name in self.moving), *self._strains()],
            "free": self._free(lambda _: True),
            "constraints": list(self._constraints()),
        }

    def stages(self, warm: bool) -> list[dict[str, Any]]:
        """Return the stages of a refinement: the first pattern step by step, then all.

        A pattern that begins with the result of the one before follows the cell first: sizes and strains
        that are free while the reflections are off their places grow until they are lost.
        """
        table = self.model.parameters
        first = self._free(lambda name: table[name].group in _FIRST)
        second = self._free(lambda name: table[name].group in (*_FIRST, *_SECOND))
        stages = [{"free": free, "all": False, "copy": False} for free in (first, second) if free]
        if warm and second and len(self.names) > 1:
            stages.append({"free": second, "all": True, "copy": True})
            warm = False
        return [*stages, {"free": self._free(lambda _: True), "all": True, "copy": warm}]

    def write(self, folder: Path) -> None:
        """Write the patterns and the instrument."""
        seen = self.observations
        np.savez(
            folder / "patterns.npz", two_theta=seen.two_theta, intensity=seen.intensity, errors=seen.errors
        )
        instrument = self.model.instrument
        if seen.polarization_corrected:  # where a factor of one is what is left of it
            instrument = dataclasses.replace(instrument, polarization=1.0, azimuth=0.0)
        instrument.save(folder / "instrument.instprm")

    def on_axis(self, x: Floats, y: Floats) -> Floats:
        """Return a curve at the points GSAS-II had at every point of the patterns; NaN outside the fit."""
        seen = self.observations
        whole = np.full(len(seen.two_theta), np.nan)
        whole[np.searchsorted(seen.two_theta, x - 1e-9)] = y
        return np.where(seen.used, whole, np.nan)

    def norm(self, number: int) -> float:
        """Return Σ w y² of the fitted points of a pattern."""
        seen = self.observations
        ratio = (seen.intensity[number] / seen.errors[number])[seen.used]
        return float(np.nansum(ratio**2))

    def found(self, arrays: dict[str, Floats]) -> tuple[Floats, Floats]:
        """Return what GSAS-II found as all parameters of the model, and the covariance of its free ones.

        Raises
        ------
        FitError
            A cell is none any more.
        """
        model, count = self.model, len(self.moving)
        order = list(model.parameters)
        matrix, offset = model.constraints()
        values = arrays["values"][:count]
        names = list(self.moving)
        slopes = [np.eye(count, len(arrays["values"]))]
        at = count
        for number, (phase, free) in enumerate(zip(model.phases, self.moving_cells, strict=True)):
            if not free:
                continue
            terms = STRAINS[phase.lattice]
            shifts = arrays["values"][at : at + len(terms)]
            cell, slope = cell_of(phase, arrays["reciprocal"][number], shifts)
            chosen = [CELL.index(name) for name in free]
            block = np.zeros((len(free), len(arrays["values"])))
            block[:, at : at + len(terms)] = slope[chosen]
            slopes.append(block)
            values = np.append(values, cell[chosen])
            names += [f"{phase.name}/{name}" for name in free]
            at += len(terms)
        rows = [order.index(name) for name in names]
        # What is free follows from all that moves: p = T u + t.
        inverse = np.linalg.pinv(matrix[rows]) @ np.vstack(slopes)
        free_values = np.linalg.pinv(matrix[rows]) @ (values - offset[rows])
        return matrix @ free_values + offset, inverse @ arrays["covariance"] @ inverse.T

    def _variable(self, name: str) -> str | None:
        """Return what GSAS-II calls a parameter; None for the cell and for parameters added to the model."""
        head, _, tail = name.rpartition("/")
        if name in _OF_PATTERN:
            return f":*:{_OF_PATTERN[name]}"
        if head == "background":
            hump, _, key = tail.partition(".")
            return f":*:{_OF_HUMP[key]};{hump.removeprefix('hump')}" if key else f":*:Back;{tail}"
        number = next((i for i, phase in enumerate(self.model.phases) if phase.name == head), None)
        if number is None or tail in CELL:
            return None
        if tail in _OF_PHASE:
            return f"{number}:*:{_OF_PHASE[tail]}"
        label, _, key = tail.rpartition(".")
        labels = [site.label for site in self.model.phases[number].sites]
        if label in labels and key in _OF_SITE:
            return f"{number}::{_OF_SITE[key]}:{labels.index(label)}"
        return f"{number}:*:Mustrain;{tail}"

    def _phase(self, phase: Phase) -> dict[str, Any]:
        """Return a phase: its structure, and how it is broadened."""
        rotations, translations = operations(phase.space_group)
        table = self.model.parameters
        cell = list(phase.cell)
        for name in phase.free_cell:
            cell[CELL.index(name)] = table[f"{phase.name}/{name}"].value
        group = space_group(phase.space_group)
        strain = "generalized" if phase.strain_model == "generalised" else phase.strain_model
        return {
            "name": phase.name,
            "space_group": f"{group.hm} r" if group.ext == "R" else group.hm,
            "operations": [
                [rotation.tolist(), shift.tolist()]
                for rotation, shift in zip(rotations, translations, strict=True)
            ],
            "cell": _whole_cell(phase, cell),
            "atoms": [
                [site.label, site.element, *(table[f"{phase.name}/{site.label}.{k}"].value for k in _OF_SITE)]
                for site in phase.sites
            ],
            "size_model": phase.size_model,
            "strain_model": strain,
            "axis": list(phase.axis),
            "lebail": phase.intensities == "lebail",
        }

    def _start(self, values: Floats) -> dict[str, float]:
        """Return the values a pattern begins with; atoms have theirs in the phase."""
        start = {
            self.variables[name]: float(value)
            for name, value in zip(self.model.parameters, values, strict=True)
            if name in self.variables and "::" not in self.variables[name]
        }
        for number, phase in enumerate(self.model.phases):
            start[f"{number}:*:Size;mx"] = phase.size_mixing
            start[f"{number}:*:Mustrain;mx"] = phase.strain_mixing
        return start | self._cell_shifts(values)

    def _cell_shifts(self, values: Floats) -> dict[str, float]:
        """Return the terms by which the cells of a pattern differ from those of the model."""
        order = list(self.model.parameters)
        shifts = {}
        for number, phase in enumerate(self.model.phases):
            found = [float(values[order.index(f"{phase.name}/{name}")]) for name in phase.free_cell]
            cell = list(phase.cell)
            for name, value in zip(phase.free_cell, found, strict=True):
                cell[CELL.index(name)] = value
            apart = tensor_of(_whole_cell(phase, cell)) - tensor_of(self._phase(phase)["cell"])
            for term, elements in STRAINS[phase.lattice].items():
                shifts[f"{number}:*:{term}"] = float(apart[elements[0]])
        return shifts

    def _strains(self) -> list[str]:
        return [
            f"{number}:*:{term}"
            for number, (phase, free) in enumerate(zip(self.model.phases, self.moving_cells, strict=True))
            if free
            for term in STRAINS[phase.lattice]
        ]

    def _free(self, chosen: Any) -> list[str]:
        """Return the variables of parameters that move and are chosen."""
        free = [self.variables[name] for name in self.moving if chosen(name)]
        for number, (phase, names) in enumerate(zip(self.model.phases, self.moving_cells, strict=True)):
            if names and chosen(f"{phase.name}/{names[0]}"):
                terms = (
                    [_OF_EDGE[name] for name in names]
                    if phase.lattice in _RECTANGULAR
                    else list(STRAINS[phase.lattice])
                )
                free += [f"{number}:*:{term}" for term in terms]
        return free

    def _constraints(self) -> Iterator[dict[str, Any]]:
        """Yield the equations that all that moves obeys: Σ w p = Σ w t for every w with w T = 0."""
        matrix, offset = self.model.constraints()
        order = list(self.model.parameters)
        rows = [order.index(name) for name in self.moving]
        chosen, constants = matrix[rows], offset[rows]
        tied = np.flatnonzero(
            [
                name in self.model.ties or (chosen[:, chosen[i] != 0] != 0).sum() > 1
                for i, name in enumerate(self.moving)
            ]
        )
        if not len(tied):
            return
        for weights in _left_null_space(chosen[tied]):
            kept = np.flatnonzero(np.abs(weights) > 1e-9)
            yield {
                "total": float(weights @ constants[tied]),
                "terms": [[self.variables[self.moving[tied[i]]], float(weights[i])] for i in kept],
            }

    def _check_cells(self) -> None:
        for phase, free in zip(self.model.phases, self.moving_cells, strict=True):
            if free and phase.lattice not in _RECTANGULAR and len(free) < len(phase.free_cell):
                raise ConfigError(
                    f"cell of phase {phase.name!r}",
                    f"has only {', '.join(free)} free, in GSAS-II it is all or none",
                    f"free or fix {phase.name}/cell",
                )


def tensor_of(cell: Sequence[float]) -> Floats:
    """Return A of a cell: 1/d² = A₀h² + A₁k² + A₂l² + A₃hk + A₄hl + A₅kl."""
    g = np.linalg.inv(metric(cell))
    return np.array([g[0, 0], g[1, 1], g[2, 2], 2 * g[0, 1], 2 * g[0, 2], 2 * g[1, 2]])


def cell_of(phase: Phase, tensor: Floats, shifts: Floats) -> tuple[Floats, Floats]:
    """Return the cell a tensor A and the terms added to it stand for, and how it follows the terms (6, term).

    Raises
    ------
    FitError
        It is that of no cell.
    """
    terms = np.zeros((6, len(shifts)))
    for column, elements in enumerate(STRAINS[phase.lattice].values()):
        terms[list(elements), column] = 1.0
    reciprocal = _square(tensor + terms @ shifts)
    if not np.isfinite(reciprocal).all() or not (np.linalg.eigvalsh(reciprocal) > 0).all():
        raise FitError(
            f"phase {phase.name!r}", f"the cell of {phase.name} was lost", "fix it, or leave it out"
        )
    real = np.linalg.inv(reciprocal)
    edges = np.sqrt(np.diag(real))
    pairs = ((1, 2), (0, 2), (0, 1))
    cosines = np.array([real[i, j] / (edges[i] * edges[j]) for i, j in pairs])
    slopes = np.zeros((6, len(shifts)))
    for column in range(len(shifts)):
        change = -real @ _square(terms[:, column]) @ real
        of_edges = np.diag(change) / (2 * edges)
        slopes[:3, column] = of_edges
        for row, (i, j) in enumerate(pairs):
            relative = of_edges[i] / edges[i] + of_edges[j] / edges[j]
            of_cosine = change[i, j] / (edges[i] * edges[j]) - cosines[row] * relative
            slopes[3 + row, column] = -np.degrees(of_cosine / np.sqrt(1 - cosines[row] ** 2))
    return np.append(edges, np.degrees(np.arccos(cosines))), slopes


def _square(tensor: Floats) -> Floats:
    """Return A as the reciprocal metric tensor."""
    a0, a1, a2, a3, a4, a5 = tensor
    return np.array([[a0, a3 / 2, a4 / 2], [a3 / 2, a1, a5 / 2], [a4 / 2, a5 / 2, a2]])


def _whole_cell(phase: Phase, cell: Sequence[float]) -> list[float]:
    """Return a cell whose dependent parameters follow the free ones."""
    return list(expand_cell(phase.lattice, [cell[CELL.index(name)] for name in phase.free_cell]))


def _left_null_space(matrix: Floats) -> list[Floats]:
    """Return the fewest-entry rows w with w M = 0: by elimination, so that simple ties stay simple."""
    rows, columns = matrix.shape
    work = np.hstack([matrix, np.eye(rows)])
    rank = 0
    for column in range(columns):
        pivot = rank + int(np.argmax(np.abs(work[rank:, column]))) if rank < rows else rank
        if rank == rows or abs(work[pivot, column]) < 1e-9:
            continue
        work[[rank, pivot]] = work[[pivot, rank]]
        for below in range(rank + 1, rows):
            work[below] -= work[rank] * work[below, column] / work[rank, column]
        rank += 1
    return list(work[rank:, columns:])


def _unique(names: Sequence[str]) -> list[str]:
    """Return names of histograms: GSAS-II gives those that repeat a number of its own."""
    if len(set(names)) == len(names):
        return list(names)
    width = len(str(len(names)))
    return [f"{name}_{i:0{width}d}" for i, name in enumerate(names)]


def _check(model: Model) -> None:
    """Refuse what GSAS-II cannot be given; what is left out in silence would not be the same model."""
    problems = []
    if model.restraints:
        problems.append("restraints")
    if model.margin:
        problems.append("a margin")
    for phase in model.phases:
        if phase.harmonics:
            problems.append(f"harmonic texture of {phase.name}")
        if phase.intensities == "pawley":
            problems.append(f"Pawley intensities of {phase.name}")
        if space_group(phase.space_group).ext == "1":
            problems.append(f"origin choice 1 of {phase.name}")
    tied = [n for n in model.ties if n.rpartition("/")[2] in CELL]
    problems += [f"a tie of {name}" for name in tied]
    if problems:
        raise ConfigError(
            "engine 'gsas2'", f"cannot be given {', '.join(problems)}", "refine with engine native"
        )
