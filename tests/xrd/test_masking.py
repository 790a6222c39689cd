"""Masks found in simulated frames, of which every bad pixel is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

import beamline
import xrd
from beamline import model
from beamline.errors import ConfigError, DataFileError
from calibration.geometry import Geometry
from xrd.masking import FLAGS
from xrd.simulate import powder_frames

SHAPE = (400, 420)
DETECTOR = Geometry(0.25, 0.0408, 0.043, 0.0, 0.0, 0.0, 0.1173, (200e-6, 200e-6), SHAPE, 3)


@pytest.fixture(scope="module")
def damaged() -> tuple[xr.Dataset, dict[str, Any]]:
    """Three frames with a beam stop on an arm, gaps, and dead and hot pixels."""
    frames, _ = powder_frames(DETECTOR, cells=[(5.41165 * s,) * 3 + (90.0,) * 3 for s in (1, 1.002, 1.004)])
    counts = frames["counts"].values.copy()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    cx, cy = DETECTOR.center
    rng = np.random.default_rng(5)
    truth = {
        "stop": np.hypot(x - cx, y - cy) < 16,
        "arm": (np.abs(y - cy) < 7) & (x > cx),
        "gap": (np.abs(x - 100) < 3),
        "dead": rng.random(SHAPE) < 1e-3,
        "hot": rng.random(SHAPE) < 5e-4,
    }
    shadow = truth["stop"] | truth["arm"]
    counts[:, shadow] = (0.02 * counts[:, shadow]).astype(counts.dtype)
    counts[:, truth["hot"]] = 100_000
    counts[:, truth["dead"]] = 0
    counts[:, truth["gap"]] = -1
    return frames.assign(counts=frames["counts"].copy(data=counts)), truth


def test_what_is_damaged_is_found_and_nothing_else(damaged: tuple[xr.Dataset, dict[str, Any]]) -> None:
    images, truth = damaged
    mask = xrd.find_mask(images, DETECTOR)
    found = mask.values != 0
    shadow = truth["stop"] | truth["arm"]
    assert found[shadow].all()
    assert found[truth["gap"]].all()
    lit = ~ndimage.binary_dilation(shadow, iterations=5) & ~truth["gap"]
    assert found[truth["hot"] & lit].all()
    assert found[truth["dead"] & lit].mean() > 0.97
    wrong = found & lit & ~truth["dead"] & ~truth["hot"]
    assert wrong.mean() < 1e-4
    assert (mask.values[truth["gap"]] & FLAGS["unmeasured"]).all()
    assert mask.attrs["flag_meanings"].split() == list(FLAGS)


def test_a_found_mask_can_be_used_as_it_is(damaged: tuple[xr.Dataset, dict[str, Any]]) -> None:
    images, _ = damaged
    mask = xrd.find_mask(images, DETECTOR)
    clean, _ = powder_frames(DETECTOR, seed=None)
    expected = xrd.integrate(clean, DETECTOR, bins=150).isel(frame=0)
    found = xrd.integrate(images.isel(frame=[0]), DETECTOR, bins=150, mask=mask).isel(frame=0)
    many = found["coverage"].values > 100
    pulls = ((found["intensity"] - expected["intensity"]) / found["intensity_errors"]).values[many]
    assert np.abs(pulls).max() < 5
    without = xrd.integrate(images.isel(frame=[0]), DETECTOR, bins=150).isel(frame=0)
    shifted = ((without["intensity"] - expected["intensity"]) / without["intensity_errors"]).values[many]
    assert np.abs(shifted).max() > 20


def test_what_one_frame_did_not_measure_hides_nothing(damaged: tuple[xr.Dataset, dict[str, Any]]) -> None:
    images, truth = damaged
    counts = images["counts"].values.astype(float)
    counts[0, 200:230, 300:340] = np.nan
    before = xrd.find_mask(images, DETECTOR).values
    found = xrd.find_mask(images.assign(counts=images["counts"].copy(data=counts)), DETECTOR).values
    assert (found[truth["hot"]] == before[truth["hot"]]).mean() > 0.99
    assert ((found != 0) != (before != 0)).mean() < 1e-4


def test_texture_is_no_shadow() -> None:
    frames, _ = powder_frames(DETECTOR, seed=3)
    t1, t2, _ = DETECTOR.vectors()
    angles = np.degrees(DETECTOR.two_theta())
    ring = np.abs(angles - angles[200, 150]) < 0.3
    counts = frames["counts"].values[0].copy()
    weak = ring & (np.cos(2 * np.arctan2(t1, t2)) < 0)
    counts[weak] //= 3
    mask = xrd.find_mask(counts, DETECTOR)
    assert not (mask.values & FLAGS["shadow"]).any()


def test_without_the_beam_on_the_detector_nothing_is_unlit() -> None:
    aside = dataclasses.replace(DETECTOR, poni1=-0.03)
    frames, _ = powder_frames(aside, seed=1)
    assert not (xrd.find_mask(frames, aside).values != 0).any()


def test_spots_are_masked_frame_by_frame() -> None:
    frames, _ = powder_frames(DETECTOR, cells=[(5.41165,) * 3 + (90.0,) * 3] * 2, seed=2)
    counts = frames["counts"].values.copy()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    places = [(60, 90), (300, 350)]
    for frame, (row, column) in zip(counts, places, strict=True):
        frame += np.round(3e4 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 2 / 1.5**2)).astype(np.int32)
    dirty = frames.assign(counts=frames["counts"].copy(data=counts))
    found = xrd.find_spots(dirty, DETECTOR)
    model.validate(found, "images")
    for index, (row, column) in enumerate(places):
        spot = np.hypot(y - row, x - column)
        mask = found["counts_mask"].values[index] != 0
        assert mask[spot < 4].all()
        assert not mask[spot > 12].any()
    clean = xrd.integrate(frames, DETECTOR, bins=200)
    cured = xrd.integrate(found, DETECTOR, bins=200)
    many = clean["coverage"].values > 50
    shift = ((cured["intensity"] - clean["intensity"]) / clean["intensity_errors"]).values[many]
    assert np.abs(shift).max() < 1.5
    spoilt = xrd.integrate(dirty, DETECTOR, bins=200)
    assert (
        np.abs(((spoilt["intensity"] - clean["intensity"]) / clean["intensity_errors"]).values[many]).max()
        > 10
    )


def test_what_cannot_be() -> None:
    with pytest.raises(DataFileError, match="no live pixel"):
        xrd.find_mask(np.full(SHAPE, -1), DETECTOR)
    frames, _ = powder_frames(DETECTOR)
    with pytest.raises(ConfigError, match="threshold 0"):
        xrd.find_spots(frames, DETECTOR, threshold=0)


def test_the_command_writes_a_mask(
    damaged: tuple[xr.Dataset, dict[str, Any]], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from beamline import cli, tiff_files

    images, truth = damaged
    DETECTOR.save(tmp_path / "g.poni")
    files = []
    for index, frame in enumerate(images["counts"].values):
        files.append(tmp_path / f"{index}.tif")
        files[-1].write_bytes(tiff_files.encode(frame.astype(np.uint16)))
    output = tmp_path / "mask.npy"
    arguments = ["mask", *map(str, files), "--geometry", str(tmp_path / "g.poni"), "-o", str(output)]
    assert cli.main(arguments) == 0
    assert "shadow" in capsys.readouterr().out
    frames: Any = beamline.read(files)
    np.testing.assert_array_equal(np.load(output), xrd.find_mask(frames, DETECTOR).values)
    assert (np.load(output)[truth["arm"]] != 0).all()
    assert cli.main([*arguments[:-1], str(tmp_path / "mask.tif")]) == 2
