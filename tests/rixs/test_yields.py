from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import rixs
from beamline import model
from beamline.errors import ConfigError, SchemaError
from rixs.simulated_features import CHARGED, map_of
from rixs.yields import bin_edges, bin_weights

ENERGY = np.array([780.0, 780.5, 781.0, 781.5])
EMISSION = np.array([522.0, 523.0, 524.0, 526.0])


def rmap(values: np.ndarray | None = None, excitation: np.ndarray = ENERGY) -> xr.Dataset:
    values = np.full((4, 4), 10.0) if values is None else values
    points = len(values)
    if points != excitation.size:
        excitation = 780.0 + 0.01 * np.arange(points)
    dims = ("excitation_energy", "emission_energy")
    ds = xr.Dataset(
        {
            "intensity": (dims, values, {"units": "ADU/megacount/eV"}),
            "intensity_errors": (dims, np.where(np.isfinite(values), 1.0, np.nan)),
        },
        coords={
            "excitation_energy": excitation,
            "emission_energy": EMISSION,
            "energy_loss": (dims, excitation[:, None] - EMISSION),
            "i0": ("excitation_energy", np.full(points, 2e6), {"units": "count", "long_name": "flux"}),
            "repeats": ("excitation_energy", np.resize([1, 2, 1, 1], points)),
            "tey": ("excitation_energy", np.resize([100.0, 100.0, 400.0, 0.0], points), {"units": "count"}),
        },
    )
    return model.with_defaults(ds, "rixs.map")


ends = st.floats(521.5, 527.0)


@settings(deadline=None, max_examples=50)
@given(st.lists(ends, min_size=3, max_size=3, unique=True), st.integers(0, 100))
def test_windows_that_meet_add_up_with_their_variances(edges: list[float], seed: int) -> None:
    lo, mid, hi = sorted(edges)
    ds = rmap(np.random.default_rng(seed).normal(size=(4, 4)))
    parts = [rixs.emission_window(ds, *ends) for ends in ((lo, mid), (mid, hi)) if ends[0] < ends[1]]
    whole = rixs.emission_window(ds, lo, hi)
    np.testing.assert_allclose(sum(p.intensity.values for p in parts), whole.intensity, atol=1e-12)
    variance = sum(p.intensity_errors.values**2 for p in parts)
    np.testing.assert_allclose(variance, whole.intensity_errors**2, rtol=1e-9)


def test_a_part_of_a_pixel_counts_as_that_part() -> None:
    # Pixels end at 522.5, 523.5, 525: from 523.25 there is a quarter of the second and 0.5 of the third.
    np.testing.assert_allclose(bin_edges(EMISSION), [521.5, 522.5, 523.5, 525.0, 527.0])
    np.testing.assert_allclose(bin_weights(EMISSION, 523.25, 524.0), [0, 0.25, 0.5, 0])
    cut = rixs.emission_window(rmap(), 523.25, 524.0)
    np.testing.assert_allclose(cut.intensity, 7.5)
    np.testing.assert_allclose(cut.intensity_errors**2, 0.25 * 1.0 + 0.5 * 1.5)
    assert cut.intensity.attrs["units"] == "ADU/megacount"


def test_errors_are_the_scatter_of_sums_of_pixels() -> None:
    few = np.array([530.6, 531.0])
    found = [rixs.super_pfy(map_of(CHARGED, seed, few)).intensity.values[1] for seed in range(200)]
    claimed = rixs.super_pfy(map_of(CHARGED, 0, few)).intensity_errors.values[1]
    assert np.std(found) == pytest.approx(claimed, rel=3 / np.sqrt(400))


def test_the_total_is_what_every_point_has() -> None:
    values = np.full((4, 4), 10.0)
    values[2, 0] = np.nan
    cut = rixs.total_yield(rmap(values))
    np.testing.assert_allclose(cut.intensity, 10 * 4.5)
    assert (cut.attrs["window_from"], cut.attrs["window_to"]) == (522.5, 527.0)


def test_a_pixel_lost_in_the_window_is_a_point_lost() -> None:
    values = np.full((4, 4), 10.0)
    values[2, 1] = np.nan
    cut = rixs.emission_window(rmap(values), 522.6, 523.4)
    np.testing.assert_array_equal(np.isnan(cut.intensity), [False, False, True, False])


def test_what_the_axes_leave_open_stands_beside_the_counting_errors() -> None:
    ds = rmap(np.tile([0.0, 10.0, 30.0, 0.0], (4, 1)))
    label = {"units": "eV", "long_name": "of the axis"}
    ds = ds.assign_coords(
        emission_energy_errors=("emission_energy", np.full(4, 0.03), label),
        excitation_energy_errors=("excitation_energy", np.full(4, 0.04), label),
    )
    cut = rixs.emission_window(ds, 522.9, 524.5)
    np.testing.assert_allclose(cut.intensity_systematic, (30 - 10) * 0.05)
    tilted = ds.assign(intensity=(ds.intensity * ds.excitation_energy).assign_attrs(ds.intensity.attrs))
    over = rixs.window(tilted, 780.0, 781.0)
    np.testing.assert_allclose(over.intensity_systematic, [0, 0.4, 1.2, 0], atol=1e-9)


def test_a_counter_is_summed_over_repeats_and_has_its_errors() -> None:
    cut = rixs.counter_yield(rmap())
    np.testing.assert_allclose(cut.intensity, [50, 100, 200, np.nan])
    np.testing.assert_allclose(cut.intensity_errors[0], 50 * np.sqrt(1 / 100 + 1 / 2e6))
    with pytest.raises(SchemaError, match="is not in the map"):
        rixs.counter_yield(rmap(), "tfy")
    current = rmap()
    current["tey"].attrs["units"] = "A"
    with pytest.raises(SchemaError, match="not in counts"):
        rixs.counter_yield(current)


def test_the_inverse_of_a_yield_that_absorption_takes_is_the_absorption() -> None:
    mu = np.array([1.0, 1.2, 4.0, 2.0])
    cut = rixs.inverse_pfy(rmap(np.tile(1e4 / (mu + 0.5), (4, 1)).T), 522.5, 525.0)
    np.testing.assert_allclose(cut.intensity / cut.intensity[0], (mu + 0.5) / 1.5, rtol=1e-4)
    assert cut.intensity.attrs["units"] == "1/(ADU/megacount)"


def test_a_level_beside_the_line_is_subtracted_with_its_error() -> None:
    ds = rmap(np.tile([3.0, 10.0, 3.0, 3.0], (4, 1)))
    cut = rixs.emission_window(ds, 522.5, 523.5, background=(523.5, 527.0))
    np.testing.assert_allclose(cut.intensity, 7.0)
    # One bin of 1 eV, less 1 eV of the mean over 1.5 and 2 eV.
    np.testing.assert_allclose(cut.intensity_errors**2, 1 + (1.5**2 + 2**2) / 3.5**2)
    np.testing.assert_allclose(rixs.inverse_pfy(ds, 522.5, 523.5, (523.5, 527.0)).intensity, 1 / 7, rtol=0.05)
    for wrong in ((523.0, 525.0), (530.0, 531.0)):
        with pytest.raises(ConfigError, match="background"):
            rixs.emission_window(ds, 522.5, 523.5, background=wrong)


def test_the_mean_of_an_inverse_is_corrected() -> None:
    many = np.random.default_rng(3).normal(10.0, 1.0, (16000, 1))
    found = rixs.inverse_pfy(rmap(np.tile(many, (1, 4))), 522.5, 523.5).intensity
    # Uncorrected it is 1 % too large; the scatter of the mean is 0.08 %.
    assert float(found.mean()) == pytest.approx(0.1, rel=0.003)


def test_a_point_without_light_has_no_inverse() -> None:
    cut = rixs.inverse_pfy(rmap(np.tile([10.0, 3.0, 10.0, 10.0], (4, 1)).T), 522.5, 523.5)
    np.testing.assert_array_equal(np.isnan(cut.intensity), [False, True, False, False])
    with pytest.raises(SchemaError, match="has no line"):
        rixs.inverse_pfy(rmap(np.zeros((4, 4))), 522.5, 523.5)


def test_the_inverse_of_the_shell_being_excited_is_refused() -> None:
    with pytest.raises(ConfigError, match="resonant"):
        rixs.inverse_pfy(rmap(excitation=np.array([528.0, 530.0, 531.0, 532.0])), 522.5, 525.0)


@pytest.mark.parametrize(("lo", "hi"), [(524.0, 523.0), (523.0, 523.0), (521.0, 523.0), (524.0, 528.0)])
def test_a_window_that_is_empty_or_outside_is_refused(lo: float, hi: float) -> None:
    with pytest.raises(ConfigError, match="window"):
        rixs.emission_window(rmap(), lo, hi)
