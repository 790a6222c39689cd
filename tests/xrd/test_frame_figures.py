from __future__ import annotations

import dataclasses
import io
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import xrd
from beamline import plotting
from beamline.errors import CalibrationError
from calibration.geometry import Geometry
from tests.xrd.test_integration import SHAPE, poisson
from xrd import frame_figures


def test_the_rings_lie_where_the_calibrant_has_them(geometry: Geometry) -> None:
    ceria = dataclasses.replace(geometry, calibrant="CeO2")
    axes = frame_figures.frame(poisson(), ceria).axes[0]
    (rings,) = axes.collections
    angles = np.degrees(geometry.two_theta())
    drawn = []
    for path in rings.get_paths():
        if len(path.vertices):
            x, y = (path.vertices - 0.5).round().astype(int).T
            found = angles[y.clip(0, 99), x.clip(0, 119)]
            drawn.append(float(np.median(found)))
    first = 2 * np.degrees(np.arcsin(0.1173 / 2 / 5.41165 * np.sqrt([3, 4, 8, 11])))
    np.testing.assert_allclose(drawn[:4], first, atol=0.05)
    assert len(drawn) <= frame_figures.MOST_RINGS


def test_what_is_masked_is_covered_and_what_did_not_measure_white(geometry: Geometry) -> None:
    counts = poisson()[0]
    counts[10:20] = -1
    mask = np.zeros(SHAPE)
    mask[50:] = 1
    axes = frame_figures.frame(counts, geometry, mask=mask, rings=[3.0, 99.0]).axes[0]
    image, cover = axes.images
    assert np.isnan(np.asarray(image.get_array().filled(np.nan))[10:20]).all()
    np.testing.assert_array_equal(~np.ma.getmaskarray(cover.get_array()), mask != 0)
    assert len([path for path in axes.collections[0].get_paths() if len(path.vertices)]) == 1


def test_large_frames_are_thinned_to_their_brightest_pixels(geometry: Geometry) -> None:
    signal = np.zeros((2500, 2500))
    signal[1234, 777] = 9.0
    thin = frame_figures._thinned(signal, 3)
    assert thin.shape == (833, 833)
    assert thin.max() == 9.0


@pytest.mark.parametrize("draw", ["frame", "cake"])
def test_figures_are_one_column_wide_and_can_be_saved(draw: str, geometry: Geometry) -> None:
    before = dict(mpl.rcParams)
    counts = poisson()
    if draw == "frame":
        figure = frame_figures.frame(counts, geometry)
    else:
        figure = frame_figures.cake(xrd.cake(counts, geometry, bins=60))
        assert figure.axes[0].get_ylabel() == "azimuth χ (°)"
    assert figure.get_size_inches()[0] == plotting.ONE_COLUMN
    for kind in ("png", "pdf"):
        figure.savefig(io.BytesIO(), format=kind)
    assert dict(mpl.rcParams) == before


def test_a_frame_of_another_detector_is_not_drawn(geometry: Geometry) -> None:
    other: Any = np.ones((5, 5))
    with pytest.raises(CalibrationError, match="5 x 5 pixels"):
        frame_figures.frame(other, geometry)
