r"""Widths of reflections: of the instrument, and of the sample's size and strain.

In centideg, with S the crystallite size in µm, M the strain in 10⁻⁶, η the Lorentzian part of each
(conventions of GSAS-II, B. H. Toby, R. B. Von Dreele, J. Appl. Cryst. 46 (2013) 544):

.. math:: Γ_S = \frac{1.8 λ}{π S \cosθ}, \qquad Γ_M = \frac{0.018}{π} M \tanθ

.. math:: γ = X / \cosθ + Y \tanθ + Z + η_S Γ_S + η_M Γ_M

.. math:: σ^2 = U \tan^2θ + V \tanθ + W + \frac{[(1-η_S) Γ_S]^2 + [(1-η_M) Γ_M]^2}{8 \ln 2}

Uniaxial, at the angle φ between reflection and axis:
:math:`S^{-2} = \cos^2φ\, S_a^{-2} + \sin^2φ\, S_i^{-2}` and the same with M. Generalised:
:math:`M = d^2 (\sum S_{HKL} h^H k^K l^L)^{1/2}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from xrd.broadening import cosine_squared, stephens_matrix, stephens_terms
from xrd.corrections import HALF_RADIAN
from xrd.phases import Floats, Phase

LOG256 = 8 * math.log(2)


@dataclass
class Width:
    """A Lorentzian width or a variance of reflections, and its derivatives.

    Attributes
    ----------
    value
        Of each reflection (n).
    by_position
        Derivative by 2θ (per deg).
    by_parameter
        Derivatives by parameters.
    by_metric
        Derivative by the reciprocal metric A beyond that by 2θ (n, 6); None where there is none.
    """

    value: Floats
    by_position: Floats
    by_parameter: dict[str, Floats] = field(default_factory=dict)
    by_metric: Floats | None = None

    def add(self, other: Width, factor: Floats | float = 1.0) -> None:
        """Add a width; its derivatives are multiplied by `factor`, not its value."""
        self.value = self.value + other.value
        self.by_position = self.by_position + factor * other.by_position
        for name, slope in other.by_parameter.items():
            self.by_parameter[name] = self.by_parameter.get(name, 0.0) + factor * slope
        if other.by_metric is not None:
            part = np.reshape(factor, (-1, 1)) * other.by_metric
            self.by_metric = part if self.by_metric is None else self.by_metric + part


def widths(
    phase: Phase,
    parameters: Mapping[str, float],
    shared: Mapping[str, float],
    hkl: Floats,
    position: Floats,
    metric: tuple[Floats, Floats],
    wavelength: float,
) -> tuple[Width, Width]:
    """Return Gaussian variance (centideg²) and Lorentzian FWHM (centideg) of reflections.

    Parameters
    ----------
    phase
        Says what its broadening is like.
    parameters, shared
        Values of the parameters of the phase, and of the whole pattern.
    hkl, position
        Indices (n, 3) and 2θ (deg).
    metric
        Reciprocal metric A (6), and the forms of hkl that give 1/d² from it (n, 6).
    wavelength
        In angstrom.
    """
    theta = position * HALF_RADIAN
    tan, inverse_cos = np.tan(theta), 1 / np.cos(theta)
    tan_slope = HALF_RADIAN * inverse_cos**2
    cos_slope = HALF_RADIAN * tan * inverse_cos
    u, v, w, x, y, z = (shared[f"instrument/{name}"] for name in "UVWXYZ")
    one = np.ones_like(tan)
    variance = Width(
        (u * tan + v) * tan + w,
        (2 * u * tan + v) * tan_slope,
        {"instrument/U": tan**2, "instrument/V": tan, "instrument/W": one},
    )
    gamma = Width(
        x * inverse_cos + y * tan + z,
        x * cos_slope + y * tan_slope,
        {"instrument/X": inverse_cos, "instrument/Y": tan, "instrument/Z": one},
    )
    size = _inverse_size(phase, parameters, hkl, metric)
    constant = 1.8 * wavelength / math.pi
    broadened = _times(size, constant * inverse_cos, constant * cos_slope)
    _mix(variance, gamma, broadened, phase.size_mixing)
    strain = _strain(phase, parameters, hkl, metric)
    constant = 0.018 / math.pi
    broadened = _times(strain, constant * tan, constant * tan_slope)
    _mix(variance, gamma, broadened, phase.strain_mixing)
    return variance, gamma


def _times(width: Width, factor: Floats, slope: Floats) -> Width:
    """Return a width that does not depend on 2θ times a factor that does."""
    return Width(
        width.value * factor,
        width.value * slope,
        {name: part * factor for name, part in width.by_parameter.items()},
        None if width.by_metric is None else width.by_metric * factor[:, None],
    )


def _mix(variance: Width, gamma: Width, broadened: Width, mixing: float) -> None:
    """Add a broadening to variance and Lorentzian width."""
    if mixing:
        part = Width(mixing * broadened.value, broadened.by_position, broadened.by_parameter)
        part.by_metric = broadened.by_metric
        gamma.add(part, mixing)
    if mixing != 1:
        gauss = (1 - mixing) ** 2 / LOG256
        part = Width(gauss * broadened.value**2, broadened.by_position, broadened.by_parameter)
        part.by_metric = broadened.by_metric
        variance.add(part, 2 * gauss * broadened.value)


def _inverse_size(
    phase: Phase, parameters: Mapping[str, float], hkl: Floats, metric: tuple[Floats, Floats]
) -> Width:
    """Return 1/S (1/µm) of every reflection."""
    size = parameters["size"]
    zero = np.zeros(len(hkl))
    if phase.size_model == "isotropic":
        return Width(zero + 1 / size, zero, {"size": zero - size**-2})
    axial = parameters["size_axial"]
    return _uniaxial(phase, hkl, metric, ("size", "size_axial"), (size**-2, axial**-2), (size, axial), 0.5)


def _strain(
    phase: Phase, parameters: Mapping[str, float], hkl: Floats, metric: tuple[Floats, Floats]
) -> Width:
    """Return M (10⁻⁶) of every reflection."""
    zero = np.zeros(len(hkl))
    if phase.strain_model == "isotropic":
        return Width(zero + parameters["strain"], zero, {"strain": zero + 1.0})
    if phase.strain_model == "uniaxial":
        strain, axial = max(parameters["strain"], 1e-3), max(parameters["strain_axial"], 1e-3)
        inverse = (strain**-2, axial**-2)
        return _uniaxial(phase, hkl, metric, ("strain", "strain_axial"), inverse, (strain, axial), -0.5)
    a, forms = metric
    q = forms @ a
    matrix = stephens_matrix(phase.space_group, hkl)
    names = stephens_terms(phase.space_group)
    form = np.maximum(matrix @ np.array([parameters[name] for name in names]), 1e-9 * q**2)
    root = np.sqrt(form)
    slopes = matrix / (2 * root * q)[:, None]
    by_metric = -(root / q**2)[:, None] * forms
    return Width(root / q, zero, {name: slopes[:, i] for i, name in enumerate(names)}, by_metric)


def _uniaxial(
    phase: Phase,
    hkl: Floats,
    metric: tuple[Floats, Floats],
    names: tuple[str, str],
    inverse: tuple[float, float],
    values: tuple[float, float],
    power: float,
) -> Width:
    """Return (cos²φ / a² + sin²φ / i²) to a power, where i and a are the values across and along the axis."""
    across, along = inverse
    cos2, by_metric = cosine_squared(hkl, phase.axis, metric)
    sum_ = cos2 * along + (1 - cos2) * across
    slope = power * sum_ ** (power - 1)
    return Width(
        sum_**power,
        np.zeros(len(hkl)),
        {
            names[0]: slope * (1 - cos2) * -2 * values[0] ** -3,
            names[1]: slope * cos2 * -2 * values[1] ** -3,
        },
        (slope * (along - across))[:, None] * by_metric,
    )
