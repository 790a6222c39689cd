"""GSAS-II itself, where it is: as an engine beside our own, with its projects, and when it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xrd
from beamline.errors import DataFileError, FitError
from tests.xrd import refinement_files as files
from tests.xrd.test_gsas2_reference import SINGLE_PRECISION
from xrd import gsas2, gsas2_installation

pytestmark = pytest.mark.skipif(
    gsas2_installation.find() is None, reason=f"GSAS-II is not installed ({gsas2_installation.VARIABLE})"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gsas2")
    files.write_model(path)
    return path


def off(one: xr.Dataset, other: xr.Dataset, name: str) -> float:
    """Return the largest difference in errors of the first."""
    return float(np.abs((one[name] - other[name]) / one[f"{name}_errors"]).max())


def test_both_engines_find_the_same_with_the_same_errors(folder: Path) -> None:
    patterns = files.patterns(folder)
    patterns["intensity"][1, 40:45] = np.nan  # not measured there
    patterns["intensity_errors"][1, 40:45] = np.nan
    base = files.model(folder)
    model = xrd.Model(base.phases, base.instrument, 2, files.LIMITS, excluded=[(5.0, 5.1)])
    model.start({"background/0": 350.0, "layered/scale": 0.3})
    theirs = xrd.refine_series(patterns, model, engine="gsas2", curves=True)
    ours = xrd.refine_series(patterns, model, engine="native", curves=True)
    assert (theirs["status"] == "converged").all()
    for name in ("a", "c", "volume", "scale", "size", "strain", "background"):
        assert off(ours, theirs, name) < SINGLE_PRECISION, name
        np.testing.assert_allclose(theirs[f"{name}_errors"], ours[f"{name}_errors"], rtol=0.02, err_msg=name)
    np.testing.assert_allclose(theirs["rwp"], ours["rwp"], atol=2e-5)
    np.testing.assert_allclose(theirs["gof"], ours["gof"], rtol=1e-3)
    np.testing.assert_array_equal(theirs["points"], ours["points"])
    measured = np.isfinite(patterns["intensity"].values)
    fitted = [np.isfinite(found["calculated"].values) & measured for found in (theirs, ours)]
    np.testing.assert_array_equal(*fitted)
    largest = float(np.nanmax(np.abs(theirs["calculated"] - ours["calculated"]) / ours["intensity_errors"]))
    assert largest < 0.3
    assert set(theirs["label"].values) == set(ours["label"].values)


def test_tied_parameters_are_tied_in_gsas2(folder: Path) -> None:
    model = files.model(folder).add("mixing", 0.1).fix("layered/size", "layered/strain")
    model.tie("layered/Ni1.occupancy", {"mixing": 1.0}, offset=0.5)
    model.tie("layered/Co1.occupancy", {"mixing": -1.0}, offset=0.5)
    model.free("layered/O1.z", "layered/Ni1.uiso").tie("layered/Co1.uiso", "layered/Ni1.uiso")
    patterns = files.patterns(folder, 1)
    theirs = xrd.refine(patterns, model, engine="gsas2", curves=False)
    ours = xrd.refine(patterns, model, engine="native", curves=False)
    assert off(ours, theirs, "estimate") < SINGLE_PRECISION
    np.testing.assert_allclose(theirs["estimate_errors"], ours["estimate_errors"], rtol=0.03)
    setting = theirs.isel(frame=0).set_index(parameter="parameter")["setting"]
    occupied = [float(setting.sel(parameter=f"layered/{site}1.occupancy")) for site in ("Ni", "Co")]
    assert sum(occupied) == pytest.approx(1.0)


def test_a_pattern_that_fails_leaves_the_others(folder: Path) -> None:
    patterns = files.patterns(folder)
    patterns["intensity"][1] = 1e-30  # nothing to fit, and no noise
    patterns["intensity_errors"][1] = 1e30
    found = xrd.refine_series(patterns, files.model(folder), engine="gsas2")
    first, second, third = found["status"].values
    assert (first, third) == ("converged", "converged")
    assert second in ("failed", "singular", "at_bound", "max_cycles")
    truth = np.array(files.CELLS)[[0, 2], 0]
    assert np.abs((found["a"][[0, 2], 0] - truth) / found["a_errors"][[0, 2], 0]).max() < 4


def test_what_ends_the_first_pattern_is_said(folder: Path) -> None:
    patterns = files.patterns(folder, 1)
    patterns["intensity"][:] = 1e-30
    patterns["intensity_errors"][:] = 1e30
    with pytest.raises(FitError, match="GSAS-II"):
        xrd.refine(patterns, files.model(folder).fix("background"), engine="gsas2")


def test_a_project_opens_in_gsas2_with_what_was_found(folder: Path, tmp_path: Path) -> None:
    patterns, model = files.patterns(folder, 2), files.model(folder)
    found = xrd.refine_series(patterns, model)
    path = tmp_path / "new" / "out.gpx"
    gsas2.write_project(patterns, model, path, found["setting"].values)
    (tmp_path / "read").mkdir()
    described = gsas2_installation.read_project(path, tmp_path / "read")
    (phase,) = described["phases"]
    assert (phase["name"], phase["space_group"]) == ("layered", "R -3 m")
    assert phase["cell"][0] == pytest.approx(float(found["a"][0, 0]), abs=1e-6)
    residuals = [histogram["rwp"] for histogram in described["histograms"]]
    np.testing.assert_allclose(residuals, 100 * found["rwp"], atol=2e-3)


def test_what_is_no_project_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.gpx"
    path.write_bytes(b"nothing of the kind")
    (tmp_path / "read").mkdir()
    with pytest.raises(DataFileError, match="cannot be read by GSAS-II"):
        gsas2_installation.read_project(path, tmp_path / "read")


def test_a_setting_gsas2_does_not_have_is_noticed(folder: Path) -> None:
    # GSAS-II takes the symbol of this group and has its origin elsewhere
    phase = xrd.Phase(
        "spinel", "F d -3 m:1", (8.1,) * 3 + (90.0,) * 3, (xrd.Site("Ni", "Ni", 0.625, 0.625, 0.625),)
    )
    from xrd import gsas2_job

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gsas2_job, "_check", lambda model: None)
        model = xrd.Model([phase], files.model(folder).instrument, 2, files.LIMITS)
        with pytest.raises(FitError, match="another setting or origin"):
            xrd.refine(files.patterns(folder, 1), model, engine="gsas2")
