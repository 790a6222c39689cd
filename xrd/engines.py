"""Programs that refine, behind one call: what an engine is given, what it gives back, where it is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from beamline._lazy import resolve
from beamline.errors import ConfigError
from xrd.models import Model
from xrd.observations import Observations

Floats = np.ndarray[Any, np.dtype[np.float64]]

ENGINES = {"native": "xrd.native:NATIVE", "gsas2": "xrd.gsas2:GSAS2"}
"""Engines by name, each ``module:object``; the module is imported when the engine is asked for."""

STATUS = ("converged", "at_bound", "phase_absent", "max_cycles", "rough", "singular", "failed")
"""What can be said of a fit, from good to bad; of several that hold the last is reported."""


@dataclass(frozen=True)
class Options:
    """How to refine.

    Attributes
    ----------
    max_cycles
        Cycles after which a fit that has not converged is given up.
    tolerance
        A fit has converged when the next step would lower χ² by less than this.
    warm
        Whether a pattern starts from the result of the one before it.
    workers
        Processes that work on chunks of a series.
    chunk
        Patterns in a chunk; its first starts from the model, whatever the number of workers.
    curves
        Whether to return the calculated patterns.
    weights
        ``"observed"``: 1/σ² of the pattern, as in GSAS-II. ``"calculated"``: σ² is that of the observed
        counts brought to the calculated ones, so that a point that happens to be low does not count more.
    """

    max_cycles: int = 30
    tolerance: float = 1e-3
    warm: bool = True
    workers: int = 1
    chunk: int = 50
    curves: bool = True
    weights: Literal["observed", "calculated"] = "observed"


@dataclass(frozen=True)
class Ticks:
    """Reflections of one phase: indices (n, 3), label, 2θ in deg, integrated intensity."""

    hkl: Floats
    labels: tuple[str, ...]
    two_theta: Floats
    intensity: Floats


@dataclass(frozen=True)
class Fit:
    """What an engine found for one pattern.

    Attributes
    ----------
    values
        Every parameter of the model, in the order of ``model.parameters`` (units as there). NaN where the fit
        failed.
    covariance
        Of the free parameters, in the order of ``model.variables``, (JᵀWJ)⁻¹ without any scaling by the
        goodness of fit. Rows and columns of parameters that are held (at a bound, of an absent phase) are 0.
    chi2
        Σ w (observed - calculated)², without restraints.
    points
        Number of points fitted.
    norm
        Σ w observed², over the same points.
    status
        One of `STATUS`.
    message
        Which parameters or phases it is about, or which are strongly correlated; "" where there is nothing to
        say.
    cycles
        Cycles done.
    penalty
        What restraints add to χ², and their number.
    calculated, baseline
        Calculated pattern and background under it at every point of the pattern; NaN outside the fit. None
        where they were not asked for.
    ticks
        Reflections by phase; empty where not asked for.
    limits
        Bounds where the sample broadens less than can be seen: size from below (µm), strain from above
        (10⁻⁶), by the name of the parameter.
    """

    values: Floats
    covariance: Floats
    chi2: float
    points: int
    norm: float
    status: str
    message: str = ""
    cycles: int = 0
    penalty: tuple[float, int] = (0.0, 0)
    calculated: Floats | None = None
    baseline: Floats | None = None
    ticks: tuple[Ticks, ...] = ()
    limits: dict[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """A program that refines."""

    def fit(self, observations: Observations, model: Model, options: Options) -> Sequence[Fit]:
        """Refine the model against every pattern, in their order; one `Fit` for each.

        A pattern that cannot be fitted gives a `Fit` of status "failed" whose message says why; only what is
        wrong for all patterns is raised.

        Raises
        ------
        FitError
            Nothing can be fitted: the engine is not installed, the model does not go with the patterns.
        """


def engine(name: str) -> Engine:
    """Return an engine by its name.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine {name!r}", "does not exist", f"one of {', '.join(ENGINES)}")
    try:
        found: Engine = resolve(ENGINES[name])
    except ModuleNotFoundError as error:
        raise ConfigError(f"engine {name!r}", f"needs {error.name}", "use engine='native'") from error
    return found
