r"""GSAS-II as an engine: the model as a project of its own, and what it finds as our fits.

A series is a sequential refinement, in one project. There the cell of a phase is held, and what is refined
are terms :math:`D_{ij}` that are added to the reciprocal tensor :math:`A` of

.. math:: 1/d^2 = A_0 h^2 + A_1 k^2 + A_2 l^2 + A_3 hk + A_4 hl + A_5 kl .

The cell follows from the real metric :math:`G = G^{*-1}`, its covariance by
:math:`dG = -G\,dG^*\,G` from that of the :math:`D_{ij}`. The errors GSAS-II itself gives are not used:
`getCellEsd` propagates with the transposed matrix of derivatives, which makes the error of a hexagonal a 5/3
too large, and those of a monoclinic a and c more than twice (docs/decisions/0020-gsas2.md).

The first pattern is refined in stages, scale and background before the cell before the rest, as GSAS-II's
least squares step without a trust region; then the cells of all of them, each from the one before; then
everything. What it cannot be given (priors, harmonic texture, Pawley intensities) is refused, not left out.

Reference: B. H. Toby, R. B. Von Dreele, J. Appl. Cryst. 46 (2013) 544.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from beamline.errors import ConfigError, FitError
from xrd import gsas2_installation
from xrd.engines import Fit, Options, Ticks
from xrd.gsas2_job import Job
from xrd.models import Model
from xrd.observations import Observations, observations
from xrd.phases import Phase
from xrd.reflections import equivalents, families, label

Floats = np.ndarray[Any, np.dtype[np.float64]]

TOLERANCE = 1e-5
"""Relative decrease of χ² in a cycle below which GSAS-II stops; in single precision it sees no less."""
LEAST_STEP = 0.5
"""Shift in standard deviations below which a fit that GSAS-II cannot improve was at the minimum: its angles
in single precision leave positions near the beam uncertain by some 1e-5 deg, and edges by as much as this."""


class Gsas2:
    """The engine."""

    def fit(self, observations: Observations, model: Model, options: Options) -> Sequence[Fit]:
        """Refine the model against every pattern with GSAS-II (`xrd.engines.Engine`).

        Of the options `workers` and `chunk` mean nothing here, and `tolerance` is `TOLERANCE`.

        Raises
        ------
        ConfigError
            GSAS-II is not installed, or the model or the options have what it cannot be given.
        FitError
            It gave nothing.
        """
        if options.weights != "observed":
            raise ConfigError(
                "engine 'gsas2'", f"has no weights {options.weights!r}", "refine with engine native"
            )
        job = Job(observations, model)
        with tempfile.TemporaryDirectory(prefix="redoxlight-gsas2-") as name:
            folder = Path(name)
            job.write(folder)
            stages = job.stages(options.warm)
            settings = {"stages": stages, "cycles": options.max_cycles, "tolerance": TOLERANCE}
            result = gsas2_installation.do({**job.description(), **settings}, folder)
            with np.load(folder / "result.npz") as arrays:
                return [
                    _fit(job, found, _of(arrays, number), options, number)
                    for number, found in enumerate(result["patterns"])
                ]


GSAS2 = Gsas2()


def write_project(
    patterns: xr.Dataset,
    model: Model,
    path: str | os.PathLike[str],
    values: Sequence[Floats] | None = None,
) -> None:
    """Write a ``.gpx`` that GSAS-II opens: the patterns, and the model as it is or as it was refined.

    Parameters
    ----------
    patterns
        Kind ``xrd.patterns``.
    model
        The model; what is free in it is marked to be refined.
    path
        The file.
    values
        Parameters of every pattern, in the order of ``model.parameters``; those of the model by default.

    Raises
    ------
    ConfigError
        GSAS-II is not installed, or the model has what it cannot be given.
    FitError
        GSAS-II could not calculate the patterns.
    """
    if values is not None:  # there is one structure for all patterns: that of the first
        found = dict(zip(model.parameters, map(float, values[0]), strict=True))
        model = model.copy().bound("*").start(found)  # GSAS-II knows no bounds
    job = Job(observations(patterns, model), model, values)
    with tempfile.TemporaryDirectory(prefix="redoxlight-gsas2-") as name:
        folder = Path(name)
        job.write(folder)
        settings = {"stages": [], "cycles": Options().max_cycles, "tolerance": TOLERANCE}
        gsas2_installation.do({**job.description(), **settings}, folder)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "refinement.gpx", path)


def _of(arrays: Any, number: int) -> dict[str, Floats]:
    """Return the arrays of one pattern."""
    ending = f"_{number}"
    return {key.removesuffix(ending): arrays[key] for key in arrays.files if key.endswith(ending)}


def _fit(job: Job, found: dict[str, Any], arrays: dict[str, Floats], options: Options, number: int) -> Fit:
    """Return what GSAS-II found for one pattern, in the order and units of the model."""
    if "failed" in found:
        return _failed(job, f"GSAS-II: {found['failed']}")
    try:
        values, covariance = job.found(arrays)
    except FitError as error:
        return _failed(job, error.problem)
    covariance = job.observations.inflation * covariance / found["gof"] ** 2
    if not np.isfinite([*values, *covariance.ravel(), found["chi2"]]).all():
        return _failed(job, "GSAS-II gave no finite numbers")
    status, message = _status(job, found, values, np.diag(covariance))
    curves: dict[str, Any] = {}
    if options.curves:
        x, calculated, background = arrays["curves"]
        curves = {
            "calculated": job.on_axis(x, calculated),
            "baseline": job.on_axis(x, background),
            "ticks": tuple(
                _ticks(phase, arrays[f"reflections_{i}"]) for i, phase in enumerate(job.model.phases)
            ),
        }
    # Not the one of its Rwp: there excluded points count too.
    norm = job.norm(number)
    return Fit(values, covariance, found["chi2"], found["points"], norm, status, message, **curves)


def _failed(job: Job, message: str) -> Fit:
    """Return a fit that gave nothing."""
    size = len(job.model.variables)
    points = len(job.observations.two_theta)
    nothing = np.full(points, np.nan)
    ticks = tuple(_ticks(phase, np.zeros((0, 12))) for phase in job.model.phases)
    values = np.full(len(job.model.parameters), np.nan)
    return Fit(
        values, np.full((size, size), np.nan), np.nan, 0, np.nan, "failed", message,
        calculated=nothing, baseline=nothing, ticks=ticks,
    )  # fmt: skip


def _status(job: Job, found: dict[str, Any], values: Floats, variance: Floats) -> tuple[str, str]:
    """Return what can be said of a fit; GSAS-II itself says that all is well as soon as it returns.

    It knows no bounds, leaves out of the fit what it finds singular, and calls a fit that begins at the
    minimum not converged, since in single precision none of its steps lowers χ².
    """
    table = job.model.parameters
    lost = [name for name, v in zip(job.model.variables, variance, strict=True) if not v > 0]
    if found["singular"] or lost:
        return "singular", ", ".join(lost) or f"{found['singular']} singular values"
    outside = [
        name
        for (name, parameter), value in zip(table.items(), values, strict=True)
        if not parameter.low <= value <= parameter.high
    ]
    if outside:
        return "at_bound", f"outside the bounds of the model: {', '.join(outside)}"
    if found["converged"] or (found["stuck"] and found["moved"] < LEAST_STEP):
        return "converged", ""
    return "max_cycles", "no step lowers χ²" if found["stuck"] else ""


def _ticks(phase: Phase, reflections: Floats) -> Ticks:
    """Return the reflections of a phase from GSAS-II's list: h, k, l, multiplicity, d, 2θ, ..., F²calc.

    Of a family GSAS-II may list another member than we do: (1 0 -2) for (0 1 2).
    """
    if not len(reflections):
        return Ticks(np.zeros((0, 3)), (), np.zeros(0), np.zeros(0))
    ours = families(phase, float(reflections[:, 4].min()) * 0.999).hkl
    of_member = {
        tuple(sign * index for index in member): hkl
        for hkl, members in zip(ours, equivalents(phase, ours), strict=True)
        for member in members.tolist()
        for sign in (1, -1)
    }
    listed = np.rint(reflections[:, :3]).astype(int)
    hkl = np.array([of_member.get(tuple(indices), indices) for indices in listed.tolist()], dtype=float)
    strength = reflections[:, 3] * reflections[:, 9]
    return Ticks(hkl, tuple(label(indices) for indices in hkl), reflections[:, 5], strength)
