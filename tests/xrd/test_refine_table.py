from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline import cli, processing, provenance
from beamline.errors import ConfigError
from beamline.store import open_result
from calibration.geometry import Geometry
from calibration.instrument import Instrument
from tests.xrd import refinement_files as files
from xrd import simulate
from xrd.refine_table import RefineTable, model_of, read_instrument

CERIA = """\
data_ceria
_cell_length_a 5.41
_cell_length_b 5.41
_cell_length_c 5.41
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
Ce Ce 0 0 0 0.006
O O 0.25 0.25 0.25 0.008
"""
FWHM = 0.12
CELLS = (5.411, 5.420, 5.428)
TABLE = """
[beamtime]
name = "x"
timezone = "UTC"

[xrd.ceria]
files = ["raw/*.tif"]
geometry = "geometry.poni"
gain = 20.0
bins = 300

[xrd.ceria.refine]
phases = ["ceria.cif"]
instrument = "panel.instprm"
limits = [2.0, 9.0]
background = 5
start = { "ceria/scale" = 0.01 }
fix = ["*/size", "*/strain"]
free = ["instrument/W"]
"""


@pytest.fixture(scope="module")
def beamtime(geometry: Geometry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three simulated frames, processed and refined."""
    folder = tmp_path_factory.mktemp("beamtime")
    cells = [(a, a, a, 90.0, 90.0, 90.0) for a in CELLS]
    finer = dataclasses.replace(geometry, distance=0.2)
    images, truth = simulate.powder_frames(
        finer, cells=cells, profile=simulate.Profile(W=FWHM**2, X=0.0), gain=20.0, seed=5
    )
    simulate.write_frames(folder, images, finer, truth, TABLE)
    (folder / "ceria.cif").write_text(CERIA)
    wide = Instrument(0.1173, W=(100 * FWHM) ** 2 / (8 * np.log(2)), U=0.0, V=0.0)
    wide.save(folder / "panel.instprm")
    return folder / "beamtime.toml"


@pytest.fixture(scope="module")
def results(beamtime: Path) -> Path:
    report = processing.process(beamtime)
    assert not report.failed
    assert report.result is not None
    return Path(report.result)


def leaf(results: Path, place: str) -> xr.Dataset:
    found = open_result(f"{results}::/{place}")
    assert isinstance(found, xr.Dataset)
    return found


def test_frames_are_refined_on_the_way(results: Path) -> None:
    series = leaf(results, "xrd/ceria/refinement")
    assert list(series["phase"].values) == ["ceria"]
    assert leaf(results, "xrd/ceria/patterns").sizes["frame"] == 3
    off = (series["a"].values[:, 0] - CELLS) / series["a_errors"].values[:, 0]
    # rings of a detector of a hundred pixels fill some three bins: their shape is not that of the model
    assert np.abs(series["a"].values[:, 0] - CELLS).max() < 1e-3
    assert np.abs(off).max() < 8
    assert np.isfinite(series["calculated"]).any()
    steps: list[dict[str, Any]] = provenance.history(series)
    assert [step["step"] for step in steps] == ["beamline.read", "xrd.integrate", "xrd.refine_series"]
    assert steps[-1]["parameters"]["model"]["record"] == "xrd.models:Model"


def test_it_is_made_again_from_its_history(results: Path, tmp_path: Path) -> None:
    place = f"{results}::/xrd/ceria/refinement"
    assert cli.main(["replay", place, "--search", str(results.parents[1])]) == 0


def test_it_has_figures_and_tables(results: Path, tmp_path: Path) -> None:
    assert cli.main(["figures", str(results), "-o", str(tmp_path)]) == 0
    drawn = sorted(path.name for path in tmp_path.glob("*.png"))
    assert drawn[:2] == ["xrd_ceria_patterns.png", "xrd_ceria_refinement.png"]
    assert all(name.startswith("xrd_ceria_refinement_pattern_") for name in drawn[2:])
    assert (
        cli.main(["export", f"{results}::/xrd/ceria/refinement", "-o", str(tmp_path), "--format", "csv"]) == 0
    )
    (table,) = tmp_path.glob("*_frame.csv")
    titles, first, *_ = table.read_text().splitlines()[2:]
    cells = dict(zip(titles.split(","), first.split(","), strict=True))
    assert abs(float(cells['"a[ceria] (angstrom)"']) - CELLS[0]) < 1e-3
    assert float(cells['"a_errors[ceria] (angstrom)"']) > 0
    assert (tmp_path / "xrd_ceria_refinement_calculated.csv").exists()


def changed(beamtime: Path, old: str, new: str) -> Path:
    path = beamtime.with_name("changed.toml")
    path.write_text(beamtime.read_text().replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"ceria.cif"', '"gone.cif"', r"refine\.phases\[0\] names .*gone\.cif, which is missing"),
        ('"panel.instprm"', '"ceria.cif"', r"refine: .*ceria\.cif"),
        ('["instrument/W"]', '["instrument/Q"]', r"parameter 'instrument/Q': does not exist"),
        ("[2.0, 9.0]", "[9.0, 2.0]", "a range from 9 to 2; it rises"),
        ("background = 5", 'engine = "topas"', r"refine\.engine"),
        ("background = 5", "excluded = [[3.0, 2.0]]", "a range from 3 to 2; it rises"),
        ("background = 5", 'le_bail = ["spinel"]', "le_bail spinel: is no phase"),
        ("background = 5", "terms = 5", "terms is not a key"),
    ],
)
def test_what_is_wrong_with_the_table_is_said_before_any_frame(
    beamtime: Path, old: str, new: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        processing.check(changed(beamtime, old, new))


def test_the_instrument_is_of_the_wavelength_of_the_geometry(beamtime: Path) -> None:
    other = Instrument(0.24)
    other.save(beamtime.with_name("other.instprm"))
    with pytest.raises(ConfigError, match=r"other\.instprm: is of 0\.24 angstrom, the geometry of 0\.1173"):
        processing.check(changed(beamtime, "panel.instprm", "other.instprm"))


def test_an_instrument_may_be_a_record(tmp_path: Path) -> None:
    record = Instrument(0.1173, varied=("W",), covariance=((0.01,),))
    record.save(tmp_path / "panel.json")
    assert read_instrument(tmp_path / "panel.json") == record
    Geometry(0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1173, (1e-4, 1e-4)).save(tmp_path / "geometry.json")
    with pytest.raises(beamline.errors.CalibrationError, match="is a record of Geometry"):
        read_instrument(tmp_path / "geometry.json")


def test_the_table_sets_every_argument_of_the_model(tmp_path: Path) -> None:
    import inspect

    fields = set(RefineTable.model_fields)
    assert fields - {"engine", "curves"} == set(inspect.signature(model_of).parameters)
    files.write_model(tmp_path)
    model = model_of(
        [tmp_path / "layered.cif"], tmp_path / "11idc.instprm", ["layered"], (1.2, 6.0), [(2.0, 2.1)], 4,
        ["zero"], ["layered/size"], {"layered/size": 0.3},
    )  # fmt: skip
    assert model.phases[0].intensities == "lebail"
    assert (model.limits, model.excluded, model.background.terms) == ((1.2, 6.0), ((2.0, 2.1),), 4)
    assert model.parameters["zero"].free
    assert not model.parameters["layered/size"].free
    assert model.parameters["layered/size"].value == 0.3
