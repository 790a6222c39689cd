"""The commands ``redoxlight calibrate ...``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import beamline
from beamline import tiff_files
from beamline.cli import main
from calibration.gain import Gain
from calibration.geometry import Geometry, load
from calibration.instrument import Instrument
from calibration.records import load_record
from tests.calibration.test_instrument_calibration import PANEL, pattern
from tests.calibration.test_photon_transfer import panel
from tests.calibration.test_ring_calibration import detector, image

CERIA = ["--wavelength", "0.2413", "--pixel-size", "500e-6"]


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "ceria.tif"
    path.write_bytes(tiff_files.encode(image(detector())))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any], str]:
    code = main(["--json", *map(str, arguments)])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def test_a_geometry_is_found_saved_and_judged(
    frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document, _ = run(
        capsys,
        "calibrate",
        "geometry",
        frame,
        *CERIA,
        "-o",
        tmp_path / "g.json",
        "--figure",
        tmp_path / "g.png",
    )
    assert code == 0
    ours = load(tmp_path / "g.json")
    assert ours.distance == document["distance"] == pytest.approx(0.45, rel=1e-3)
    assert ours.covariance is not None
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
    ours.save(tmp_path / "g.poni")
    code, document, _ = run(capsys, "calibrate", "geometry", frame, "--judge", tmp_path / "g.poni")
    assert code == 0
    assert document["residual_px"] < 0.1
    turned = Geometry(*ours.detector, 0.0, ours.wavelength, ours.pixel_size, ours.shape, 2, "CeO2")
    turned.save(tmp_path / "turned.poni")
    code, document, _ = run(capsys, "calibrate", "geometry", frame, "--judge", tmp_path / "turned.poni")
    assert code == 1
    assert "in orientation 3" in document["error"]["message"]


def test_a_geometry_is_judged_by_the_calibrant_that_is_named(
    frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector().save(tmp_path / "g.poni")
    words = ["calibrate", "geometry", frame, "--judge", tmp_path / "g.poni"]
    assert run(capsys, *words, "--calibrant", "CeO2")[0] == 0
    code, document, _ = run(capsys, *words, "--calibrant", "LaB6")
    assert code == 1
    assert "rings of LaB6" in document["error"]["message"]


def test_several_images_of_one_place_are_summed(
    frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.tif"
    other.write_bytes(frame.read_bytes())
    code, document, _ = run(capsys, "calibrate", "geometry", frame, other, *CERIA, "-o", tmp_path / "g.json")
    assert code == 0
    assert document["distance"] == pytest.approx(0.45, rel=1e-3)
    other.write_bytes(tiff_files.encode(image(detector())[:300]))
    code, document, _ = run(capsys, "calibrate", "geometry", frame, other, *CERIA, "-o", tmp_path / "g.json")
    assert code == 1
    assert "other.tif: has 300 along 'y'" in document["error"]["message"]


def test_it_is_told_in_words(frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "geometry", str(frame), *CERIA, "-o", str(tmp_path / "g.poni")]) == 0
    said = capsys.readouterr().out
    for word in ("distance:", "±", "centre:", "tilt:", "mdeg", "confidence"):
        assert word in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--output: is needed"),
        (["-o", "x.poni", "--refine-wavelength"], "needs several distances"),
        (["-o", "x.poni", "--increment", "0", "--increment", "0.1"], "given 2 times for 1 images"),
        (["-o", "x.poni", "--increment", "0", "--guess", "x.poni"], "one distance only"),
    ],
)
def test_wrong_commands_are_refused(
    arguments: list[str], said: str, frame: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document, _ = run(capsys, "calibrate", "geometry", frame, *CERIA, *arguments)
    assert code == 2
    assert said in document["error"]["message"]


def test_the_gain_of_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames, dark = panel(0, frames=4, size=200)
    paths: dict[str, list[Path]] = {"light": [], "dark": []}
    for name, series in (("light", frames), ("dark", dark)):
        for number, one in enumerate(series):
            path = tmp_path / f"{name}_{number}.tif"
            path.write_bytes(tiff_files.encode(one))
            paths[name].append(path)
    darks = [word for path in paths["dark"] for word in ("--dark", path)]
    mask = np.zeros(frames.shape[1:], dtype=bool)
    mask[:10] = True
    np.save(tmp_path / "mask.npy", mask)
    words = ["calibrate", "gain", *paths["light"], *darks, "-o", tmp_path / "gain.json"]
    code, document, _ = run(capsys, *words, "--mask", tmp_path / "mask.npy")
    assert code == 0
    masked = document["gain"]
    code, document, _ = run(capsys, *words)
    assert code == 0
    assert masked != document["gain"] == pytest.approx(masked, rel=0.1)
    found = load_record(tmp_path / "gain.json")
    assert isinstance(found, Gain)
    assert document["gain"] == found.gain == pytest.approx(20.0, abs=4 * found.gain_errors)


def test_an_instrument_is_found_and_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ds = pattern(PANEL)
    for name in ("intensity", "intensity_errors"):
        ds[name].attrs["units"] = "count"
    ds["two_theta"].attrs["units"] = "deg"
    beamline.save(beamline.model.with_defaults(ds, "xrd.patterns"), tmp_path / "ceria.nc")
    code, document, _ = run(
        capsys, "calibrate", "instrument", tmp_path / "ceria.nc", "--fix", "SHL", "-o", tmp_path / "x.instprm"
    )
    assert code == 0
    assert pytest.approx(document["W"]) == Instrument.from_instprm(tmp_path / "x.instprm").W
    record = load_record(tmp_path / "x.json")
    assert isinstance(record, Instrument)
    assert record.errors()["W"] > 0
    code, document, _ = run(
        capsys, "calibrate", "instrument", tmp_path / "ceria.nc", "--fix", "Q", "-o", tmp_path / "x.instprm"
    )
    assert code == 2
    assert "--fix: names Q" in document["error"]["message"]


def test_the_excitation_axis_of_a_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    energy = np.arange(525.0, 545.0, 0.05)
    edge = 0.5 + np.arctan((energy - 530.0) / 0.4) / np.pi
    mu = (
        edge
        + 1.2 * np.exp(-0.5 * ((energy - 531.4) / 0.5) ** 2)
        + np.exp(-0.5 * ((energy - 534.0) / 0.7) ** 2)
    )
    path = tmp_path / "tio2.xdi"
    rows = "\n".join(f"{e:.3f} {m:.6f}" for e, m in zip(energy, mu, strict=True))
    path.write_text(
        "# XDI/1.0\n# Element.symbol: O\n# Element.edge: K\n# Column.1: energy eV\n# Column.2: mutrans\n"
        f"# ---\n# energy mutrans\n{rows}\n"
    )
    code, document, _ = run(capsys, "calibrate", "excitation", path, "-o", tmp_path / "shift.json")
    assert code == 0
    assert document["value"] == pytest.approx(-0.4, abs=0.05)


def test_the_family_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--help"]) == 0
    said = capsys.readouterr().out
    for command in ("geometry", "instrument", "gain", "excitation"):
        assert command in said
    assert main(["calibrate", "beauty"]) == 2
