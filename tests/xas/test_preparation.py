from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
import calibration
import xas
from beamline import config
from beamline.errors import ConfigError
from xas import cli, simulate
from xas.preparation import PreparedMeasurement, with_parts_of_labels

from .test_measurement import write_xdi

BEAMTIME = '[beamtime]\nname = "made"\ntimezone = "UTC"\n\n[xas.ni]\nfiles = ["raw/*.xdi"]\nexafs = false\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two repeats of two states, a glitch in one of them."""
    (tmp_path / "raw").mkdir()
    for n, voltage in enumerate((3.0, 3.0, 4.5, 4.5)):
        scan = simulate.scan(n, 5e-4, drift=0.3 * n)
        moved = simulate.absorption(simulate.energy_axis(), 8345 + voltage - 3)
        scan["mu"] = scan["mu"] - simulate.absorption(simulate.energy_axis()) + moved
        if n == 1:
            scan["mu"][330] += 0.2
        write_xdi(tmp_path / f"raw/x_{voltage}V_{n % 2}.xdi", scan)
    return tmp_path


def steps(file: Path, text: str) -> list[str]:
    file.write_text(BEAMTIME + text)
    (measurement,) = config.load(file).measurements
    assert isinstance(measurement.config, PreparedMeasurement)
    return [step.function.__name__ for step in measurement.config.steps()]


def test_only_what_is_asked_for_is_done_and_in_order(folder: Path) -> None:
    file = folder / "beamtime.toml"
    assert steps(file, "") == ["align"]
    asked = 'merge = "all"\nfrom_label = "(?P<n>.)V"\n[xas.ni.rebin]\n[xas.ni.deglitch]\n[xas.ni.detectors]\n'
    assert steps(file, asked) == [
        *("sum_detectors", "deglitch", "rebin"),
        *("align", "with_parts_of_labels", "merge"),
    ]


@pytest.mark.filterwarnings("ignore:x_3.0V_1. 1 point")
def test_a_beamtime_is_prepared_and_merged(folder: Path) -> None:
    file = folder / "beamtime.toml"
    file.write_text(
        f'{BEAMTIME}merge = "_[0-9]$"\nfrom_label = "_(?P<voltage>[0-9.]+)V"\n[xas.ni.deglitch]\n'
    )
    (measurement,) = config.load(file).measurements
    assert isinstance(measurement.config, PreparedMeasurement)
    scans = _steps_of(file)
    assert scans["label"].values.tolist() == ["x_3.0V", "x_4.5V"]
    assert scans["voltage"].values.tolist() == [3.0, 4.5]
    assert scans["voltage"].attrs["units"] == "V"
    assert scans["repeats"].values.tolist() == [2, 2]
    assert float(np.diff(scans["edge_energy"])[0]) == pytest.approx(1.5, abs=0.06)
    history = dict.fromkeys(step["step"] for step in json.loads(scans.attrs["history"]))
    assert [name for name in history if name.startswith("xas")] == [
        *("xas.deglitch", "xas.align", "xas.merge", "xas.normalize", "xas.edge"),
    ]


def _steps_of(file: Path) -> xr.Dataset:
    from xas.measurement import XasMeasurement, recipe

    (measurement,) = config.load(file).measurements
    assert isinstance(measurement.config, XasMeasurement)
    made = recipe(measurement.place, measurement.config, file.parent)
    assert made.gather is not None
    value: Any = made.gather(
        [beamline.read(p, **made.read) for p in made.files], [p.name for p in made.files]
    )
    for step in made.then:
        value = step(value)
    assert isinstance(value, xr.Dataset)
    return value


@pytest.mark.filterwarnings("ignore:x_3.0V_1. 1 point")
def test_the_command_prepares_and_tells_of_the_repeats(folder: Path) -> None:
    files = sorted((folder / "raw").iterdir())
    outcome = cli.reduce(files, folder / "o.nc", deglitch=True, merge="_[0-9]$", exafs=False)
    assert outcome.document["repeats"] == [2, 2]
    assert outcome.text.splitlines()[0].endswith("repeats  chi2 of agreement  p of dose")
    assert 0.5 < outcome.document["agreement_chi2"][0] < 1.5
    with pytest.raises(ConfigError, match="--merge: '\\(' is no regular expression"):
        cli.reduce(files, folder / "o.nc", merge="(")


def test_a_monochromator_is_calibrated_for(folder: Path) -> None:
    foil = simulate.scan(0, 1e-4).assign_attrs(d_spacing=3.1356)
    foil["mu"] = foil["mu_ref"]
    record = calibration.mono.calibrate(foil, "Ni", largest=20)
    record.save(folder / "mono.json")
    files = sorted((folder / "raw").iterdir())
    plain = cli.reduce(files, folder / "a.nc", exafs=False).document["edge_energy"]
    moved = cli.reduce(files, folder / "b.nc", mono=folder / "mono.json", exafs=False).document["edge_energy"]
    expected = record.energy(np.array(plain)) - np.array(plain)
    np.testing.assert_allclose(np.subtract(moved, plain), expected, atol=0.01)
    (folder / "gain.json").write_text('{"record": "calibration.gain:Gain", "gain": 1.0, "read_noise": 1.0}')
    for name, problem in (("gain.json", "is a Gain, not a Monochromator"), ("raw", "which is a folder")):
        with pytest.raises(ConfigError, match=problem):
            cli.reduce(files, folder / "c.nc", mono=folder / name)


def test_a_partial_scan_has_a_status_and_no_bogus_number(folder: Path) -> None:
    scans = [simulate.scan(n, 5e-4, label=f"s{n}") for n in range(4)]
    scans[2] = scans[2].sel(energy=slice(None, 8355))
    out = xas.edge(xas.normalize(xas.align(scans)))
    assert str(out["alignment"].values[2]).startswith("partial: measured from")
    assert str(out["status"].values[2]).startswith("failed")
    assert np.isnan(out["edge_step"][2])
    assert np.isnan(out["edge_energy"][2])
    assert [str(s) for s in out["status"].values[[0, 1, 3]]] == ["ok"] * 3


def test_numbers_of_labels() -> None:
    scans = xas.align(
        [simulate.scan(n, label=label) for n, label in enumerate(("a_pristine", "a_4.5V"))], None
    )
    found = with_parts_of_labels(scans, "_(?P<voltage>[0-9.]+)V")
    np.testing.assert_array_equal(found["voltage"], [np.nan, 4.5])
    text = with_parts_of_labels(scans, "(?P<sample>.)_")
    assert text["sample"].values.tolist() == ["a", "a"]
    wrong = {"_[0-9]": "names no group", "(?P<n>x)": "none of the labels"}
    for pattern, problem in wrong.items():
        with pytest.raises(ConfigError, match=problem):
            with_parts_of_labels(scans, pattern)


@pytest.mark.filterwarnings("ignore:x_3.0V_1. 1 point")
def test_what_was_prepared_can_be_made_again(folder: Path) -> None:
    from xas.measurement import collect

    foil = simulate.scan(0, 1e-4).assign_attrs(d_spacing=3.1356)
    foil["mu"] = foil["mu_ref"]
    record = calibration.mono.calibrate(foil, "Ni", largest=20)
    files = sorted((folder / "raw").iterdir())
    tree = collect([beamline.read(file) for file in files], [file.name for file in files])
    prepared: Any = calibration.mono.apply(xas.rebin(xas.deglitch(tree)), record)
    merged = xas.merge(xas.align(prepared, along="angle", d_spacing=3.1356), by="_[0-9]$")
    beamline.save(merged, folder / "merged.nc")
    again = beamline.replay(beamline.open(folder / "merged.nc"), search=[folder])
    assert isinstance(again.result, xr.Dataset)
    np.testing.assert_array_equal(again.result["mu"], merged["mu"])
