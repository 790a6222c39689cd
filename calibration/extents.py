r"""Where reflections end: their tails belong to the model as far as GSAS-II has them.

A reflection reaches from :math:`50 (w + S/L\,|\cos 2θ|)` below its position to :math:`75 w` above, with
w = 2.355 σ + γ in deg (the other way round above 90 deg). Cutting it elsewhere changes Rwp. A point that a
growing tail reaches changes the pattern by a jump that no derivative knows of: near a minimum a fit holds the
extents of where it is, so that χ² is smooth, and takes them again at every step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from calibration.compiled import compiled

Floats = np.ndarray[Any, np.dtype[np.float64]]

BELOW, ABOVE = 50.0, 75.0
"""How far a reflection reaches, in widths."""

FREE = np.empty((0, 2))
"""Instead of extents that are held: those of the present widths."""


@compiled
def extents(position: Floats, variance: Floats, gamma: Floats, shl: float) -> Floats:
    """Return the first and last 2θ (m, 2), deg, of reflections (m) as `calibration.profiles` takes them."""
    ends = np.empty((position.size, 2))
    for r in range(position.size):
        width = (2.355 * math.sqrt(variance[r]) + gamma[r]) / 100.0
        below = BELOW * (width + shl * abs(math.cos(position[r] * math.pi / 180.0)))
        above = ABOVE * width
        if position[r] > 90.0:
            below, above = above, below
        ends[r, 0], ends[r, 1] = position[r] - below, position[r] + above
    return ends
