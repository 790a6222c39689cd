from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

import beamline
import xrd
from beamline import cli, processing, provenance, tiff_files
from beamline.errors import ConfigError
from beamline.store import open_result
from calibration.geometry import Geometry
from xrd import simulate
from xrd.measurement import TEMPLATE, XrdMeasurement, recipe


def measurement(folder: Path, **table: Any) -> XrdMeasurement:
    values = {"files": ["raw/*.tif"], "geometry": "geometry.poni", "gain": 20.0, "bins": 40, **table}
    return XrdMeasurement.model_validate_json(json.dumps(values), strict=True, context={"folder": folder})


@pytest.fixture(scope="module")
def folder(geometry: Geometry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated frames."""
    path = tmp_path_factory.mktemp("frames")
    images, truth = simulate.powder_frames(geometry, cells=[simulate.CEO2.cell] * 2, gain=20.0)
    simulate.write_frames(path, images, geometry, truth, "")
    return path


def test_a_recipe_is_reading_integrating_and_putting_together(folder: Path) -> None:
    made = recipe("xrd/ceria", measurement(folder), folder)
    assert [file.name for file in made.files] == ["frame_00001.tif", "frame_00002.tif"]
    parts = []
    for file in made.files:
        part = beamline.read(file, **made.read)
        for step in made.each:
            part = step(part)
        parts.append(part)
    assert made.gather is not None
    whole = made.gather(parts, [file.name for file in made.files])
    at_once = xrd.integrate(
        beamline.read(made.files),
        folder / "geometry.poni",
        bins=40,
        gain=20.0,  # type: ignore[arg-type]
    )
    xr.testing.assert_allclose(whole.drop_attrs(), at_once.drop_attrs())
    steps: list[dict[str, Any]] = provenance.history(whole)  # type: ignore[arg-type]
    assert [step["step"] for step in steps] == ["beamline.read", "xrd.integrate"]


def test_the_table_sets_every_parameter_of_the_integration(folder: Path) -> None:
    import inspect

    parameters = measurement(folder).parameters()
    assert {"images", *parameters} == set(inspect.signature(xrd.integrate).parameters)


def test_no_polarisation_is_written_as_false(folder: Path) -> None:
    assert measurement(folder, polarization=False).parameters()["polarization"] is None
    assert measurement(folder, polarization=0.9).parameters()["polarization"] == 0.9


@pytest.mark.parametrize(
    "table",
    [
        {"bins": 0},
        {"bins": 1_000_001},
        {"bins": "3000"},
        {"polarization": 1.5},
        {"polarization": -1.1},
        {"two_theta_range": [5.0, 2.0]},
        {"two_theta_range": [-1.0, 2.0]},
        {"two_theta_range": [1.0, 181.0]},
        {"two_theta_range": [1.0, 2.0, 3.0]},
        {"saturation": 0.0},
        {"geometry": "nothing.poni"},
        {"orientation": 5},
        {"polarization": True},
        {"gain": -1.0},
        {"colour": "red"},
    ],
)
def test_wrong_tables_are_refused(table: dict[str, Any], folder: Path) -> None:
    with pytest.raises(ValidationError):
        measurement(folder, **table)


def test_a_geometry_of_unknown_orientation_is_refused(folder: Path) -> None:
    text = (folder / "geometry.poni").read_text().replace(', "orientation": 3', "")
    (folder / "old.poni").write_text(text)
    with pytest.raises(ConfigError, match=r"^geometry: .*old\.poni: .*which way round.*orientation=3"):
        recipe("xrd/ceria", measurement(folder, geometry="old.poni"), folder)


def test_what_is_no_geometry_is_an_error_of_the_configuration(folder: Path) -> None:
    lines = (folder / "geometry.poni").read_text().splitlines()
    short = [line for line in lines if not line.startswith("Distance")]
    (folder / "short.poni").write_text("\n".join(short))
    for name, said in (("short.poni", "Distance"), ("raw/frame_00001.tif", "not a text file")):
        with pytest.raises(ConfigError, match=rf"^geometry: .*{said}"):
            recipe("xrd/ceria", measurement(folder, geometry=name), folder)


def test_a_mask_is_read_before_the_images(folder: Path) -> None:
    np.save(folder / "small.npy", np.zeros((3, 4)))
    (folder / "text.mask").write_text("no image")
    for name, said in (("small.npy", "3 x 4 pixels"), ("text.mask", "")):
        with pytest.raises(ConfigError, match=rf"^mask: .*{name}.*{said}"):
            recipe("xrd/ceria", measurement(folder, mask=name), folder)
    np.save(folder / "fits.npy", np.zeros((100, 120)))
    assert recipe("xrd/ceria", measurement(folder, mask="fits.npy"), folder).files


def test_a_range_beside_the_detector_is_known_before_the_images(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^two_theta_range: 100 to 120 deg: the detector sees"):
        recipe("xrd/ceria", measurement(folder, two_theta_range=[100.0, 120.0]), folder)


def test_check_names_what_is_wrong_with_the_geometry(folder: Path) -> None:
    text = (folder / "geometry.poni").read_text().replace(', "orientation": 3', "")
    (folder / "unsaid.poni").write_text(text)
    table = '[xrd.ceria]\nfiles = ["raw/*.tif"]\ngeometry = "unsaid.poni"\ngain = 20.0\n'
    path = folder / "beamtime.toml"
    path.write_text(f'[beamtime]\nname = "x"\ntimezone = "UTC"\n\n{table}')
    with pytest.raises(ConfigError, match=r"xrd\.ceria: geometry: .*unsaid\.poni"):
        processing.check(path)


def test_the_template_is_a_table_of_this_kind(tmp_path: Path) -> None:
    (tmp_path / "geometry.poni").touch()
    (tmp_path / "mask.mask").touch()
    for text in (TEMPLATE, TEMPLATE.replace("\n# ", "\n")):
        table = tomllib.loads(text)["xrd"]["sample"]
        XrdMeasurement.model_validate_json(json.dumps(table), strict=True, context={"folder": tmp_path})


def command(*arguments: Any) -> int:
    return cli.main(["integrate", *map(str, arguments)])


def test_the_command_writes_what_the_function_returns(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((folder / "raw").glob("*.tif"))
    output = tmp_path / "out.nc"
    settled = ["--geometry", folder / "geometry.poni", "-o", output, "--bins", 40, "--gain", 20.0]
    switches = ["--no-polarization", "--no-solid-angle", "--saturation", 9000, "--timezone", "UTC"]
    assert command(*files, *settled, *switches) == 0
    assert capsys.readouterr().out == f"wrote {output}: 2 of 2 images\n"
    result: Any = open_result(output)
    expected = xrd.integrate(
        beamline.read(files),  # type: ignore[arg-type]
        folder / "geometry.poni",
        bins=40,
        gain=20.0,
        polarization=False,
        solid_angle=False,
        saturation=9000.0,
    )
    xr.testing.assert_allclose(result.drop_attrs(), expected.drop_attrs())
    assert (result.attrs["polarization_corrected"], result.attrs["solid_angle_corrected"]) == (0, 0)


def test_the_command_names_bad_images_and_does_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = sorted((folder / "raw").glob("*.tif"))
    damaged, small = tmp_path / "damaged.tif", tmp_path / "small.tif"
    damaged.write_bytes(good[0].read_bytes()[:500])
    small.write_bytes(tiff_files.encode(np.ones((10, 12), np.uint16)))
    # a clock of its own: it has a coordinate the others lack
    (tmp_path / "timed.tif").write_bytes(good[0].read_bytes())
    (tmp_path / "timed.tif.metadata").write_text("exposureTime=1\ntimeStamp=1404338873.637\n")
    output = tmp_path / "out.nc"
    settled = ["--geometry", folder / "geometry.poni", "-o", output, "--bins", 40, "--gain", 20.0]
    assert command(good[0], damaged, small, tmp_path / "timed.tif", good[1], *settled) == 1
    said = capsys.readouterr()
    assert said.out == f"wrote {output}: 2 of 5 images\n"
    lines = said.err.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, ("damaged.tif", "small.tif", "timed.tif"), strict=True):
        assert name in line
    result: Any = open_result(output)
    assert list(result["file"].values) == [path.name for path in good]
    output.unlink()
    assert command(damaged, small, *settled) == 1
    assert not output.exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "out.txt"], "name it out.nc"),
        (["-o", "out.nc", "--bins", "0"], "bins: is 0"),
        (["-o", "out.nc", "--polarization", "0.9", "--no-polarization"], "contradicts"),
        (["-o", "out.nc", "--range", "100", "120"], "the detector sees"),
    ],
)
def test_a_wrong_command_is_said_once(
    options: list[str],
    said: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = sorted((folder / "raw").glob("*.tif"))
    assert command(*files, "--geometry", folder / "geometry.poni", "--gain", 20, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(tmp_path.iterdir())


def test_expansion_is_found_from_frames_to_results(geometry: Geometry, tmp_path: Path) -> None:
    edges = simulate.CEO2.cell[0] * (1 + 1.1e-5 * np.linspace(0.0, 700.0, 3))
    cells = [(a, a, a, 90.0, 90.0, 90.0) for a in edges]
    images, truth = simulate.powder_frames(geometry, cells=cells, gain=20.0)
    path = simulate.write_frames(tmp_path, images, geometry, truth, _BEAMTIME)
    report = beamline.process(path, scheduler="serial")
    assert not report.failed
    patterns = open_result(f"{tmp_path / 'processed' / 'results.nc'}::/xrd/ceria")
    assert isinstance(patterns, xr.Dataset)
    record = json.loads((tmp_path / "truth.json").read_text())
    ring = record["hkl"].index([2, 2, 0])
    for frame, (a, positions) in enumerate(zip(edges, record["two_theta_deg"], strict=True)):
        near = patterns.isel(frame=frame).where(
            abs(patterns["two_theta"] - positions[ring]) < 0.12, drop=True
        )
        base = float(near["intensity"].min())
        weight = near["intensity"].values - base
        position = float(np.sum(weight * near["two_theta"].values) / weight.sum())
        found = record["wavelength_angstrom"] / 2 / np.sin(np.radians(position) / 2) * np.sqrt(8)
        # A centre of mass in a window is good to some 3 mdeg here.
        assert found == pytest.approx(a, rel=1e-3)


_BEAMTIME = """\
[beamtime]
name = "ceria"
timezone = "UTC"

[xrd.ceria]
files = ["raw/*.tif"]
geometry = "geometry.poni"
bins = 1000
gain = 20.0
"""
