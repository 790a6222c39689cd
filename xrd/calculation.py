"""A model on the axis of a pattern: calculated intensities, their derivatives, and Le Bail's intensities."""

from __future__ import annotations

from typing import Any

import numpy as np

from calibration.axial import SMALLEST
from calibration.coarse_grid import tails
from calibration.profiles import accumulate, partition
from xrd.engines import Ticks
from xrd.forward import AREA, PhaseForward
from xrd.models import Model
from xrd.observations import Observations
from xrd.phases import Floats
from xrd.reflections import label

_ONE_NODE = np.zeros(1, dtype=np.int64)
"""Axial divergence of humps: GSAS-II's smallest rule; they are too broad to show it."""

_OVERLAP = 0.2
"""Pawley intensities of reflections closer than this part of their width are one."""


class Calculator:
    """A model on the points of a pattern.

    Variables are the free parameters of the model, in their order, and after them the intensities of Pawley
    phases.

    Parameters
    ----------
    model
        The model.
    observations
        Give the axis, the points used, and whether the pattern shows the beam's polarisation.
    """

    def __init__(self, model: Model, observations: Observations) -> None:
        self.model = model
        self.x = observations.two_theta[observations.used]
        self.coarse = tails(self.x)
        self.low, self.high = float(self.x[0]), float(self.x[-1])
        self.matrix, self.offset = model.constraints()
        moving = np.flatnonzero(self.matrix.any(axis=1))
        self.active = {int(i): row for row, i in enumerate(moving)}
        self.reduction = self.matrix[moving]
        self.direct = np.array_equal(self.reduction, np.eye(len(moving)))
        names = list(model.parameters)
        self.shl = names.index("instrument/SHL")
        first, last = model.limits or (self.low, self.high)
        limits = (first - model.margin, last + model.margin)
        polarized = not observations.polarization_corrected
        self.phases = [PhaseForward(model, i, limits, polarized) for i in range(len(model.phases))]
        place = np.linspace(-1.0, 1.0, 2) if self.high == self.low else self._unit(self.x)
        terms = model.background.terms
        self.chebyshev = np.polynomial.chebyshev.chebvander(place, max(terms - 1, 0)).T[:terms]
        self.terms = [names.index(f"background/{i}") for i in range(terms)]
        fields = ("position", "variance", "gamma", "area")
        count = len(model.background.humps)
        self.humps = np.array(
            [[names.index(f"background/hump{i}.{f}") for f in fields] for i in range(count)]
        )
        self.groups: list[Any] = [np.empty(0, dtype=int) for _ in self.phases]

    def _unit(self, two_theta: Floats) -> Floats:
        return -1.0 + 2.0 * (two_theta - self.low) / (self.high - self.low)

    @property
    def count(self) -> int:
        """Number of variables."""
        return len(self.model.variables) + self.intensities

    @property
    def intensities(self) -> int:
        """Number of Pawley intensities among them."""
        return sum(int(group.max()) + 1 if group.size else 0 for group in self.groups)

    def parameters(self, variables: Floats) -> Floats:
        """Return every parameter of the model for values of the variables."""
        return np.asarray(self.matrix @ variables[: self.matrix.shape[1]] + self.offset)

    def select(self, variables: Floats) -> bool:
        """Choose the reflections within the limits, and which of them Pawley intensities belong to.

        Returns
        -------
        Whether they are others than before.
        """
        values = self.parameters(variables)
        changed = False
        for i, forward in enumerate(self.phases):
            if not self.model.fixed_list:
                changed |= forward.select(values)
            if forward.phase.intensities == "pawley":
                peaks = forward.peaks(values, {})
                order = np.argsort(peaks.position)
                width = (2.355 * np.sqrt(peaks.variance) + peaks.gamma)[order] / 100
                apart = np.diff(peaks.position[order]) > _OVERLAP * width[1:]
                group = np.empty(len(order), dtype=int)
                group[order] = np.concatenate([[0], np.cumsum(apart)]) if len(order) else []
                self.groups[i] = group
        return changed

    def settle(self, variables: Floats) -> bool:
        """Choose the rules of axial divergence; tell whether they are others than before."""
        values = self.parameters(variables)
        changed = [forward.settle(values) for forward in self.phases]
        return any(changed)

    def hold(self, variables: Floats | None) -> None:
        """Let reflections end where they end for these variables; None: where their widths say."""
        values = None if variables is None else self.parameters(variables)
        for forward in self.phases:
            forward.hold(values)

    def pattern(self, variables: Floats) -> tuple[Floats, Floats]:
        """Return the calculated pattern (n) and its derivatives by the variables (variable, n)."""
        values = self.parameters(variables)
        calculated = values[self.terms] @ self.chebyshev
        jacobian = np.zeros((len(self.active), self.x.size))
        extra = np.zeros((self.intensities, self.x.size))
        for term, i in zip(self.chebyshev, self.terms, strict=True):
            if i in self.active:
                jacobian[self.active[i]] = term
        self._add_humps(values, calculated, jacobian)
        at = len(self.model.variables)
        shl = float(values[self.shl])
        for forward, group in zip(self.phases, self.groups, strict=True):
            number = int(group.max()) + 1 if group.size else 0
            if number:
                here = at - len(self.model.variables)
                forward.extracted[forward.chosen] = variables[at : at + number][group]
                self._add_pawley(forward, group, values, shl, extra[here : here + number])
                at += number
            peaks = forward.peaks(values, self.active)
            for line in (peaks, forward.second_line(peaks)):
                if line is not None:
                    accumulate(
                        *(self.x, line.position, line.variance, line.gamma, line.area, shl, line.rules),
                        *(line.slopes, calculated, jacobian, line.rows, self.coarse, line.ends),
                    )
        if not self.direct:
            jacobian = self.reduction.T @ jacobian
        return calculated, np.concatenate([jacobian, extra]) if len(extra) else jacobian

    def instrument_slopes(self, variables: Floats, names: list[str]) -> Floats:
        """Return the derivatives of the pattern by parameters of the instrument, free or not."""
        values = self.parameters(variables)
        order = list(self.model.parameters)
        rows = {order.index(name): i for i, name in enumerate(names)}
        jacobian = np.zeros((len(names), self.x.size))
        unused = np.zeros(self.x.size)
        shl = float(values[self.shl])
        for forward in self.phases:
            peaks = forward.peaks(values, rows)
            for line in (peaks, forward.second_line(peaks)):
                if line is not None:
                    accumulate(
                        *(self.x, line.position, line.variance, line.gamma, line.area, shl, line.rules),
                        *(line.slopes, unused, jacobian, line.rows, self.coarse, line.ends),
                    )
        return jacobian

    def background(self, variables: Floats) -> Floats:
        """Return the background under the reflections (n)."""
        values = self.parameters(variables)
        curve = values[self.terms] @ self.chebyshev
        self._add_humps(values, curve, np.zeros((len(self.active), self.x.size)))
        return np.asarray(curve)

    def extract(self, variables: Floats, observed: Floats, used: Any) -> None:
        """Improve the intensities of Le Bail phases: share what was observed as the calculated is shared.

        (A. Le Bail, H. Duroy, J. L. Fourquet, Mater. Res. Bull. 23 (1988) 447.)
        """
        calculated, _ = self.pattern(variables)
        under = self.background(variables)
        bragg = np.maximum(calculated - under, 1e-9 * max(float(np.abs(calculated).max()), 1e-300))
        ratio = np.where(used, (observed - under) / bragg, 1.0)
        # One point decides little: far in the tails the ratio is noise.
        ratio = np.clip(ratio, 0.0, 100.0)
        values = self.parameters(variables)
        for forward in self.phases:
            if forward.phase.intensities == "lebail":
                peaks = forward.peaks(values, {})
                factor = partition(
                    *(self.x, peaks.position, peaks.variance, peaks.gamma, float(values[self.shl])),
                    *(peaks.rules, ratio),
                )
                forward.extracted[forward.chosen] *= np.maximum(factor, 1e-6)

    def ticks(self, variables: Floats) -> tuple[Ticks, ...]:
        """Return the reflections of each phase."""
        values = self.parameters(variables)
        found = []
        for forward in self.phases:
            peaks = forward.peaks(values, {})
            labels = tuple(label(hkl) for hkl in forward.hkl)
            found.append(Ticks(forward.hkl, labels, peaks.position, peaks.area))
        return tuple(found)

    def _add_humps(self, values: Floats, calculated: Floats, jacobian: Floats) -> None:
        for indices in self.humps:
            active = [
                (self.active[int(i)], field) for field, i in enumerate(indices) if int(i) in self.active
            ]
            slopes = np.zeros((len(active), 1, 5))
            for v, (_, field) in enumerate(active):
                slopes[v, 0, field] = 1.0
            position, variance, gamma, area = (values[i : i + 1] for i in indices)
            accumulate(
                *(self.x, position, variance, np.maximum(gamma, 1e-3), area, SMALLEST, _ONE_NODE, slopes),
                *(calculated, jacobian, [row for row, _ in active], self.coarse),
            )

    def _add_pawley(
        self, forward: PhaseForward, group: Floats, values: Floats, shl: float, jacobian: Floats
    ) -> None:
        """Enter the derivatives of the pattern by the intensities of a Pawley phase."""
        kept = forward.extracted[forward.chosen]
        forward.extracted[forward.chosen] = 1.0
        peaks = forward.peaks(values, {})
        forward.extracted[forward.chosen] = kept
        slopes = np.zeros((len(jacobian), len(group), 5))
        slopes[group, np.arange(len(group)), AREA] = peaks.area
        peaks.slopes = slopes
        unused = np.zeros(self.x.size)
        for line in (peaks, forward.second_line(peaks)):
            if line is not None:
                accumulate(
                    *(self.x, line.position, line.variance, line.gamma, line.area, shl, line.rules),
                    *(line.slopes, unused, jacobian, None, self.coarse, line.ends),
                )
