r"""What multiplies |F|²: Lorentz factor, polarisation, absorption in a cylinder; with derivatives by 2θ.

* Lorentz: :math:`L = 1 / (2 \sin^2θ \cosθ)`.
* Polarisation, with the part P of the beam polarised in the plane of azimuth 0 (GSAS-II's Polariz.):
  :math:`[(1-P)\cos^2 a + P \sin^2 a] \cos^2 2θ + (1-P) \sin^2 a + P \cos^2 a`. Once only: a pattern that was
  corrected for polarisation when it was integrated is not corrected again.
* Absorption of a cylinder in Debye-Scherrer geometry, μR up to 3 (N. N. Lobanov, L. Alte da Veiga, 6th
  European Powder Diffraction Conference (1998), P12-16):
  :math:`\exp(-T_0 μR - T_1 μR^2 - T_2 μR^3 - T_3 μR^4)`.

θ is half the measured 2θ, zero and displacement included, as in GSAS-II.
"""

from __future__ import annotations

import math

import numpy as np

from calibration.instrument import Instrument
from xrd.phases import Floats

HALF_RADIAN = math.pi / 360
"""Radians of θ per degree of 2θ."""


def lorentz(two_theta: Floats) -> tuple[Floats, Floats]:
    """Return the Lorentz factor, and the derivative of its logarithm by 2θ (per deg)."""
    theta = two_theta * HALF_RADIAN
    sine, cosine = np.sin(theta), np.cos(theta)
    return 0.5 / (sine**2 * cosine), HALF_RADIAN * (sine / cosine - 2 * cosine / sine)


def polarization(two_theta: Floats, instrument: Instrument) -> tuple[Floats, Floats]:
    """Return the polarisation factor, and the derivative of its logarithm by 2θ (per deg)."""
    along = math.cos(math.radians(instrument.azimuth)) ** 2
    part = instrument.polarization
    turned = (1 - part) * along + part * (1 - along)
    angle = 2 * HALF_RADIAN * two_theta
    factor = turned * np.cos(angle) ** 2 + (1 - part) * (1 - along) + part * along
    return factor, -2 * HALF_RADIAN * turned * np.sin(2 * angle) / factor


def absorption(two_theta: Floats, mu_r: float) -> tuple[Floats, Floats, Floats]:
    """Return the transmission of a cylinder, and the derivatives of its logarithm by 2θ and by μR."""
    theta = two_theta * HALF_RADIAN
    s = np.sin(theta) ** 2
    s_slope = HALF_RADIAN * np.sin(2 * theta)
    root, quarter = np.sqrt(s), s**0.25
    t0 = 16 / (3 * math.pi)
    fall = np.exp(-0.024551 * s)
    t1 = (25.99978 - 0.01911 * quarter) * fall + 0.109561 * root - 26.04556
    t1_s = (
        -0.024551 * (25.99978 - 0.01911 * quarter) * fall
        - 0.01911 * 0.25 * quarter / s * fall
        + 0.5 * 0.109561 / root
    )
    t2 = (
        -0.02489 - 0.39499 * s + 1.219077 * s * root - 1.31268 * s**2 + 0.871081 * s**2 * root - 0.2327 * s**3
    )
    t2_s = -0.39499 + 1.5 * 1.219077 * root - 2 * 1.31268 * s + 2.5 * 0.871081 * s * root - 3 * 0.2327 * s**2
    t3 = 0.003045 + 0.018167 * s - 0.03305 * s**2
    t3_s = 0.018167 - 2 * 0.03305 * s
    value = np.exp(-mu_r * (t0 + mu_r * (t1 + mu_r * (t2 + mu_r * t3))))
    by_angle = -(mu_r**2) * (t1_s + mu_r * (t2_s + mu_r * t3_s)) * s_slope
    by_mu_r = -(t0 + mu_r * (2 * t1 + mu_r * (3 * t2 + mu_r * 4 * t3)))
    return value, by_angle, by_mu_r
