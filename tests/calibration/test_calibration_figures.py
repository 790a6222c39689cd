from __future__ import annotations

import numpy as np
import pytest

from calibration import figures
from calibration.geometry import judge
from tests.calibration.test_ring_calibration import detector, image


@pytest.mark.parametrize("center", [(170.0, 190.0), (-60.0, 150.0)])
def test_rings_and_sectors_are_drawn(center: tuple[float, float]) -> None:
    true = detector(center=center)
    counts = image(true)
    mask = np.zeros(counts.shape, dtype=bool)
    mask[:20] = True
    figure = figures.rings(counts, true, mask=mask)
    left, right = figure.axes[:2]
    assert (left.get_xlabel(), left.get_ylabel()) == ("x (px)", "y (px)")
    assert left.get_ylim() == (360, 0)
    assert right.get_xlabel() == "ring, at 2θ (°)"
    sectors = judge(counts, true, mask=mask)
    drawn = figures.sectors(sectors).axes[0].collections[0].get_array()
    assert drawn is not None
    expected = 1e3 * sectors["deviation"].values
    np.testing.assert_allclose(np.ma.filled(drawn, np.nan).reshape(expected.shape), expected)
