from __future__ import annotations

import pytest

from calibration.geometry import Geometry


@pytest.fixture(scope="session")
def geometry() -> Geometry:
    """A small tilted detector that sees some dozen rings of ceria."""
    return Geometry(0.12, 0.011, 0.009, 0.05, -0.08, 0.3, 0.1173, (200e-6, 200e-6), (100, 120), 3)
