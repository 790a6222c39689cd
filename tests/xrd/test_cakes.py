from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
import xrd
from beamline import model, provenance
from beamline.errors import ConfigError, SchemaError
from calibration.geometry import Geometry
from tests.xrd.test_integration import images, poisson
from xrd.simulate import pixel_normalization

RANGE = (2.0, 11.0)


@pytest.mark.parametrize("splitting", ["none", "bbox", "full"])
def test_a_sector_of_a_cake_is_the_pattern_of_that_sector(splitting: Any, geometry: Geometry) -> None:
    counts = poisson(frames=2)
    options: dict[str, Any] = {"bins": 40, "splitting": splitting, "two_theta_range": RANGE}
    cake = xrd.cake(counts, geometry, sectors=8, **options)
    model.validate(cake, "xrd.cakes")
    assert cake["intensity"].dims == ("frame", "azimuth", "two_theta")
    np.testing.assert_allclose(cake["azimuth"], np.arange(-157.5, 180, 45))
    for low in (0.0, 45.0):
        one = xrd.integrate(counts, geometry, azimuth_range=(low, low + 45.0), **options)
        sector = xrd.sector(cake, low + 20.0)
        model.validate(sector, "xrd.patterns")
        for name in ("intensity", "intensity_errors", "coverage"):
            np.testing.assert_array_equal(sector[name], one[name])
    whole = xrd.integrate(counts, geometry, **options)
    np.testing.assert_allclose(cake["coverage"].sum("azimuth"), whole["coverage"], rtol=1e-9)


def test_a_spot_is_in_the_sector_of_its_azimuth(geometry: Geometry) -> None:
    frame = np.zeros(geometry.shape_of(None))
    frame[10, 100] = 1.0
    t1, t2, _ = (axis[10, 100] for axis in geometry.vectors())
    cake = xrd.cake(frame, geometry, sectors=36, bins=50).isel(frame=0)
    row = int(np.nanargmax(cake["intensity"].max("two_theta")))
    assert abs(float(cake["azimuth"][row]) - np.degrees(np.arctan2(t1, t2))) <= 5.0


def test_sectors_may_have_edges_of_their_own(geometry: Geometry) -> None:
    flat = 100.0 * pixel_normalization(geometry, 0.99)
    cake = xrd.cake(flat, geometry, sectors=[-10.0, 10.0, 170.0, 350.0], bins=30, two_theta_range=RANGE)
    np.testing.assert_allclose(cake["azimuth"], [0.0, 90.0, 260.0])
    np.testing.assert_allclose(cake["intensity"].where(cake["coverage"] > 0, 100.0), 100.0, rtol=1e-5)
    whole = xrd.integrate(flat, geometry, bins=30, two_theta_range=RANGE)
    np.testing.assert_allclose(cake["coverage"].sum("azimuth"), whole["coverage"])


def test_a_cake_is_stored_and_says_how_it_was_made(geometry: Geometry, tmp_path: Any) -> None:
    cake = xrd.cake(images(poisson()), geometry, sectors=6, bins=20, clip=5.0)
    beamline.save(cake, tmp_path / "cake.nc")
    xr.testing.assert_identical(beamline.open(tmp_path / "cake.nc"), cake)
    step = provenance.history(cake)[-1]
    assert (step["step"], step["parameters"]["sectors"]) == ("xrd.cake", 6)
    assert "rejected" in cake


@pytest.mark.parametrize("sectors", [0, 2.5, True, [10.0], [10.0, 5.0], [0.0, 400.0], ["a", "b"], "x"])
def test_sectors_that_cannot_be(sectors: Any, geometry: Geometry) -> None:
    with pytest.raises(ConfigError, match="sectors: is"):
        xrd.cake(poisson(), geometry, sectors=sectors)


# Groups of frames


def series(geometry: Geometry, **options: Any) -> tuple[Any, xr.Dataset]:
    counts = poisson(20.0, frames=7)
    time = np.datetime64("2022-01-01", "ns") + np.arange(7) * np.timedelta64(60, "s")
    ds = images(counts, time=("frame", time), file=("frame", [f"{i}.tif" for i in range(7)]))
    i0 = np.array([1.0, 2.0, 1.5, 3.0, 1.0, 1.0, 2.0])
    ds = ds.assign_coords(
        i0=("frame", i0, {"units": "count", "long_name": "monitor"}), state=("frame", list("aabbaab"))
    )
    return counts, xrd.integrate(ds, geometry, bins=40, **options)


def test_a_group_is_the_pattern_of_the_sum(geometry: Geometry) -> None:
    counts, patterns = series(geometry)
    found = xrd.group(patterns, size=3)
    model.validate(found, "xrd.patterns")
    assert found["averaged"].values.tolist() == [3.0, 3.0, 1.0]
    for index, part in enumerate((counts[:3], counts[3:6], counts[6:])):
        summed = xrd.integrate(part.sum(axis=0), geometry, bins=40).isel(frame=0)
        for name in ("intensity", "intensity_errors"):
            np.testing.assert_allclose(found[name][index] * len(part), summed[name], rtol=1e-9)
    assert found["time"].values[0] == patterns["time"].values[1]
    assert "file" not in found
    assert provenance.history(found)[-1]["step"] == "xrd.group"


def test_frames_of_much_beam_count_for_more(geometry: Geometry) -> None:
    counts, patterns = series(geometry, monitor="i0")
    found = xrd.group(patterns, by="state")
    assert found["state"].values.tolist() == ["a", "b"]
    for index, members in enumerate(([0, 1, 4, 5], [2, 3, 6])):
        summed = xrd.integrate(counts[members].sum(axis=0), geometry, bins=40).isel(frame=0)
        total = float(patterns["i0"][members].sum())
        np.testing.assert_allclose(found["intensity"][index], summed["intensity"] / total, rtol=1e-9)


def test_a_bin_that_is_empty_in_one_frame_is_that_of_the_others(geometry: Geometry) -> None:
    counts = poisson(20.0, frames=2)
    counts[1, :, 60:] = -1
    patterns = xrd.integrate(counts, geometry, bins=200)
    patterns["intensity"].values[1, :30] = patterns["intensity_errors"].values[1, :30] = np.nan
    found = xrd.group(patterns, size=2).isel(frame=0)
    np.testing.assert_allclose(found["intensity"][:30], patterns["intensity"][0, :30])
    np.testing.assert_allclose(found["intensity_errors"][:30], patterns["intensity_errors"][0, :30])


def test_pulls_of_groups(geometry: Geometry) -> None:
    counts = poisson(3.0, frames=300)
    plain: dict[str, Any] = {"polarization": None, "solid_angle": False}
    found = xrd.group(xrd.integrate(counts, geometry, bins=30, **plain), size=10)
    many = found["coverage"].values[0] > 500
    pulls = ((found["intensity"] - 3.0) / found["intensity_errors"]).values[:, many]
    assert abs(pulls.mean()) < 3 / np.sqrt(pulls.size) + 0.02  # weighted by what was counted
    assert abs(pulls.std() - 1) < 3 / np.sqrt(2 * pulls.size)


@pytest.mark.parametrize(
    "how", [{}, {"size": 2, "by": "state"}, {"size": 0}, {"size": "ten"}, {"size": 1.5}, {"size": True}]
)
def test_groups_that_cannot_be(how: dict[str, Any], geometry: Geometry) -> None:
    with pytest.raises(ConfigError, match="group"):
        xrd.group(series(geometry)[1], **how)


def test_a_group_by_what_is_not_there(geometry: Geometry) -> None:
    with pytest.raises(SchemaError, match="no coordinate 'voltage'"):
        xrd.group(series(geometry)[1], by="voltage")
