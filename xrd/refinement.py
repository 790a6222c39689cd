"""Refinement of a model against patterns, and the pattern of a model."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from beamline import provenance
from beamline.errors import ConfigError
from beamline.model import with_defaults
from xrd import engines, results
from xrd.engines import Options
from xrd.models import Model
from xrd.observations import observations


@provenance.step("xrd.refine", returns="xrd.series")
def refine(
    pattern: xr.Dataset,
    model: Model,
    engine: str = "native",
    max_cycles: int = 30,
    tolerance: float = 1e-3,
    curves: bool = True,
    weights: Literal["observed", "calculated"] = "observed",
) -> xr.Dataset:
    """Refine a model against one pattern, or several that have nothing to do with each other.

    Parameters
    ----------
    pattern
        Kind ``xrd.patterns`` with errors.
    model
        What is refined; it is not changed.
    engine
        ``"native"``, or ``"gsas2"`` where GSAS-II is installed.
    max_cycles
        Cycles after which a fit that has not converged is given up.
    tolerance
        A fit has converged when the next step would lower χ² by less than this.
    curves
        Whether the result holds calculated pattern, background and reflections for figures.
    weights
        ``"observed"``: 1/σ² with the errors of the pattern, as GSAS-II has it. Errors of counts that are
        taken from the counts themselves pull the background down by one count per point; with
        ``"calculated"`` they are brought to the calculated intensity, and nothing is pulled. Rwp and GOF are
        with these weights.

    Returns
    -------
    Dataset of kind ``xrd.series``
        See `xrd.results.series`.

    Raises
    ------
    FitError
        The pattern cannot be fitted: no errors, another wavelength, nothing within the limits.
    ConfigError
        There is no such engine.
    """
    chosen = Options(max_cycles=max_cycles, tolerance=tolerance, warm=False, curves=curves, weights=weights)
    seen = observations(pattern, model)
    return results.series(pattern, seen, model, engines.engine(engine).fit(seen, model, _checked(chosen)))


@provenance.step("xrd.refine_series", returns="xrd.series")
def refine_series(
    patterns: xr.Dataset,
    model: Model,
    engine: str = "native",
    max_cycles: int = 30,
    tolerance: float = 1e-3,
    workers: int = 1,
    chunk: int = 50,
    curves: bool = False,
    weights: Literal["observed", "calculated"] = "observed",
) -> xr.Dataset:
    """Refine a model against the patterns of a series, each from the result of the one before it.

    Parameters
    ----------
    patterns
        Kind ``xrd.patterns`` with errors, in the order of the series.
    model
        What is refined, with the values the first pattern starts from; it is not changed.
    engine, max_cycles, tolerance, curves, weights
        As in `refine`.
    workers
        Processes; they do not change the result.
    chunk
        Patterns that are refined in a row; the first of each starts from the model.

    Returns
    -------
    Dataset of kind ``xrd.series``
        See `xrd.results.series`. A pattern that could not be fitted is NaN with the status "failed".

    Raises
    ------
    FitError
        No pattern can be fitted.
    ConfigError
        There is no such engine.
    """
    chosen = Options(
        max_cycles=max_cycles,
        tolerance=tolerance,
        workers=workers,
        chunk=chunk,
        curves=curves,
        weights=weights,
    )
    seen = observations(patterns, model)
    return results.series(patterns, seen, model, engines.engine(engine).fit(seen, model, _checked(chosen)))


def _checked(options: Options) -> Options:
    """Return options that are possible.

    Raises
    ------
    ConfigError
        They are not.
    """
    if options.weights not in ("observed", "calculated"):
        raise ConfigError(f"weights={options.weights!r}", "does not exist", "observed or calculated")
    for name in ("max_cycles", "workers", "chunk"):
        if getattr(options, name) < 1:
            raise ConfigError(name, f"is {getattr(options, name)}", "it is at least 1")
    return options


def calculate(model: Model, two_theta: Any) -> xr.Dataset:
    """Calculate the pattern of a model at the values its parameters start with.

    Parameters
    ----------
    model
        What is in the beam.
    two_theta
        Points in deg, rising.

    Returns
    -------
    Dataset of kind ``xrd.patterns``
        ``intensity`` (two_theta), with the square root of it as errors, as of counts.
    """
    from xrd.calculation import Calculator

    points = np.asarray(two_theta, dtype=float)
    empty = xr.Dataset(
        {
            "intensity": ("two_theta", np.ones_like(points), {"units": "count"}),
            "intensity_errors": ("two_theta", np.ones_like(points), {"units": "count"}),
        },
        coords={"two_theta": ("two_theta", points)},
    )
    seen = observations(empty, model)
    intensity = np.full(points.size, np.nan)
    intensity[seen.used] = Calculator(model, seen).pattern(model.free_values())[0]
    errors = np.sqrt(np.maximum(intensity, 1.0))
    pattern = empty.copy(data={"intensity": intensity, "intensity_errors": errors})
    return with_defaults(pattern, "xrd.patterns").assign_attrs(wavelength=model.instrument.wavelength)
