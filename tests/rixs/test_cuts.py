from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from beamline.errors import ConfigError
from rixs.cuts import integration_weights, window

ENERGY = np.array([529.0, 529.4, 529.7, 530.5, 531.0, 532.0])


def rmap(values: np.ndarray | None = None) -> xr.Dataset:
    values = np.random.default_rng(0).normal(size=(6, 3)) if values is None else values
    dims = ("excitation_energy", "emission_energy")
    emission = np.array([523.0, 524.0, 525.0])
    return xr.Dataset(
        {
            "intensity": (dims, values, {"units": "ADU/megacount/eV"}),
            "intensity_errors": (dims, np.where(np.isfinite(values), 2.0, np.nan)),
        },
        coords={
            "excitation_energy": ENERGY,
            "emission_energy": emission,
            "energy_loss": (dims, ENERGY[:, None] - emission),
        },
    )


ends = st.floats(529.0, 532.0)


@settings(deadline=None, max_examples=100)
@given(lo=ends, hi=ends, a=st.floats(-5, 5), b=st.floats(-5, 5))
def test_a_straight_line_is_integrated_exactly(lo: float, hi: float, a: float, b: float) -> None:
    lo, hi = min(lo, hi), max(lo, hi)
    x = ENERGY - 530
    integral = a * (hi - lo) + b / 2 * ((hi - 530) ** 2 - (lo - 530) ** 2)
    assert integration_weights(ENERGY, lo, hi) @ (a + b * x) == pytest.approx(integral, abs=1e-9)


@settings(deadline=None, max_examples=100)
@given(st.lists(ends, min_size=3, max_size=3, unique=True))
def test_windows_that_meet_add_up(edges: list[float]) -> None:
    lo, mid, hi = sorted(edges)
    parts = integration_weights(ENERGY, lo, mid) + integration_weights(ENERGY, mid, hi)
    np.testing.assert_allclose(parts, integration_weights(ENERGY, lo, hi), atol=1e-12)


def test_the_variance_is_that_of_the_weighted_sum() -> None:
    weights = integration_weights(ENERGY, 529.55, 530.7)
    cut = window(rmap(), 529.55, 530.7)
    np.testing.assert_allclose(cut.intensity_errors, 2 * np.sqrt((weights**2).sum()))


def test_errors_are_the_scatter_over_many_maps() -> None:
    rng = np.random.default_rng(5)
    many = rng.normal(0, 2, (6, 3000))
    scatter = (integration_weights(ENERGY, 529.55, 530.7) @ many).std()
    assert window(rmap(), 529.55, 530.7).intensity_errors[0] == pytest.approx(scatter, rel=0.05)


def test_a_gap_in_the_window_is_a_gap_in_the_cut() -> None:
    values = np.ones((6, 3))
    values[2, 1] = np.nan
    cut = window(rmap(values), 529.5, 530.0)
    np.testing.assert_array_equal(np.isnan(cut.intensity), [False, True, False])


def test_a_gap_outside_the_window_does_not_matter() -> None:
    values = np.ones((6, 3))
    values[0, 1] = np.nan
    np.testing.assert_allclose(window(rmap(values), 529.5, 530.0).intensity, 0.5)


@pytest.mark.parametrize(("lo", "hi"), [(531.0, 530.0), (530.0, 530.0), (528.9, 530.0), (531.0, 532.1)])
def test_a_window_that_is_empty_or_outside_is_refused(lo: float, hi: float) -> None:
    with pytest.raises(ConfigError, match="window"):
        window(rmap(), lo, hi)


def test_the_window_and_the_unit_go_with_the_cut() -> None:
    cut = window(rmap(), 529.5, 530.0)
    assert (cut.attrs["window_from"], cut.attrs["window_to"]) == (529.5, 530.0)
    assert cut.intensity.attrs["units"] == "ADU/megacount"
