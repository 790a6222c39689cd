"""Patterns GSAS-II simulated and refined: our engine finds what it found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
import xrd
from beamline.readers.registry import concatenate

FRAMES = (0, 1, 2, 3, 40, 41, 42, 97, 98, 99)


@pytest.fixture(scope="module")
def folder(data_dir: Path) -> Path:
    return data_dir / "xrd1d"


@pytest.fixture(scope="module")
def fits(folder: Path) -> xr.Dataset:
    files = [folder / "ncm_cycling" / f"ncm_{frame:03d}.xye" for frame in FRAMES]
    patterns = concatenate([beamline.read(file) for file in files], [str(file) for file in files])  # type: ignore[misc]
    beam = xrd.Instrument.from_instprm(folder / "11idc.instprm")
    model = xrd.Model([xrd.Phase.from_cif(folder / "layered.cif")], beam, 3, fixed_list=True)
    return xrd.refine_series(patterns, model)


@pytest.fixture(scope="module")
def stored(data_dir: Path) -> list[dict[str, float]]:
    path = data_dir.parent / "reference" / "xrd_gsas2_ncm_cycling_tight.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    patterns = json.loads(path.read_text())["patterns"]
    return [patterns[frame] for frame in FRAMES]


def test_all_converge_with_the_noise_left_over(fits: xr.Dataset) -> None:
    assert set(fits["status"].values) == {"converged"}
    assert abs(float(fits["gof"].mean()) - 1) < 0.02


def test_rwp_is_that_of_gsas2(fits: xr.Dataset, stored: list[dict[str, float]]) -> None:
    np.testing.assert_allclose(100 * fits["rwp"].values, [p["Rwp"] for p in stored], atol=0.01)
    np.testing.assert_allclose(fits["gof"].values, [p["GOF"] for p in stored], atol=0.003)


@pytest.mark.parametrize(
    ("name", "key"), [("a", "a"), ("c", "c"), ("volume", "V"), ("size", "size"), ("strain", "mustrain")]
)
def test_values_lie_within_their_errors(
    name: str, key: str, fits: xr.Dataset, stored: list[dict[str, float]]
) -> None:
    # GSAS-II places peaks near the beam in single precision: half an error of c is its rounding.
    theirs = np.array([np.atleast_1d(p[key])[0] for p in stored])
    off = (fits[name].values[:, 0] - theirs) / fits[f"{name}_errors"].values[:, 0]
    assert np.abs(off).max() < 0.5


def test_cells_are_those_the_patterns_were_made_with(
    fits: xr.Dataset, stored: list[dict[str, float]]
) -> None:
    for name, key in (("a", "a_true"), ("c", "c_true")):
        off = fits[name].values[:, 0] - np.array([p[key] for p in stored])
        assert np.abs(off / fits[f"{name}_errors"].values[:, 0]).max() < 4, name


def test_errors_of_a_are_three_fifths_of_those_gsas2_prints(
    fits: xr.Dataset, stored: list[dict[str, float]]
) -> None:
    ratio = fits["a_errors"].values[:, 0] / np.array([p["a_esd"] for p in stored])
    np.testing.assert_allclose(ratio, 0.6, rtol=0.02)
    ratio = fits["c_errors"].values[:, 0] / np.array([p["c_esd"] for p in stored])
    np.testing.assert_allclose(ratio, 1.0, rtol=0.02)
