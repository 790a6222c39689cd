"""Cosmic rays in repeats of a point."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import rixs
from beamline.errors import SchemaError
from calibration.gain import Gain
from rixs import outliers, simulate
from rixs.spikes import OUTLIER, SPIKE

ENERGIES = np.repeat([530.0, 531.0], 3)


def lit(seed: int, cosmics: float = 0.0, energies: np.ndarray = ENERGIES) -> xr.Dataset:
    return simulate.scan(
        seed=seed, energies=energies, spectrograph=simulate.Spectrograph(cosmics=cosmics), flux=1e8
    )


def test_a_spike_the_column_allows_is_seen_by_the_other_exposures(gain: Gain) -> None:
    images = lit(0)
    # Hardly any light falls there: three photons in a pixel are more than it has.
    column = 24
    counts = images.counts.values.copy()
    counts[1, 20, column] = int(3.4 * gain.gain)
    hit = images.assign(counts=(images.counts.dims, counts, images.counts.attrs))
    single = rixs.mask_spikes(hit, gain)
    assert single.counts_mask[1, 20, column] == 0
    found = rixs.mask_outliers(hit, gain)
    assert found.counts_mask[1, 20, column] == OUTLIER
    assert found.outlier_pixels[1] >= 1
    # Masked, never replaced.
    np.testing.assert_array_equal(found.counts, hit.counts)
    assert float(found.spike_charge[1] - single.spike_charge[1]) == pytest.approx(3.4 * gain.gain, rel=0.1)


def test_what_the_column_finds_stays_found(gain: Gain) -> None:
    hit = lit(1, cosmics=3.0)
    column, all_of_them = rixs.mask_spikes(hit, gain), rixs.mask_outliers(hit, gain)
    was = column.counts_mask.values != 0
    np.testing.assert_array_equal(all_of_them.counts_mask.values[was], column.counts_mask.values[was])
    assert (column.counts_mask.values[was] == SPIKE).all()


def test_less_of_the_rays_is_left_and_no_more_of_the_light_is_lost(gain: Gain) -> None:
    left, lost = np.zeros(2), np.zeros(2)
    claimed = []
    for seed in range(6):
        clean, hit = lit(seed), lit(seed, cosmics=3.0)
        light = clean.counts.values.astype(float)
        rays = hit.counts.values - light
        for i, test in enumerate((rixs.mask_spikes, rixs.mask_outliers)):
            mask = test(hit, gain).counts_mask.values != 0
            quiet = test(clean, gain)
            left[i] += rays[~mask].sum() / rays.sum() / 6
            lost[i] += light[quiet.counts_mask.values != 0].sum() / light.sum() / 6
        claimed.append(float(quiet.photon_loss.mean()))
    assert left[1] < left[0] < 0.03
    # Two parts in ten thousand for single pixels and as much for pairs, and the pixels beside them.
    assert lost[1] < 0.002
    assert 0 < np.mean(claimed) < 4e-4


def test_light_that_changes_between_exposures_is_scaled(gain: Gain) -> None:
    images = lit(2)
    images.counts.values[1] = 0
    dim = rixs.mask_outliers(images, gain)
    taken = np.where(dim.counts_mask.values != 0, images.counts.values, 0).sum()
    assert taken < 0.002 * images.counts.values.sum()


def test_two_exposures_tell_nothing(gain: Gain) -> None:
    hit = lit(3, cosmics=3.0, energies=np.array([530.0, 530.0, 531.0]))
    assert not outliers.has_repeats(hit)
    xr.testing.assert_equal(
        rixs.mask_outliers(hit, gain).counts_mask, rixs.mask_spikes(hit, gain).counts_mask
    )


def test_spots_are_not_repeats_of_each_other() -> None:
    images = lit(4)
    assert outliers.has_repeats(images)
    apart = images.assign_coords(spot=("frame", [0, 0, 1, 0, 0, 1]))
    assert not outliers.has_repeats(apart)
    with pytest.raises(SchemaError, match="excitation_energy"):
        outliers.has_repeats(images.drop_vars("excitation_energy"))


def test_the_chain_tests_the_repeats_it_has(gain: Gain) -> None:
    energies = np.repeat(simulate.excitation_energies(527.0, 531.8, 0.4), 3)
    hit = lit(5, cosmics=3.0, energies=energies)
    rmap = rixs.reduce(hit, gain=gain)
    assert int(rmap.outlier_pixels.sum()) > 0
    assert set(json.loads(rmap.attrs["calibrations"])) >= {"emission", "curvature"}
    # With a curvature that is given nothing was looked for before: the outcome is the same.
    from calibration.records import restore

    records = {name: restore(record) for name, record in json.loads(rmap.attrs["calibrations"]).items()}
    again = rixs.reduce(hit, **records)
    xr.testing.assert_allclose(again.intensity, rmap.intensity)
    alone = rixs.reduce(hit.isel(frame=slice(None, None, 3)), gain=gain)
    assert int(alone.outlier_pixels.sum()) == 0
