from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from beamline.errors import SchemaError
from rixs.normalization import normalize


def spectra(i0: list[float], units: str = "count") -> xr.Dataset:
    frames = len(i0)
    return xr.Dataset(
        {
            "intensity": (("frame", "pixel"), np.full((frames, 2), 100.0), {"units": "ADU"}),
            "intensity_errors": (("frame", "pixel"), np.full((frames, 2), 10.0)),
        },
        coords={
            "pixel": [0, 1],
            "excitation_energy": ("frame", 530.0 + np.arange(frames)),
            "i0": ("frame", np.array(i0), {"units": units}),
        },
    )


def test_intensity_is_per_million_counts() -> None:
    result = normalize(spectra([1e6, 2e6, 2e6]))
    np.testing.assert_allclose(result.intensity[:, 0], [100, 50, 50])
    assert result.intensity.attrs["units"] == "ADU/megacount"


def test_the_error_holds_that_of_i0() -> None:
    result = normalize(spectra([100.0, 100.0]))
    relative = result.intensity_errors / result.intensity
    np.testing.assert_allclose(relative, np.hypot(0.1, 0.1))


def test_a_negative_monitor_is_used_by_its_magnitude() -> None:
    result = normalize(spectra([-1e6, -1e6]))
    np.testing.assert_allclose(result.intensity, 100)
    assert "negative" in result.attrs["i0_sign"]


def test_a_first_point_with_half_the_flux_is_divided_and_flagged() -> None:
    result = normalize(spectra([0.53e6, 1e6, 1.01e6, 0.99e6, 1e6]))
    np.testing.assert_array_equal(result.i0_mask, [1, 0, 0, 0, 0])
    assert result.intensity[0, 0] == pytest.approx(100 / 0.53)


def test_a_slow_drift_is_not_flagged() -> None:
    assert (normalize(spectra(list(np.linspace(1e6, 0.5e6, 20)))).i0_mask == 0).all()


@pytest.mark.parametrize("nothing", [0.0, np.nan])
def test_a_point_without_flux_is_not_measured(nothing: float) -> None:
    result = normalize(spectra([1e6, nothing, 1e6]))
    np.testing.assert_array_equal(np.isnan(result.intensity[:, 0]), [False, True, False])
    assert result.i0_mask[1] == 2


def test_a_monitor_in_ampere_has_no_counting_error() -> None:
    with pytest.raises(SchemaError, match="not in counts"):
        normalize(spectra([1e-9, 1e-9], units="A"))
