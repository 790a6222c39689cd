"""Our own engine: the fits of patterns one after the other, each from the one before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from beamline.errors import FitError
from xrd.calculation import Calculator
from xrd.engines import Fit, Options
from xrd.least_squares import Problem, Solution, solve
from xrd.models import Model
from xrd.observations import Observations
from xrd.phases import Floats
from xrd.verdicts import verdict

_ABSENT = 3.0
"""A phase whose scale is less than this many standard deviations is taken to be absent."""

_VISIBLE = 2.0
"""Broadening of less than this many standard deviations is not seen."""

_ONE_SIDED = 1.645
"""Standard deviations of a one-sided bound of 95 %."""

_LEBAIL_ROUNDS = 40

_REWEIGHTINGS = 2
"""How often weights follow the calculated pattern; the second time changes nothing that can be seen."""

_REPEATS = 2
"""How often reflections and rules of axial divergence follow the fit."""


class Native:
    """The engine."""

    def fit(self, observations: Observations, model: Model, options: Options) -> Sequence[Fit]:
        """Refine the model against every pattern; see `xrd.engines.Engine`."""
        if not model.variables:
            raise FitError("model", "has no free parameter", "free one")
        count = len(observations.intensity)
        bounds = [(i, min(i + options.chunk, count)) for i in range(0, count, options.chunk)]
        parts = [(_part(observations, first, last), model, options) for first, last in bounds]
        if options.workers > 1 and len(parts) > 1:
            with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
                fits = [fit for chunk in pool.map(_chunk, parts) for fit in chunk]
        else:
            fits = [fit for part in parts for fit in _chunk(part)]
        if all(fit.status == "failed" for fit in fits):
            raise FitError(observations.names[0], fits[0].message, "check model, limits and pattern")
        return fits


NATIVE = Native()


def _part(observations: Observations, first: int, last: int) -> Observations:
    return Observations(
        observations.two_theta,
        observations.intensity[first:last],
        observations.errors[first:last],
        observations.used,
        observations.polarization_corrected,
        observations.names[first:last],
        observations.inflation,
    )


def _chunk(part: tuple[Observations, Model, Options]) -> list[Fit]:
    observations, model, options = part
    chain = _Chain(observations, model, options)
    return list(chain.fits())


class _Chain:
    """Patterns in a row, fitted by one calculator."""

    def __init__(self, observations: Observations, model: Model, options: Options) -> None:
        self.observations = observations
        self.model = model
        self.options = options
        self.calculator = Calculator(model, observations)
        self.names = list(model.variables)
        # Sizes are fitted as 1/size, which the pattern depends on; restraints are linear in size itself.
        order = list(model.parameters)
        restrained = [order.index(name) for r in model.restraints for name, _ in r.terms]
        bare = self.calculator.matrix[restrained].any(axis=0)
        sizes = np.array([name.endswith(("/size", "/size_axial")) for name in self.names])
        self.inverse = sizes & ~bare
        linear = np.array([n.endswith("/scale") or n.startswith("background/") for n in self.names])
        self.linear = linear & np.array(["hump" not in n or n.endswith(".area") for n in self.names])
        self.start = model.free_values()
        self.low, self.high = model.bounds()
        self.largest = np.array([_largest(name, v) for name, v in zip(self.names, self.start, strict=True)])

    def fits(self) -> Iterator[Fit]:
        """Yield one fit for each pattern."""
        warm: Solution | None = None
        for number in range(len(self.observations.intensity)):
            fit, solution = self._fit(number, warm)
            if warm is not None and fit.status in ("failed", "max_cycles", "rough", "singular"):
                again, other = self._fit(number, None)
                if again.status != "failed" and not again.chi2 >= fit.chi2:
                    fit, solution = again, other
            if self.options.warm and fit.status not in ("failed", "singular"):
                warm = solution
            yield fit

    def _fit(self, number: int, warm: Solution | None) -> tuple[Fit, Solution | None]:
        intensity = self.observations.intensity[number]
        errors = self.observations.errors[number]
        used = self.observations.used & np.isfinite(intensity) & (errors > 0)
        inside = used[self.observations.used]
        points = int(used.sum())
        if points <= len(self.names):
            problem = "has too few points with errors" if points else "has no point with a positive error"
            return self._failed(f"{self.observations.names[number]} {problem}"), None
        observed = np.where(used, intensity, 0.0)[self.observations.used]
        root = np.where(inside, 1 / np.where(used, errors, 1.0)[self.observations.used], 0.0)
        variance = np.where(used, errors, 1.0)[self.observations.used] ** 2
        try:
            solution, held = self._solve(observed, root, warm)
            if self.options.weights == "calculated":
                for _ in range(_REWEIGHTINGS):
                    root = _reweighted(observed, inside, solution.calculated, variance)
                    solution, held = self._solve(observed, root, solution)
        except (FloatingPointError, np.linalg.LinAlgError, ValueError) as error:
            return self._failed(f"{self.observations.names[number]}: {error}"), None
        if not np.isfinite(solution.variables).all() or not np.isfinite(solution.chi2):
            return self._failed(f"{self.observations.names[number]} diverged"), None
        return self._report(solution, held, observed, root, used), solution

    def _failed(self, message: str) -> Fit:
        count, size = len(self.model.parameters), len(self.names)
        curve = np.full(self.observations.two_theta.size, np.nan) if self.options.curves else None
        return Fit(
            np.full(count, np.nan),
            np.full((size, size), np.nan),
            math.nan,
            0,
            math.nan,
            "failed",
            message,
            calculated=curve,
            baseline=curve,
        )

    # from free parameters to variables of the fit and back

    def _inner(self, free: Floats) -> Floats:
        return np.where(self.inverse, 1 / np.where(self.inverse, free, 1.0), free)

    def _outer(self, variables: Floats) -> Floats:
        count = len(self.names)
        inner = variables[:count]
        free = np.where(self.inverse, 1 / np.where(self.inverse, np.maximum(inner, 1e-12), 1.0), inner)
        return np.concatenate([free, variables[count:]])

    def _evaluate(self, variables: Floats) -> tuple[Floats, Floats]:
        outer = self._outer(variables)
        calculated, jacobian = self.calculator.pattern(outer)
        for i in np.flatnonzero(self.inverse):
            jacobian[i] *= -(outer[i] ** 2)
        return calculated, jacobian

    def _hold(self, variables: Floats | None) -> None:
        self.calculator.hold(None if variables is None else self._outer(variables))

    def _problem(self, observed: Floats, root: Floats, held: dict[int, float]) -> Problem:
        low = np.where(self.inverse, 1 / self.high, self.low)
        high = np.where(self.inverse, 1 / np.maximum(self.low, 1e-12), self.high)
        for i, value in held.items():
            low[i] = high[i] = value
        extra = self.calculator.intensities
        infinite = np.full(extra, np.inf)
        rows = np.zeros((len(self.model.restraints), self.calculator.count))
        order = list(self.model.parameters)
        wanted = np.zeros(len(rows))
        for r, restraint in enumerate(self.model.restraints):
            wanted[r] = restraint.value
            for name, factor in restraint.terms:
                i = order.index(name)
                rows[r, : len(self.names)] += factor * self.calculator.matrix[i]
                wanted[r] -= factor * self.calculator.offset[i]
        weights = np.array([restraint.sigma**-2 for restraint in self.model.restraints])
        return Problem(
            self._evaluate,
            observed,
            root,
            np.concatenate([low, -infinite]),
            np.concatenate([high, infinite]),
            np.concatenate([self.largest, infinite]),
            (rows, wanted, weights),
            np.concatenate([self.linear, np.ones(extra, dtype=bool)]),
            self._hold,
        )

    def _solve(
        self, observed: Floats, root: Floats, warm: Solution | None
    ) -> tuple[Solution, dict[int, float]]:
        start = self.start if warm is None else self._outer(warm.variables)[: len(self.names)]
        if warm is None or self.calculator.intensities:
            self.calculator.select(start)
            self.calculator.settle(start)
        variables = np.concatenate([self._inner(start), np.ones(self.calculator.intensities)])
        problem = self._problem(observed, root, {})
        known = None
        if warm is None or self.calculator.intensities:
            variables = self._linear(problem, variables)
        else:
            # The first step is taken with what the fit before ended with: one pass less.
            known = (warm.calculated, warm.jacobian)
        solution = self._rounds(problem, variables, known)
        if all(forward.phase.intensities == "structure" for forward in self.calculator.phases):
            solution = self._settled(problem, solution, warm is None)
        held = self._absent(solution)
        if held:
            kept = self._problem(observed, root, held)
            for i, value in held.items():
                variables[i] = value
            solution = self._rounds(kept, self._linear(kept, variables))
            if not self._absent(solution):
                # It is seen after all where its cell was held: the fit before had lost its peaks.
                again = self._rounds(problem, solution.variables)
                if again.chi2 < solution.chi2 and not self._absent(again):
                    solution, held = again, {}
        return solution, held

    def _settled(self, problem: Problem, solution: Solution, cold: bool) -> Solution:
        """Fit again where the fit moved reflections over the limits or, at a cold start, to another rule.

        A series keeps the rules of its first pattern: a change would be a jump in every cell after it.
        """
        for _ in range(_REPEATS):
            outer = self._outer(solution.variables)
            before = [forward.rules for forward in self.calculator.phases]
            listed = self.calculator.select(outer)
            ruled = cold and self.calculator.settle(outer)
            if not listed and not ruled:
                break
            again = self._rounds(problem, solution.variables)
            if ruled and again.chi2 > solution.chi2:
                for forward, rules in zip(self.calculator.phases, before, strict=True):
                    forward.rules = rules
                break
            solution = again
        return solution

    def _rounds(
        self, problem: Problem, variables: Floats, known: tuple[Floats, Floats] | None = None
    ) -> Solution:
        """Fit; with Le Bail phases in turn with the extraction of their intensities, until both rest."""
        options = self.options
        if not any(forward.phase.intensities == "lebail" for forward in self.calculator.phases):
            return solve(problem, variables, options.max_cycles, options.tolerance, known)
        inside = problem.root_weight > 0
        before = math.inf
        for _ in range(_LEBAIL_ROUNDS):
            for _ in range(3):
                self.calculator.extract(self._outer(variables), problem.observed, inside)
            solution = solve(problem, variables, 3, options.tolerance)
            variables = solution.variables
            if abs(before - solution.chi2) < 1e-4 * solution.chi2:
                break
            before = solution.chi2
        return solve(problem, variables, options.max_cycles, options.tolerance)

    def _linear(self, problem: Problem, variables: Floats) -> Floats:
        """Return a start with scales, background and Pawley intensities fitted: χ² is quadratic in them."""
        count = len(self.names)
        moving = problem.linear & (problem.low < problem.high)
        calculated, jacobian = problem.evaluate(variables)
        part = (jacobian[moving] * problem.root_weight).T
        residual = (problem.observed - calculated) * problem.root_weight
        norm = np.sqrt((part**2).sum(axis=0))
        norm[norm == 0] = 1.0
        step = np.linalg.lstsq(part / norm, residual, rcond=1e-9)[0] / norm
        found = variables.copy()
        found[moving] += step
        for i in np.flatnonzero(moving[:count]):
            if self.names[i].endswith("/scale") and found[i] <= 0:
                found[i] = 1e-3 * abs(variables[i])
        return np.clip(found, problem.low, problem.high)

    def _absent(self, solution: Solution) -> dict[int, float]:
        """Return what to hold, and where, of phases that are not seen in the pattern."""
        held: dict[int, float] = {}
        if len(self.model.phases) == 1:
            return held
        for phase in self.model.phases:
            name = f"{phase.name}/scale"
            if name not in self.names or phase.intensities != "structure":
                continue
            i = self.names.index(name)
            error = math.sqrt(max(solution.wide[i, i], 0.0))
            if solution.variables[i] > _ABSENT * error:
                continue
            inner = self._inner(self.start)
            for j, other in enumerate(self.names):
                if other.startswith(f"{phase.name}/") and j != i:
                    held[j] = float(inner[j])
        return held

    def _report(
        self, solution: Solution, held: dict[int, float], observed: Floats, root: Floats, used: Any
    ) -> Fit:
        count = len(self.names)
        outer = self._outer(solution.variables)
        slope = np.where(self.inverse, -(outer[:count] ** 2), 1.0)
        points = int(used.sum())
        restraints = len(self.model.restraints)
        free = points + restraints - self.calculator.count
        gof2 = (solution.chi2 + solution.penalty) / max(free, 1)
        counting = self.observations.inflation * solution.covariance[:count, :count]
        inner = counting + self._instrument_part(solution, root) / max(gof2, 1e-300)
        for i in held:
            inner[i, :] = inner[:, i] = 0.0
        limits = self._limits(solution, inner, gof2, held)
        status, message = verdict(self.names, solution, held, self.calculator, outer)
        curves: dict[str, Any] = {}
        if self.options.curves:
            for name, curve in (
                ("calculated", solution.calculated),
                ("baseline", self.calculator.background(outer)),
            ):
                curves[name] = np.full(self.observations.two_theta.size, np.nan)
                curves[name][self.observations.used] = curve
            curves["ticks"] = self.calculator.ticks(outer)
        return Fit(
            self.calculator.parameters(outer),
            inner * np.outer(slope, slope),
            solution.chi2,
            points,
            float(np.sum((observed * root) ** 2)),
            status,
            message,
            solution.cycles,
            (solution.penalty, restraints - self.calculator.intensities),
            limits=limits,
            **curves,
        )

    def _instrument_part(self, solution: Solution, root: Floats) -> Floats:
        """Return what the uncertainty of the instrument adds to the covariance.

        A change of the instrument by δ moves the variables by -(JᵀWJ)⁻¹ JᵀW K δ, K the pattern's derivatives
        by the instrument.
        """
        count = len(self.names)
        instrument = self.model.instrument
        known = {name: "zero" if name == "zero" else f"instrument/{name}" for name in instrument.varied}
        kept = [i for i, n in enumerate(instrument.varied) if n in known and known[n] not in self.names]
        kept = [i for i in kept if known[instrument.varied[i]] in self.model.parameters]
        if not kept:
            return np.zeros((count, count))
        names = [known[instrument.varied[i]] for i in kept]
        slopes = self.calculator.instrument_slopes(self._outer(solution.variables), names)
        response = solution.covariance @ ((solution.jacobian * root) @ (slopes * root).T)
        covariance = np.array(instrument.covariance)[np.ix_(kept, kept)]
        return np.asarray((response @ covariance @ response.T)[:count, :count])

    def _limits(
        self, solution: Solution, covariance: Floats, gof2: float, held: dict[int, float]
    ) -> dict[str, float]:
        """Return bounds on size and strain where their broadening is not seen."""
        found = {}
        for i, name in enumerate(self.names):
            key = name.rpartition("/")[2]
            if i in held or key not in ("size", "strain"):
                continue
            variance = max(covariance[i, i], solution.wide[i, i])
            error = math.sqrt(max(variance * gof2, 0.0))
            value = solution.variables[i]
            if error > 0 and value < _VISIBLE * error:
                bound = value + _ONE_SIDED * error
                found[name] = 1 / bound if key == "size" else bound
        return found


def _largest(name: str, value: float) -> float:
    """Return how far a variable may go in one step."""
    key = name.rpartition("/")[2]
    if "/" in name and key in ("a", "b", "c"):
        return 0.004 * value
    if key in ("alpha", "beta", "gamma") and "background" not in name:
        return 0.3
    return math.inf


def _reweighted(observed: Floats, inside: Any, calculated: Floats, variance: Floats) -> Floats:
    """Return the roots of weights for variances that are proportional to the calculated intensity.

    The variance of one unit of intensity is that of the observed point, and the median of all where nothing
    was counted.
    """
    counted = inside & (observed > 0)
    usual = float(np.median(variance[counted] / observed[counted])) if counted.any() else 1.0
    unit = np.where(counted, variance / np.where(counted, observed, 1.0), usual)
    floor = 1e-3 * float(np.median(np.abs(calculated))) + 1e-300
    return np.where(inside, 1 / np.sqrt(unit * np.maximum(calculated, floor)), 0.0)
