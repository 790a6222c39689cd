from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

import beamline
import rixs
from beamline.cli import main
from beamline.errors import CalibrationError, ConfigError, SchemaError
from calibration.excitation import Shift
from calibration.gain import Gain
from rixs import simulate
from rixs.cli import rixs as rixs_command
from rixs.cli import window as window_command
from rixs.measurement import RixsMeasurement, load_calibrations, recipe, with_window
from tests import irixs


@pytest.fixture(scope="module")
def beamtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated scan on disk, in two parts, as a beamline writes them."""
    folder = tmp_path_factory.mktemp("beamtime")
    instrument = simulate.Spectrograph(clipped=True)
    scan = simulate.scan(seed=1, spectrograph=instrument)
    stack = scan.counts.values.astype(np.uint16)
    table = irixs.rows(stack)
    for row, energy, i0 in zip(table, scan.excitation_energy.values, scan.i0.values, strict=True):
        row["BL 8 Energy"], row["Izero"] = f"{energy:.8f}", f"{i0:.1f}"
    # The second part begins after midnight.
    parts = (("CCD Scan 1", "240705", slice(0, 10)), ("CCD Scan 2", "240706", slice(10, None)))
    for name, day, part in parts:
        irixs.write_images(folder / name, table[part], stack[part])
        irixs.write_table(folder / name, table[part], day=day)
    (folder / "beamtime.toml").write_text(
        '[beamtime]\nname = "test"\ntimezone = "America/Los_Angeles"\n\n'
        '[rixs.sample]\nfiles = ["CCD Scan */*-AI.txt"]\nwindow = [530.6, 531.8]\n'
    )
    return folder


def test_several_scans_make_one_map_and_its_window(beamtime: Path) -> None:
    report = beamline.process(beamtime / "beamtime.toml")
    assert not report.failed
    tree = beamline.open(beamtime / "processed" / "results.nc")
    assert isinstance(tree, xr.DataTree)
    assert tree["rixs/sample/map"].attrs["kind"] == "rixs.map"
    assert tree["rixs/sample/map"].sizes["excitation_energy"] == 16
    assert tree["rixs/sample/window"].attrs["kind"] == "rixs.cut"
    assert tree["rixs/sample/window"].attrs["window_from"] == 530.6


def with_channels(beamtime: Path, name: str, keys: str) -> Path:
    """Write a cycler's table beside the scans, and a configuration that joins it; return the latter."""
    # The points are five minutes apart from 23:50 in California on, which is 06:50 UTC.
    start = np.datetime64("2024-07-06T06:00", "s")
    lines = [f"{start + 60 * i}Z,{3 + i / 1000:.4f}" for i in range(300)]
    (beamtime / "cycler.csv").write_text("time,voltage (V)\n" + "\n".join(lines) + "\n")
    path = beamtime / f"{name}.toml"
    path.write_text(
        f'[beamtime]\nname = "test"\ntimezone = "America/Los_Angeles"\noutput = "{name}"\n\n'
        '[channels.cycler]\nfiles = ["cycler.csv"]\n\n'
        f'[rixs.sample]\nfiles = ["CCD Scan */*-AI.txt"]\nchannels = ["cycler"]\n{keys}'
    )
    return path


def test_points_of_a_map_get_their_voltage(beamtime: Path) -> None:
    path = with_channels(beamtime, "joined", 'stamp = "start"\nexposure = 240\n')
    report = beamline.process(path)
    assert not report.failed
    rmap = beamline.open(f"{report.result}::/rixs/sample/map")
    assert isinstance(rmap, xr.Dataset)
    assert rmap.voltage.dims == ("excitation_energy",)
    # Mid-exposure of the first point is 52 min after the cycler's first sample, of the next 5 min later.
    np.testing.assert_allclose(rmap.voltage, 3.052 + 0.005 * np.arange(16), atol=2e-4)
    assert (rmap.voltage_errors > 0).all()


@pytest.mark.parametrize("keys", ["", 'stamp = "start"\n', "exposure = 240\n"])
def test_channels_without_the_moment_of_the_points_are_refused(beamtime: Path, keys: str) -> None:
    report = beamline.process(with_channels(beamtime, f"refused{len(keys)}", keys))
    assert "give rixs.sample.stamp and rixs.sample.exposure" in str(report.failed)


def test_the_command_gives_what_the_function_gives(beamtime: Path, tmp_path: Path) -> None:
    scans = sorted(beamtime.glob("CCD Scan */*-AI.txt"))
    rixs_command(scans, tmp_path / "map.nc")
    expected = rixs.reduce(beamline.read(scans))
    xr.testing.assert_equal(beamline.open(tmp_path / "map.nc"), expected)
    window_command(tmp_path / "map.nc", 530.6, 531.8, tmp_path / "cut.nc")
    xr.testing.assert_equal(beamline.open(tmp_path / "cut.nc"), rixs.window(expected, 530.6, 531.8))


@pytest.fixture
def map_file(simulated_map: xr.Dataset, tmp_path: Path) -> Path:
    beamline.save(simulated_map, tmp_path / "map.nc")
    return tmp_path / "map.nc"


def test_a_cut_is_printed_as_a_table(simulated_map: xr.Dataset, map_file: Path) -> None:
    lines = window_command(map_file, 530.6, 531.8).text.splitlines()
    assert lines[0].startswith("# emission_energy (eV)")
    assert len(lines) == 1 + simulated_map.sizes["emission_energy"]


@pytest.mark.parametrize("to_file", [False, True])
def test_a_cut_as_json_holds_its_numbers(
    simulated_map: xr.Dataset, map_file: Path, capsys: pytest.CaptureFixture[str], to_file: bool
) -> None:
    output = ["-o", str(map_file.with_name("cut.nc"))] if to_file else []
    assert main(["--json", "window", str(map_file), "--from", "530.6", "--to", "531.8", *output]) == 0
    document = json.loads(capsys.readouterr().out)
    cut = rixs.window(simulated_map, 530.6, 531.8)
    np.testing.assert_array_equal(document["intensity"], cut.intensity)
    np.testing.assert_array_equal(document["intensity_errors"], cut.intensity_errors)
    assert document["area"]["value"] == pytest.approx(
        float(cut.intensity.integrate("emission_energy")), rel=1e-2
    )
    assert document["area"]["error"] > 0
    assert document["units"] == "ADU/megacount"
    assert ("result" in document) == to_file


def test_the_command_says_what_a_map_was_made_with(
    beamtime: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = [str(path) for path in sorted(beamtime.glob("CCD Scan */*-AI.txt"))]
    assert main(["--json", "rixs", *scans, "-o", str(tmp_path / "map.nc")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["points"] == 16
    assert document["points_flagged"] == 0
    for name, truth in (("dispersion", 0.125), ("gain", simulate.GAIN)):
        assert document[name]["value"] == pytest.approx(truth, rel=0.1)
        assert document[name]["error"] > 0
    assert {"emission_axis_chi2", "curvature", "elastic_lines"} <= set(document)


def test_a_saved_emission_axis_is_the_one_a_map_makes_itself(
    beamtime: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = [str(path) for path in sorted(beamtime.glob("CCD Scan */*-AI.txt"))]
    shift = Shift(value=0.2, error=0.01, reference=531.0, position=530.8)
    shift.save(tmp_path / "shift.json")
    correction = ["--excitation", str(tmp_path / "shift.json")]
    axis = tmp_path / "axis.json"
    assert main(["--json", "calibrate", "emission", *scans, *correction, "-o", str(axis)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["excitation_shift"] == 0.2
    for name, options in (("own", []), ("saved", ["--emission", str(axis)])):
        assert main(["rixs", *scans, *correction, *options, "-o", str(tmp_path / f"{name}.nc")]) == 0
    own, saved = (beamline.open(tmp_path / f"{name}.nc") for name in ("own", "saved"))
    xr.testing.assert_equal(own, saved)
    assert own.attrs["calibrations"] == saved.attrs["calibrations"]


def test_two_points_make_no_emission_axis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instrument = simulate.Spectrograph(clipped=True)
    images = simulate.scan(energies=np.array([527.0, 527.4]), spectrograph=instrument, flux=3e8)
    scan = simulate.write_scan(tmp_path / "CCD Scan 1", images)
    code = main(["calibrate", "emission", str(scan), "-o", str(tmp_path / "axis.json")])
    assert code == 1
    assert "emission axis" in capsys.readouterr().err
    assert not (tmp_path / "axis.json").exists()


def test_a_file_that_is_no_scan_of_mrixs_is_named(tmp_path: Path) -> None:
    head = ("XDI/1.0", "Column.1: energy eV", "Column.2: mutrans", "Mono.d_spacing: 3.13", "---")
    path = tmp_path / "foil.xdi"
    rows = [f"{energy} {100 + energy % 7}" for energy in range(8300, 8400)]
    path.write_text("\n".join([*(f"# {line}" for line in head), *rows]) + "\n")
    with pytest.raises(SchemaError, match="is no mRIXS scan") as caught:
        rixs_command([path], tmp_path / "map.nc")
    assert caught.value.subject == str(path)


def test_saved_calibrations_are_used(tmp_path: Path) -> None:
    gain = Gain(gain=118.0, read_noise=4.0)
    gain.save(tmp_path / "gain.json")
    table = RixsMeasurement.model_validate(
        {"files": ["x"], "gain": "gain.json"}, context={"folder": tmp_path}
    )
    assert table.calibrations() == {"gain": gain}


def test_a_calibration_of_another_kind_is_refused(tmp_path: Path) -> None:
    Gain(gain=118.0, read_noise=4.0).save(tmp_path / "gain.json")
    with pytest.raises(CalibrationError, match="is a Gain, not a EmissionAxis"):
        load_calibrations({"emission": tmp_path / "gain.json"})


def test_a_window_upside_down_is_refused() -> None:
    with pytest.raises(ValidationError, match="lower energy first"):
        RixsMeasurement(files=["x"], window=(531.8, 530.6))


def test_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="matches no file"):
        recipe("rixs/sample", RixsMeasurement(files=["*-AI.txt"]), tmp_path)


def test_without_a_window_there_is_only_the_map(simulated_map: xr.Dataset) -> None:
    assert [leaf.path for leaf in with_window(simulated_map, None).leaves] == ["/map"]
