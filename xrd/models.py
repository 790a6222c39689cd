"""What a pattern is fitted with: phases, instrument, background, and which of their parameters may move.

A model is a table of named parameters. Those of a phase are ``phase/parameter`` ("layered/a",
"layered/O1.z"), those of the whole pattern stand alone ("zero") or under what they belong to
("background/0", "instrument/U"). Constraints are linear: a tied parameter is a sum of others,

    p_i = offset_i + Σ_j factor_ij p_j ,

so that any derivative with respect to what is free follows from those with respect to all parameters.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from beamline.errors import ConfigError
from calibration.instrument import PROFILE, Instrument
from xrd.phases import Phase
from xrd.variables import GROUPS, Parameter, phase_parameters, phase_ties

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Hump:
    """A broad peak in the background: an amorphous hump, with GSAS-II's parameters of a background peak.

    Attributes
    ----------
    position
        2θ in deg.
    area
        Counts times centideg.
    variance, gamma
        Gaussian variance (centideg²) and Lorentzian FWHM (centideg).
    """

    position: float
    area: float
    variance: float = 1e4
    gamma: float = 0.1


@dataclass(frozen=True)
class Background:
    """Chebyshev polynomials of the first kind over the fitted range, and humps.

    Attributes
    ----------
    terms
        Number of Chebyshev terms.
    coefficients
        To begin with; zeros where not given.
    humps
        Broad peaks.
    """

    terms: int = 6
    coefficients: tuple[float, ...] = ()
    humps: tuple[Hump, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.terms <= 50 or len(self.coefficients) not in (0, self.terms):
            raise ConfigError("background", f"has {self.terms} terms", "give 0 to 50, with as many numbers")


@dataclass(frozen=True)
class Tie:
    """A parameter that follows others: ``offset + Σ factor · parameter``."""

    terms: tuple[tuple[str, float], ...]
    offset: float = 0.0


@dataclass(frozen=True)
class Restraint:
    """What is known beforehand: ``Σ factor · parameter = value ± sigma``; one term is a prior."""

    terms: tuple[tuple[str, float], ...]
    value: float
    sigma: float


class Model:
    """Phases, instrument and background, with the table of their parameters.

    By default the cell, scale, size and strain of each phase and the background are free. The methods change
    the model and return it, so that they can be chained.

    Parameters
    ----------
    phases
        Phases, in the order results have them.
    instrument
        The diffractometer.
    background
        Number of Chebyshev terms, or a `Background`.
    limits
        First and last 2θ (deg) to fit; all of the pattern where not given.
    excluded
        Ranges of 2θ (deg) left out of the fit.
    margin
        Reflections up to this far (deg) outside the limits count with their tails; 0 as in GSAS-II.
    fixed_list
        Which reflections lie within the limits is settled for the cell the model starts with, as in GSAS-II,
        and not anew for every pattern.

    Raises
    ------
    ConfigError
        Two phases have one name, or limits do not rise.
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        instrument: Instrument,
        background: int | Background = 6,
        limits: tuple[float, float] | None = None,
        excluded: Iterable[tuple[float, float]] = (),
        margin: float = 0.0,
        fixed_list: bool = False,
    ) -> None:
        self.phases = tuple(phases)
        self.instrument = instrument
        self.background = Background(background) if isinstance(background, int) else background
        if not isinstance(self.background, Background):
            raise ConfigError("background", f"is {background!r}", "give a whole number of Chebyshev terms")
        self.limits = None if limits is None else (float(limits[0]), float(limits[1]))
        self.excluded = tuple((float(low), float(high)) for low, high in excluded)
        self.margin = float(margin)
        self.fixed_list = bool(fixed_list)
        names = [phase.name for phase in self.phases]
        if not names:
            raise ConfigError("model", "has no phase", "give at least one")
        if len(set(names)) != len(names):
            raise ConfigError("model", f"has phases of one name ({', '.join(names)})", "rename one")
        for low, high in (*self.excluded, *([self.limits] if self.limits else [])):
            if not 0 <= low < high <= 180:
                raise ConfigError("limits", f"are {low:g} to {high:g} deg", "they rise, within 0 to 180 deg")
        self.parameters: dict[str, Parameter] = self._table()
        self.ties: dict[str, Tie] = {
            f"{phase.name}/{name}": Tie(tuple((f"{phase.name}/{o}", f) for o, f in terms), offset)
            for phase in self.phases
            for name, (terms, offset) in phase_ties(phase).items()
        }
        self.restraints: list[Restraint] = []

    # what is free

    def free(self, *patterns: str) -> Self:
        """Let parameters move: names, globs ("*/strain") or groups ("layered/cell", "zero", "profile").

        Groups of a phase: cell, size, strain, texture, coordinates, uiso, occupancies; of the pattern:
        background, profile. Coordinates that symmetry fixes stay fixed.

        Raises
        ------
        ConfigError
            Nothing has that name, or symmetry or a tie decides on the parameter.
        """
        return self._set_free(patterns, True)

    def fix(self, *patterns: str) -> Self:
        """Hold parameters at their values; the names are those of `free`."""
        return self._set_free(patterns, False)

    def start(self, values: Mapping[str, float]) -> Self:
        """Set the values parameters begin with, or are held at.

        Raises
        ------
        ConfigError
            A name does not exist, or its value is no number or outside the bounds.
        """
        for name, value in values.items():
            known = self._existing(name)
            if not known.low <= _finite(name, value) <= known.high:
                raise ConfigError(
                    f"parameter {name!r}",
                    f"is set to {value:g}",
                    f"it lies between {known.low:g} and {known.high:g}",
                )
            self._replace(name, value=float(value))
        return self

    def bound(self, pattern: str, low: float = -math.inf, high: float = math.inf) -> Self:
        """Keep parameters between two values."""
        if not low < high:
            raise ConfigError(f"bounds of {pattern}", f"are {low:g} and {high:g}", "they rise")
        for name in self.names(pattern):
            value = min(max(self.parameters[name].value, low), high)
            self._replace(name, low=low, high=high, value=value)
        return self

    def add(self, name: str, value: float, low: float = -math.inf, high: float = math.inf) -> Self:
        """Add a free parameter of one's own, for others to be tied to."""
        if name in self.parameters:
            raise ConfigError(f"parameter {name!r}", "exists already", "choose another name")
        self.parameters[name] = Parameter(_finite(name, value), True, low, high, "", name)
        return self

    def tie(self, name: str, to: str | Mapping[str, float], factor: float = 1.0, offset: float = 0.0) -> Self:
        """Make a parameter follow another, or a sum of others.

        Parameters
        ----------
        name
            What follows; it is no longer free.
        to
            The other parameter, or several with their factors.
        factor
            By which the one other is multiplied.
        offset
            Added to the sum.

        Raises
        ------
        ConfigError
            A name does not exist, or is tied itself.
        """
        terms = {to: factor} if isinstance(to, str) else dict(to)
        for other in (name, *terms):
            self._existing(other)
        if any(other in self.ties for other in terms) or name in terms:
            raise ConfigError(f"tie of {name!r}", "leads to a tied parameter", "tie to the free one")
        if any(name == other for tie in self.ties.values() for other, _ in tie.terms):
            raise ConfigError(f"tie of {name!r}", "has others tied to it", "tie them to the free one")
        self.ties[name] = Tie(tuple((o, float(f)) for o, f in terms.items()), float(offset))
        self._replace(name, free=False)
        return self

    def restrain(self, name: str | Mapping[str, float], value: float, sigma: float) -> Self:
        """State what is known beforehand of a parameter, or of a sum of several with their factors.

        It counts in χ² as one more observation, ``value ± sigma``.
        """
        terms = {name: 1.0} if isinstance(name, str) else dict(name)
        for other in terms:
            self._existing(other)
        if not sigma > 0:
            raise ConfigError(f"restraint of {', '.join(terms)}", f"has sigma {sigma:g}", "it is above 0")
        self.restraints.append(Restraint(tuple(terms.items()), float(value), float(sigma)))
        return self

    # what engines ask for

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the free parameters, in the order of the table."""
        return tuple(name for name, parameter in self.parameters.items() if parameter.free)

    def values(self) -> Floats:
        """Return the value of every parameter, tied ones following, in the order of the table."""
        matrix, offset = self.constraints()
        return matrix @ self.free_values() + offset

    def free_values(self) -> Floats:
        """Return the values of the free parameters."""
        return np.array([p.value for p in self.parameters.values() if p.free])

    def bounds(self) -> tuple[Floats, Floats]:
        """Return lower and upper bounds of the free parameters."""
        free = [p for p in self.parameters.values() if p.free]
        return np.array([p.low for p in free]), np.array([p.high for p in free])

    def constraints(self) -> tuple[Floats, Floats]:
        """Return T (parameter, variable) and t such that all parameters are T @ free + t."""
        names = list(self.parameters)
        column = {name: i for i, name in enumerate(self.variables)}
        matrix = np.zeros((len(names), len(column)))
        offset = np.zeros(len(names))
        for row, name in enumerate(names):
            tie = self.ties.get(name, Tie(((name, 1.0),)))
            offset[row] = tie.offset
            for other, factor in tie.terms:
                if other in column:
                    matrix[row, column[other]] += factor
                else:
                    offset[row] += factor * self.parameters[other].value
        return matrix, offset

    def names(self, pattern: str) -> list[str]:
        """Return the names a pattern or group stands for.

        Raises
        ------
        ConfigError
            There is none.
        """
        if pattern in self.parameters:
            return [pattern]
        head, _, tail = pattern.rpartition("/")
        found = [
            name
            for name, parameter in self.parameters.items()
            if fnmatch.fnmatchcase(name, pattern)
            or (parameter.group == tail and fnmatch.fnmatchcase(name.partition("/")[0], head or "*"))
        ]
        if not found:
            known = ", ".join(sorted({*self.parameters, *GROUPS}))
            raise ConfigError(f"parameter {pattern!r}", "does not exist", f"known are {known}")
        return found

    def copy(self) -> Model:
        """Return a model of its own with the same phases, table, ties and restraints."""
        return type(self).from_record(self.to_record())

    def to_record(self) -> dict[str, Any]:
        """Return everything that defines the model, as JSON."""
        table = self._table()
        own = [name for name in self.parameters if name not in table]
        return {
            "phases": [phase.to_record() for phase in self.phases],
            "instrument": self.instrument.to_record(),
            "background": dataclasses.asdict(self.background),
            "limits": self.limits,
            "excluded": [list(pair) for pair in self.excluded],
            "margin": self.margin,
            "fixed_list": self.fixed_list,
            "parameters": {
                name: [p.value, p.free, *(None if math.isinf(b) else b for b in (p.low, p.high))]
                for name, p in self.parameters.items()
            },
            "own": own,
            "ties": {
                name: [[list(term) for term in tie.terms], tie.offset] for name, tie in self.ties.items()
            },
            "restraints": [[[list(t) for t in r.terms], r.value, r.sigma] for r in self.restraints],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Make the model again from what `to_record` gave."""
        background = dict(record["background"])
        model = cls(
            [Phase.from_record(phase) for phase in record["phases"]],
            Instrument.from_record(record["instrument"]),
            Background(
                background["terms"],
                tuple(background["coefficients"]),
                tuple(Hump(**hump) for hump in background["humps"]),
            ),
            None if record["limits"] is None else tuple(record["limits"]),
            [tuple(pair) for pair in record["excluded"]],
            record["margin"],
            record["fixed_list"],
        )
        for name in record["own"]:
            model.add(name, 0.0)
        for name, (value, is_free, low, high) in record["parameters"].items():
            low, high = -math.inf if low is None else low, math.inf if high is None else high
            model._replace(name, value=value, free=is_free, low=low, high=high)
        for name, (terms, offset) in record["ties"].items():
            model.ties[name] = Tie(tuple((o, f) for o, f in terms), offset)
        for terms, value, sigma in record["restraints"]:
            model.restraints.append(Restraint(tuple((o, f) for o, f in terms), value, sigma))
        return model

    def _table(self) -> dict[str, Parameter]:
        table: dict[str, Parameter] = {}
        for phase in self.phases:
            table |= {f"{phase.name}/{key}": value for key, value in phase_parameters(phase).items()}
        coefficients = self.background.coefficients or (0.0,) * self.background.terms
        for i, value in enumerate(coefficients):
            table[f"background/{i}"] = Parameter(value, True, group="background")
        for i, hump in enumerate(self.background.humps):
            fields = (("position", "deg", 0.0), ("area", "", 0.0), ("variance", "", 1.0), ("gamma", "", 1e-3))
            for key, units, low in fields:
                table[f"background/hump{i}.{key}"] = Parameter(
                    getattr(hump, key), key != "gamma", low, units=units, group="background"
                )
        table["zero"] = Parameter(self.instrument.zero, units="deg", long_name="zero shift of 2θ")
        if self.instrument.geometry == "debye-scherrer":
            for axis in "xy":
                table[f"displacement_{axis}"] = Parameter(0.0, units="um", group="displacement")
        else:
            table["displacement"] = Parameter(0.0, units="um", group="displacement")
            table["transparency"] = Parameter(0.0, units="cm", group="displacement")
        table["absorption"] = Parameter(0.0, low=0.0, high=10.0)
        for name in PROFILE:
            table[f"instrument/{name}"] = Parameter(getattr(self.instrument, name), group="profile")
        return table

    def _set_free(self, patterns: Iterable[str], free: bool) -> Self:
        for pattern in patterns:
            exact = pattern in self.parameters
            for name in self.names(pattern):
                if not free:
                    self._replace(name, free=False)
                    continue
                if name in self.ties or self.parameters[name].by_symmetry:
                    if exact:
                        reason = (
                            "is tied to others"
                            if name in self.ties
                            else "is fixed by symmetry or by what the phase is"
                        )
                        raise ConfigError(f"parameter {name!r}", f"{reason}, it cannot be free")
                    continue
                self._replace(name, free=True)
        return self

    def _existing(self, name: str) -> Parameter:
        if name not in self.parameters:
            self.names(name)
            raise ConfigError(f"parameter {name!r}", "stands for several", "name one")
        return self.parameters[name]

    def _replace(self, name: str, **changes: Any) -> None:
        self.parameters[name] = dataclasses.replace(self._existing(name), **changes)


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ConfigError(f"parameter {name!r}", f"is set to {value}", "give a number")
    return float(value)
