from __future__ import annotations

import pytest
import xarray as xr

from calibration.gain import Gain
from rixs import simulate


@pytest.fixture(scope="session")
def gain() -> Gain:
    return Gain(gain=simulate.GAIN, read_noise=4.0)


@pytest.fixture(scope="session")
def simulated_map() -> xr.Dataset:
    import rixs

    return rixs.reduce(simulate.scan(seed=3))
