r"""The reflections of a phase: from the parameters of a model to positions, widths and intensities.

Of each reflection with :math:`1/d^2 = q`,

.. math:: 2θ = 2 \arcsin(λ \sqrt q / 2) - \text{shift} + \text{zero}, \qquad
          I = S\, m\, |F|^2\, \frac1V\, L\, P\, A\, T

with scale S, multiplicity m, volume V of the cell, Lorentz factor, polarisation, absorption and texture
(`xrd.corrections`, `xrd.texture`). With R the distance from sample to detector (mm), displacements X, Y, s
(µm) and transparency t (cm), the shift in deg is

.. math:: \frac{0.18}{πR} (X \cos 2θ + Y \sin 2θ) \quad \text{(Debye-Scherrer)}, \qquad
          \frac{0.09}{πR} (4 s \cosθ + 100\, t \sin 2θ) \quad \text{(Bragg-Brentano)} .

Everything after the position is a function of the shifted 2θ, as in GSAS-II; K-alpha 2 has the same widths at
:math:`2θ + (360/π) (λ_2 - λ_1)/λ_1 \tanθ`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.axial import SMALLEST, SMALLEST_EXACT, gsas2_rules
from calibration.extents import FREE, extents
from calibration.instrument import SMALLEST_WIDTH
from calibration.profiles import EXACT
from xrd import corrections, texture
from xrd.broadening import Reciprocal, quadratic_forms, reciprocal
from xrd.corrections import HALF_RADIAN
from xrd.models import Model
from xrd.phases import Floats, cell_dependence, expand_cell
from xrd.reflections import equivalents, families
from xrd.structure_factors import geometry, geometry_slopes, scatterers, squared
from xrd.widths import widths

POSITION, VARIANCE, GAMMA, AREA, AXIAL = range(5)
"""What of a reflection depends on parameters: the last axis of slopes."""

_DRIFT = 1.04
"""Reflections are kept in hand for cells smaller by this factor than at the start."""

_STEP = 1e-5
"""Of the central differences of harmonics by cell (relative) and 2θ (deg)."""


@dataclass
class Peaks:
    """Reflections as `calibration.profiles.accumulate` takes them.

    Attributes
    ----------
    position, variance, gamma, area
        Of each reflection (n).
    slopes
        Their derivatives by the parameters of `rows` (variable, n, 5).
    rows
        Rows of the Jacobian the slopes belong to.
    rules
        How axial divergence is integrated (n).
    ends
        Where they end (n, 2), if that is held (`calibration.extents`).
    """

    position: Floats
    variance: Floats
    gamma: Floats
    area: Floats
    slopes: Floats
    rows: np.ndarray[Any, np.dtype[np.int64]]
    rules: np.ndarray[Any, np.dtype[np.int64]]
    ends: Floats


@dataclass
class _Intensity:
    """Integrated intensities, derivatives of their logarithms, and those by parameters of their own."""

    value: Floats
    log_position: Floats
    log_metric: Floats
    by_parameter: dict[str, Floats]


class PhaseForward:
    """The reflections of one phase as a function of the parameters of a model.

    Parameters
    ----------
    model
        The model.
    number
        Which of its phases.
    limits
        First and last 2θ (deg) between which reflections count.
    polarized
        Whether the pattern shows the polarisation of the beam.
    """

    def __init__(self, model: Model, number: int, limits: tuple[float, float], polarized: bool) -> None:
        self.phase = model.phases[number]
        self.instrument = model.instrument
        self.limits = limits
        self.polarized = polarized
        names = list(model.parameters)
        prefix = f"{self.phase.name}/"
        self.own = {name.removeprefix(prefix): i for i, name in enumerate(names) if name.startswith(prefix)}
        self.shared = {n: i for i, n in enumerate(names) if "/" not in n or n.startswith("instrument/")}
        self.dependence = cell_dependence(self.phase.lattice)
        highest = math.sin(math.radians(min(limits[1] * _DRIFT, 179.0)) / 2)
        found = families(self.phase, self.instrument.wavelength / (2 * highest) / _DRIFT)
        self.all_hkl = found.hkl
        self.all_forms = quadratic_forms(found.hkl)
        self.all_multiplicity = found.multiplicity.astype(float)
        self.extracted = np.ones(len(self.all_hkl))
        self.chosen = np.zeros(len(self.all_hkl), dtype=bool)
        self.scattering = scatterers(self.phase, self.instrument.wavelength)
        self._geometry: tuple[bytes, Floats, Floats] | None = None
        self.rules: Any = None
        self._ends = (FREE, FREE)
        self.select(model.values())

    def select(self, values: Floats) -> bool:
        """Choose the reflections within the limits for these parameters; tell whether they are others now."""
        shared = {name: float(values[i]) for name, i in self.shared.items()}
        q = self.all_forms @ reciprocal(self._cell(values)).a
        sine = 0.5 * self.instrument.wavelength * np.sqrt(q)
        position = self._position(np.minimum(sine, 1.0), shared)[0]
        chosen = (position > self.limits[0]) & (position < self.limits[1]) & (sine < 1)
        if np.array_equal(chosen, self.chosen):
            return False
        self.chosen = chosen
        self._ends = (FREE, FREE)
        self.hkl = self.all_hkl[self.chosen].astype(float)
        self.forms = self.all_forms[self.chosen]
        self.multiplicity = self.all_multiplicity[self.chosen]
        self._geometry = None
        return True

    def peaks(self, values: Floats, active: Mapping[int, int]) -> Peaks:
        """Return the reflections, and their slopes by the parameters that are active.

        Parameters
        ----------
        values
            Every parameter of the model.
        active
            Row of the Jacobian of each active parameter, by its place in the model.
        """
        own = {name: float(values[i]) for name, i in self.own.items()}
        shared = {name: float(values[i]) for name, i in self.shared.items()}
        wanted = {n: active[i] for group in (self.own, self.shared) for n, i in group.items() if i in active}
        cell = self._cell(values)
        lattice = reciprocal(cell)
        q = self.forms @ lattice.a
        sine = np.minimum(0.5 * self.instrument.wavelength * np.sqrt(q), 0.9999)
        position, by_ideal, shifts = self._position(sine, shared)
        position_q = by_ideal * np.degrees(sine / np.sqrt(1 - sine**2)) / q
        intensity = self._intensity(position, q, cell, lattice, own, shared, wanted)
        variance, gamma = widths(
            self.phase, own, shared, self.hkl, position, (lattice.a, self.forms), self.instrument.wavelength
        )
        slopes = np.zeros((len(wanted), len(q), 5))
        slots = dict(zip(wanted, slopes, strict=True))

        def move(slot: Floats, along: Floats) -> None:
            slot[:, POSITION] = along
            slot[:, VARIANCE] = variance.by_position * along
            slot[:, GAMMA] = gamma.by_position * along
            slot[:, AREA] = intensity.value * intensity.log_position * along

        for name, along in shifts.items():
            if name in slots:
                move(slots[name], along)
        log_volume = lattice.log_volume @ self.dependence
        for i, name in enumerate(self.phase.free_cell):
            if name not in slots:
                continue
            slot, turn = slots[name], lattice.by_cell @ self.dependence[:, i]
            move(slot, position_q * (self.forms @ turn))
            slot[:, AREA] += intensity.value * (intensity.log_metric @ turn - log_volume[i])
            for column, width in ((VARIANCE, variance), (GAMMA, gamma)):
                if width.by_metric is not None:
                    slot[:, column] += width.by_metric @ turn
        for column, width in ((VARIANCE, variance), (GAMMA, gamma)):
            for name, slope in width.by_parameter.items():
                if name in slots:
                    slots[name][:, column] += slope
            slopes[:, width.value <= SMALLEST_WIDTH, column] = 0.0
        for name, slope in intensity.by_parameter.items():
            if name in slots:
                slots[name][:, AREA] += slope
        smallest = SMALLEST_EXACT if self.instrument.axial == "exact" else SMALLEST
        if "instrument/SHL" in slots and shared["instrument/SHL"] > smallest:
            slots["instrument/SHL"][:, AXIAL] = 1.0
        return Peaks(
            position,
            np.maximum(variance.value, SMALLEST_WIDTH),
            np.maximum(gamma.value, SMALLEST_WIDTH),
            intensity.value,
            slopes,
            np.array(list(wanted.values()), dtype=np.int64),
            self._rules(position, shared["instrument/SHL"], gamma.value),
            self._ends[0],
        )

    def second_line(self, peaks: Peaks) -> Peaks | None:
        """Return the reflections of K-alpha 2; None for one wavelength."""
        instrument = self.instrument
        if instrument.wavelength2 is None or not instrument.ratio:
            return None
        apart = 360 / math.pi * (instrument.wavelength2 / instrument.wavelength - 1)
        tan = np.tan(peaks.position * HALF_RADIAN)
        slopes = peaks.slopes.copy()
        slopes[:, :, POSITION] *= 1 + apart * HALF_RADIAN * (1 + tan**2)
        slopes[:, :, AREA] *= instrument.ratio
        position = peaks.position + apart * tan
        area = instrument.ratio * peaks.area
        held = (peaks.rows, peaks.rules, self._ends[1])
        return Peaks(position, peaks.variance, peaks.gamma, area, slopes, *held)

    def settle(self, values: Floats) -> bool:
        """Choose the rules of axial divergence for these parameters; tell whether they are others now.

        The pattern jumps where a reflection passes to another rule, so a fit must keep its rules.
        """
        if self.instrument.axial == "exact":
            return False
        before, self.rules = self.rules, None
        peaks = self.peaks(values, {})
        self.rules = np.zeros(len(self.all_hkl), dtype=np.int64)
        self.rules[self.chosen] = peaks.rules
        return before is not None and not np.array_equal(before[self.chosen], peaks.rules)

    def hold(self, values: Floats | None) -> None:
        """Let reflections end where they end for these parameters; None: for any, where their widths say."""
        self._ends = (FREE, FREE)
        if values is not None:
            smallest = SMALLEST_EXACT if self.instrument.axial == "exact" else SMALLEST
            shl = max(float(values[self.shared["instrument/SHL"]]), smallest)
            peaks = self.peaks(values, {})
            second = self.second_line(peaks)
            first, other = (
                FREE if line is None else extents(line.position, line.variance, line.gamma, shl)
                for line in (peaks, second)
            )
            self._ends = (first, other)

    def _rules(self, position: Floats, shl: float, gamma: Floats) -> Any:
        """Return the rules the fit keeps, or those of these widths where none were settled."""
        if self.instrument.axial == "exact":
            return np.full(len(position), EXACT)
        if self.rules is None:
            return gsas2_rules(position, shl, np.maximum(gamma, SMALLEST_WIDTH))
        return self.rules[self.chosen]

    def _cell(self, values: Floats) -> tuple[float, float, float, float, float, float]:
        return expand_cell(self.phase.lattice, [values[self.own[name]] for name in self.phase.free_cell])

    def _position(
        self, sine: Floats, shared: Mapping[str, float]
    ) -> tuple[Floats, Floats, dict[str, Floats]]:
        """Return 2θ, and its derivatives by the unshifted 2θ and by zero and displacements."""
        ideal = np.degrees(2 * np.arcsin(sine))
        angle = np.radians(ideal)
        constant = 0.09 / (math.pi * self.instrument.radius)
        parts = {"zero": np.ones_like(ideal)}
        slope: Any
        if self.instrument.geometry == "debye-scherrer":
            x, y = shared["displacement_x"], shared["displacement_y"]
            parts |= {"displacement_x": -2 * constant * np.cos(angle)}
            parts |= {"displacement_y": -2 * constant * np.sin(angle)}
            slope = -2 * constant * math.pi / 180 * (y * np.cos(angle) - x * np.sin(angle))
        else:
            s, t = shared["displacement"], shared["transparency"]
            parts |= {"displacement": -4 * constant * np.cos(angle / 2)}
            parts |= {"transparency": -100 * constant * np.sin(angle)}
            slope = constant * math.pi / 180 * (2 * s * np.sin(angle / 2) - 100 * t * np.cos(angle))
        position = ideal + sum(shared[name] * part for name, part in parts.items())
        return position, 1 + slope, parts

    def _intensity(
        self,
        position: Floats,
        q: Floats,
        cell: tuple[float, ...],
        lattice: Reciprocal,
        own: Mapping[str, float],
        shared: Mapping[str, float],
        wanted: Mapping[str, int],
    ) -> _Intensity:
        factor, log_position = corrections.lorentz(position)
        by_parameter: dict[str, Floats] = {}
        if self.polarized:
            polarized, slope = corrections.polarization(position, self.instrument)
            factor, log_position = factor * polarized, log_position + slope
        factor = factor * self.multiplicity / lattice.volume
        log_mu = None
        if self.instrument.geometry == "debye-scherrer" and (shared["absorption"] or "absorption" in wanted):
            passed, slope, log_mu = corrections.absorption(position, shared["absorption"])
            factor, log_position = factor * passed, log_position + slope
        log_metric = np.zeros((len(q), 6))
        oriented = self._texture(position, cell, lattice, own, wanted)
        if oriented is not None:
            factor = factor * oriented.value
            log_position = log_position + oriented.log_position
            log_metric += oriented.log_metric
        strength, by_q, parts = self._strength(q, own, wanted)
        value = own["scale"] * factor * strength
        if by_q is not None:
            log_metric += (by_q / np.maximum(strength, 1e-300))[:, None] * self.forms
        by_parameter["scale"] = factor * strength
        by_parameter |= {name: own["scale"] * factor * part for name, part in parts.items()}
        if oriented is not None:
            by_parameter |= {name: value * part for name, part in oriented.by_parameter.items()}
        if log_mu is not None:
            by_parameter["absorption"] = value * log_mu
        return _Intensity(value, log_position, log_metric, by_parameter)

    def _texture(
        self,
        position: Floats,
        cell: tuple[float, ...],
        lattice: Reciprocal,
        own: Mapping[str, float],
        wanted: Mapping[str, int],
    ) -> _Intensity | None:
        """Return the factor of texture, derivatives relative to it; None where there is no texture."""
        if self.phase.harmonics:
            return self._harmonics(position, cell, lattice, own)
        if own["march"] == 1 and "march" not in wanted:
            return None
        images = equivalents(self.phase, self.hkl).astype(float)
        value, by_ratio, by_metric = texture.march_dollase(images, self.phase.axis, lattice.a, own["march"])
        return _Intensity(
            value, np.zeros_like(value), by_metric / value[:, None], {"march": by_ratio / value}
        )

    def _harmonics(
        self, position: Floats, cell: tuple[float, ...], lattice: Reciprocal, own: Mapping[str, float]
    ) -> _Intensity:
        names = texture.harmonic_terms(self.phase)
        coefficients = np.array([own[name] for name in names])

        def columns(at: Floats, of: Any) -> Floats:
            along = math.cos(math.radians(self.instrument.azimuth))
            if self.instrument.geometry == "bragg-brentano":
                along = 0.0
            return texture.harmonics(self.phase, self.hkl, of, along * np.cos(at * HALF_RADIAN))

        def value(at: Floats, of: Any) -> Floats:
            return np.asarray(np.maximum(1 + columns(at, of) @ coefficients, 1e-3))

        here = value(position, cell)
        by_position = (value(position + _STEP, cell) - value(position - _STEP, cell)) / (2 * _STEP)
        # By the cell as by A: what the free cell parameters change, brought onto the metric they change.
        by_cell = np.zeros((len(here), 6))
        for i in range(6):
            step = np.zeros(6)
            step[i] = _STEP * cell[i]
            by_cell[:, i] = (value(position, cell + step) - value(position, cell - step)) / (2 * step[i])
        by_metric = by_cell @ np.linalg.pinv(lattice.by_cell)
        parts = columns(position, cell) / here[:, None]
        return _Intensity(
            here,
            by_position / here,
            by_metric / here[:, None],
            {name: parts[:, i] for i, name in enumerate(names)},
        )

    def _strength(
        self, q: Floats, own: Mapping[str, float], wanted: Mapping[str, int]
    ) -> tuple[Floats, Floats | None, dict[str, Floats]]:
        """Return |F|², its derivative by 1/d², and those by parameters of the sites."""
        if self.phase.intensities != "structure":
            return self.extracted[self.chosen], None, {}
        sites = self.phase.sites
        positions = np.array([[own[f"{s.label}.{axis}"] for axis in "xyz"] for s in sites])
        key = positions.tobytes()
        if self._geometry is None or self._geometry[0] != key:
            self._geometry = (key, *geometry(self.phase, self.hkl, positions))
        _, cos, sin = self._geometry
        moving = any("." in name for name in wanted)
        by_site = np.zeros((4, len(sites), len(q)) if moving else (0, 0, 0))
        out = np.empty((2, len(q)))
        squared(
            q / 4,
            cos,
            sin,
            self.scattering.element,
            self.scattering.coefficients,
            self.scattering.anomalous,
            np.array([own[f"{s.label}.occupancy"] for s in sites]),
            np.array([own[f"{s.label}.uiso"] for s in sites]),
            by_site,
            out,
        )
        parts: dict[str, Floats] = {}
        if moving:
            for i, site in enumerate(sites):
                parts[f"{site.label}.occupancy"] = by_site[0, i]
                parts[f"{site.label}.uiso"] = by_site[1, i]
            if any(name.endswith((".x", ".y", ".z")) for name in wanted):
                cos_slope, sin_slope = geometry_slopes(self.phase, self.hkl, positions)
                for i, site in enumerate(sites):
                    for j, axis in enumerate("xyz"):
                        parts[f"{site.label}.{axis}"] = (
                            by_site[2, i] * cos_slope[:, i, j] + by_site[3, i] * sin_slope[:, i, j]
                        )
        return out[0], out[1] / 4, parts
