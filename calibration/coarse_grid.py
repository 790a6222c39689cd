"""A coarse grid for the tails of reflections, which change slowly from point to point."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

BLOCK, NODES = 24, 6
"""Points of a block of the grid, and its nodes."""


class Tails(NamedTuple):
    """A coarse grid for what changes slowly: blocks of points, each with a few nodes of its own.

    Far from a reflection the profile of a block of `BLOCK` points follows from its values at `NODES`
    Chebyshev nodes: with a distance of at least three blocks to 4e-7 of itself.

    Attributes
    ----------
    x
        Nodes (block times node), deg.
    weights
        Of the nodes at each point (block, point, node).
    """

    x: Floats
    weights: Floats


def tails(two_theta: Floats) -> Tails:
    """Return the coarse grid of an axis; make it once for each."""
    blocks = two_theta.size // BLOCK
    fine = two_theta[: blocks * BLOCK].reshape(blocks, BLOCK)
    centre, half = 0.5 * (fine[:, -1:] + fine[:, :1]), 0.5 * (fine[:, -1:] - fine[:, :1])
    unit = np.cos(math.pi * (np.arange(NODES)[::-1] + 0.5) / NODES)
    place = (fine - centre) / np.maximum(half, 1e-300)
    weights = np.ones((blocks, BLOCK, NODES))
    for k in range(NODES):
        for j in range(NODES):
            if j != k:
                weights[:, :, k] *= (place - unit[j]) / (unit[k] - unit[j])
    return Tails((centre + half * unit).ravel(), weights)
