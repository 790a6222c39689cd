from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
import xrd
from beamline import tiff_files
from beamline.errors import ConfigError, RedoxlightError
from calibration.geometry import Geometry


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(1)
    paths = [tmp_path / f"{index}.tif" for index in range(6)]
    for path in paths:
        path.write_bytes(tiff_files.encode(rng.poisson(50, (100, 120)).astype(np.uint16)))
    return paths


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_patterns_come_in_the_order_of_the_files(files: list[Path], threads: int, geometry: Geometry) -> None:
    integrator = xrd.Integrator(geometry, bins=40, gain=20.0)
    found = list(xrd.stream(files, integrator, threads))
    for path, pattern in zip(files, found, strict=True):
        images: Any = beamline.read(path)
        assert isinstance(pattern, xr.Dataset)
        xr.testing.assert_identical(pattern, integrator(images))


def test_a_bad_file_is_named_and_the_others_go_on(files: list[Path], geometry: Geometry) -> None:
    files[1].write_bytes(files[1].read_bytes()[:900])
    files[2].write_bytes(tiff_files.encode(np.ones((10, 12), np.uint16)))
    files[3].write_bytes(tiff_files.encode(np.full((100, 120), 65535, np.uint16)))
    files[4].write_bytes(tiff_files.encode(np.full((100, 120), np.nan, np.float32)))
    integrator = xrd.Integrator(geometry, bins=40, gain=20.0)
    found = list(xrd.stream(files, integrator))
    for index, said in ((1, "truncated"), (2, "10 x 12 pixels"), (3, "no live pixel"), (4, "no live pixel")):
        assert isinstance(found[index], RedoxlightError)
        assert files[index].name in str(found[index])
        assert said in str(found[index])
    assert isinstance(found[0], xr.Dataset)
    assert isinstance(found[5], xr.Dataset)


def test_what_is_wrong_for_every_file_ends_it(files: list[Path], geometry: Geometry) -> None:
    integrator = xrd.Integrator(geometry, bins=40, gain=20.0, two_theta_range=(100.0, 120.0))
    with pytest.raises(ConfigError, match="the detector sees"):
        list(xrd.stream(files, integrator))
    with pytest.raises(ConfigError, match="threads: is 0"):
        list(xrd.stream(files, xrd.Integrator(geometry), threads=0))
