from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from calibration.gain import Gain
from rixs import simulate, simulated_spectrograph
from rixs.spikes import SPIKE, mask_spikes


def images(counts: np.ndarray) -> xr.Dataset:
    return xr.Dataset(
        {"counts": (("frame", "y", "x"), counts, {"units": "ADU"})},
        attrs={"kind": "images", "background": "subtracted"},
    )


def test_a_spike_is_masked_with_its_neighbours_and_nothing_else(gain: Gain) -> None:
    counts = np.zeros((1, 64, 40), np.int32)
    counts[0, 30, 20] = 5000
    masked = mask_spikes(images(counts), gain)
    expected = np.zeros((64, 40), bool)
    expected[29:32, 19:22] = True
    np.testing.assert_array_equal(masked.counts_mask.values[0] == SPIKE, expected)
    assert masked.spike_pixels.item() == 1


def test_counts_are_never_replaced(gain: Gain) -> None:
    scan = simulate.scan(seed=1)
    np.testing.assert_array_equal(mask_spikes(scan, gain).counts, scan.counts)


def test_photons_are_not_taken_for_spikes(gain: Gain) -> None:
    # 300 000 pixels at every rate from sparse to dense, without a cosmic ray: at 1e-6, hardly one is flagged.
    rng = np.random.default_rng(0)
    rate = np.geomspace(0.003, 30, 100)
    photons = rng.poisson(np.broadcast_to(rate, (30, 100, 100)))
    counts = np.rint(photons * gain.gain + rng.normal(0, 4, photons.shape)).astype(np.int32)
    assert mask_spikes(images(counts), gain).spike_pixels.sum() <= 3


def test_most_of_the_charge_of_cosmic_rays_is_removed(gain: Gain) -> None:
    clean = simulate.scan(seed=2, spectrograph=simulate.Spectrograph(cosmics=0))
    counts = clean.counts.values.astype(float)
    charge = np.zeros_like(counts)
    simulated_spectrograph.add_cosmics(charge, 5.0, np.random.default_rng(9))
    hit = images(np.rint(counts + charge).astype(np.int32))
    masked = mask_spikes(hit, gain)
    left = charge[masked.counts_mask.values == 0].sum() / charge.sum()
    lost = counts[masked.counts_mask.values != 0].sum() / counts.sum()
    assert left < 0.15
    assert lost < 0.02


def test_the_charge_removed_is_reported(gain: Gain) -> None:
    counts = np.zeros((2, 64, 40), np.int32)
    counts[1, 30, 20] = 5000
    masked = mask_spikes(images(counts), gain)
    np.testing.assert_allclose(masked.spike_charge, [0, 5000])


def test_a_detector_with_a_pedestal_is_no_field_of_spikes() -> None:
    pedestal = Gain(gain=100.0, read_noise=4.0, offset=500.0)
    counts = np.full((1, 64, 40), 500, np.int32)
    assert mask_spikes(images(counts), pedestal).spike_pixels.sum() == 0
    assert mask_spikes(images(counts), replace(pedestal, offset=0.0)).attrs["kind"] == "images"
