"""Means that outliers do not reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xrd
from beamline.errors import ConfigError
from calibration.geometry import Geometry
from tests.xrd.test_integration import BINS, SHAPE, images, poisson
from xrd.means import trimmed_variance
from xrd.simulate import pixel_normalization

PLAIN: dict[str, Any] = {"bins": 60, "polarization": None, "solid_angle": False}


def spotted(counts: Any, part: float = 0.02, seed: int = 9) -> tuple[Any, Any]:
    spots = np.random.default_rng(seed).random(counts.shape) < part
    return np.where(spots, counts * 20 + 3000, counts), spots


@pytest.mark.parametrize("gain", [1.0, None])
def test_clipping_brings_back_what_was_there_without_spots(gain: Any, geometry: Geometry) -> None:
    counts = poisson(80.0, frames=4)
    dirty, spots = spotted(counts)
    model: dict[str, Any] = {"gain": gain} if gain else {"error_model": "azimuthal"}
    clean = xrd.integrate(images(np.where(spots, -1, counts)), geometry, **PLAIN, **model)
    found = xrd.integrate(images(dirty), geometry, clip=5.0, **PLAIN, **model)
    many = clean["coverage"].values > 30
    shift = ((found["intensity"] - clean["intensity"]) / clean["intensity_errors"]).values[many]
    # A pixel beyond 5 sigma that is none of the spots is rejected once in a million.
    assert np.abs(shift).max() < 0.5
    if gain:
        np.testing.assert_allclose(
            found["intensity_errors"].values[many], clean["intensity_errors"].values[many], rtol=0.02
        )
    rejected = (found["rejected"] * (found["coverage"] / (1 - found["rejected"]))).values[many].sum()
    assert rejected == pytest.approx(spots.sum() * many.mean(), rel=0.15)


def test_a_spot_in_a_bin_of_few_pixels_is_seen(geometry: Geometry) -> None:
    """Against mean and deviation, one of ten pixels is never farther off than 2.85 standard deviations."""
    counts = poisson(100.0)[0]
    angles = np.degrees(geometry.two_theta())
    options: dict[str, Any] = {"bins": 1, "two_theta_range": (5.0, 5.01), **PLAIN} | {"bins": 1}
    inside = np.flatnonzero((angles >= 5.0) & (angles < 5.01))
    assert 5 < len(inside) < 25
    dirty = counts.copy()
    dirty.flat[inside[0]] = 5000
    found = xrd.integrate(dirty, geometry, clip=5.0, **options)
    assert float(found["coverage"][0, 0]) == len(inside) - 1


def test_few_counts_are_not_clipped_on_one_side(geometry: Geometry) -> None:
    """The distribution of few counts has a long upper tail: without care, 5 sigma would bias the mean."""
    frames = poisson(0.3, frames=20)
    plain = xrd.integrate(frames, geometry, **PLAIN)
    found = xrd.integrate(frames, geometry, clip=5.0, **PLAIN)
    assert float(found["rejected"].max()) == 0.0
    np.testing.assert_allclose(found["intensity"], plain["intensity"], rtol=1e-6)


def test_nothing_is_rejected_of_a_clean_frame(geometry: Geometry) -> None:
    counts = (poisson(500.0)[0] * pixel_normalization(geometry, 0.99)).astype(np.float32)
    plain = xrd.integrate(counts, geometry, bins=BINS)
    found = xrd.integrate(counts, geometry, bins=BINS, clip=6.0)
    np.testing.assert_allclose(found["intensity"], plain["intensity"], rtol=1e-6)
    np.testing.assert_allclose(found["intensity_errors"], plain["intensity_errors"], rtol=1e-6)
    np.testing.assert_array_equal(found["coverage"], plain["coverage"])


def test_a_sixth_of_the_pixels_may_be_wrong_by_as_much(geometry: Geometry) -> None:
    """Where mean and deviation are those of all pixels, a twentieth of equal outliers hides itself."""
    counts = poisson(100.0)[0]
    dirty = np.where(np.random.default_rng(2).random(SHAPE) < 1 / 6, counts + 5000, counts)
    found = xrd.integrate(dirty, geometry, clip=5.0, two_theta_range=(3.0, 9.0), **PLAIN)
    assert np.abs((found["intensity"] - 100) / found["intensity_errors"]).max() < 4.5


@pytest.mark.parametrize("error_model", ["poisson", "azimuthal"])
def test_pulls_of_trimmed_means(error_model: Any, geometry: Geometry) -> None:
    counts = poisson(400.0, frames=40, seed=12)
    found = xrd.integrate(counts, geometry, trim=0.1, error_model=error_model, **PLAIN)
    many = found["coverage"].values[0] > 60
    pulls = ((found["intensity"] - 400.0) / found["intensity_errors"]).values[:, many]
    # The median of Poisson counts is 1/6 below their mean, the trimmed mean by less.
    assert abs(pulls.mean()) < 3 / np.sqrt(pulls.size) + 0.17 / 20 * 10
    assert abs(pulls.std() - 1) < 3 / np.sqrt(2 * pulls.size) + 0.02


def test_a_tenth_at_either_end_is_left_out(geometry: Geometry) -> None:
    counts = poisson(100.0)[0]
    dirty, spots = spotted(counts, 0.03)
    angles = np.degrees(geometry.two_theta())
    found = xrd.integrate(dirty, geometry, trim=0.1, two_theta_range=(5.0, 6.0), **PLAIN | {"bins": 1})
    inside = (angles >= 5.0) & (angles < 6.0)
    values = np.sort(dirty[inside])
    cut = int(0.1 * len(values))
    assert float(found["intensity"][0, 0]) == pytest.approx(values[cut:-cut].mean(), rel=1e-6)
    assert float(found["rejected"][0, 0]) == pytest.approx(2 * cut / len(values))
    assert spots[inside].any()


def test_the_variance_of_a_trimmed_mean_of_gaussians() -> None:
    rng = np.random.default_rng(3)
    values = np.sort(rng.normal(size=(4000, 200)), axis=1)[:, 20:-20].mean(axis=1)
    measured = values.var() * 200
    assert trimmed_variance(0.1) == pytest.approx(measured, abs=3 * measured * np.sqrt(2 / 4000))
    assert trimmed_variance(1e-9) == pytest.approx(1.0, abs=1e-6)


def test_trimming_costs_read_noise_what_it_costs_counting(geometry: Geometry) -> None:
    even: dict[str, Any] = {**PLAIN, "gain": 1.0, "two_theta_range": (5.0, 6.0), "bins": 1}
    frame = np.full(SHAPE, 100, np.int32)
    ratios = []
    for read_noise in (None, 40.0):
        whole = xrd.integrate(frame, geometry, read_noise=read_noise, **even)
        found = xrd.integrate(frame, geometry, read_noise=read_noise, trim=0.1, **even)
        ratios.append(float((found["intensity_errors"] / whole["intensity_errors"])[0, 0]))
    assert ratios[1] == pytest.approx(ratios[0], rel=1e-9)
    assert ratios[0] == pytest.approx(np.sqrt(trimmed_variance(0.1)), rel=0.01)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"clip": 5.0, "trim": 0.1}, "give one of them"),
        ({"clip": 5.0, "splitting": "bbox"}, "whole pixels"),
        ({"trim": 0.6}, "below 0.5"),
        ({"clip": -1.0}, "above 0"),
    ],
)
def test_what_cannot_be(parameters: dict[str, Any], said: str, geometry: Geometry) -> None:
    with pytest.raises(ConfigError, match=said):
        xrd.integrate(np.ones(SHAPE, np.int32), geometry, **parameters)
