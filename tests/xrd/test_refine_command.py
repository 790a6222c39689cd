from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import beamline
from beamline import cli
from tests.xrd import refinement_files as files
from xrd.refine_cli import with_error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("refine")
    files.write_model(path)
    files.write_patterns(path)
    return path


def command(folder: Path, *more: Any, patterns: tuple[str, ...] = ("p_0.xye",)) -> list[str]:
    words = [
        "refine",
        *(str(folder / name) for name in patterns),
        "--background",
        "2",
        "--limits",
        "1.2",
        "6",
    ]
    words += ["--phase", str(folder / "layered.cif"), "--instrument", str(folder / "11idc.instprm")]
    return [*words, *map(str, more)]


def test_a_series_is_refined(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.nc"
    names = ("p_0.xye", "p_1.xye", "p_2.xye")
    assert cli.main(command(folder, "--start", "layered/scale=0.4", "-o", out, patterns=names)) == 0
    series: Any = beamline.open(out)
    truth = np.array(files.CELLS)
    for column, name in enumerate(("a", "c")):
        off = (series[name].values[:, 0] - truth[:, column]) / series[f"{name}_errors"].values[:, 0]
        assert np.abs(off).max() < 4
    assert np.abs(series["gof"].values - 1).max() < 0.1
    said = capsys.readouterr().out
    head, *rows, last = said.splitlines()
    assert " ".join(head.split()) == "pattern phase a c volume Rwp / % GOF status"
    assert [row.split()[0] for row in rows] == list(names)
    assert rows[0].split()[2].startswith("2.87")
    assert last == f"wrote {out}"


def test_programs_get_every_parameter(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.nc"
    more = (
        "--free",
        "zero",
        "--fix",
        "layered/size",
        "--start",
        "layered/size=0.2",
        "--exclude",
        "5.0:5.2",
        "--exclude",
        "5.5:5.6",
    )
    assert cli.main(command(folder, "--json", *more, "-o", out)) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["result"] == str(out)
    (fit,) = document["fits"]
    assert "zero" in fit["parameters"]
    assert "layered/size" not in fit["parameters"]
    value, error = fit["parameters"]["layered/a"]
    assert abs(value - 2.872) < 5 * error
    series: Any = beamline.open(out)
    x, calculated = series["two_theta"].values, series["calculated"].values[0]
    left_out = ((x >= 5.0) & (x <= 5.2)) | ((x >= 5.5) & (x <= 5.6))
    assert np.isnan(calculated[left_out]).all()
    assert np.isfinite(calculated[~left_out]).all()


def test_patterns_of_a_result_are_refined(folder: Path, tmp_path: Path) -> None:
    beamline.save(beamline.read(folder / "p_1.xye"), tmp_path / "patterns.nc")
    words = command(tmp_path, "-o", tmp_path / "out.nc", patterns=("patterns.nc",))
    words = [word.replace(f"{tmp_path}/layered", f"{folder}/layered") for word in words]
    words = [word.replace(f"{tmp_path}/11idc", f"{folder}/11idc") for word in words]
    assert cli.main([*words, "--no-curves", "--start", "layered/a=2.868"]) == 0
    series: Any = beamline.open(tmp_path / "out.nc")
    assert "calculated" not in series
    assert abs(float(series["a"][0, 0]) - files.CELLS[1][0]) < 5 * float(series["a_errors"][0, 0])


def _replaced(words: list[str], option: str, value: str) -> list[str]:
    at = words.index(option)
    return [*words[: at + 1], value, *words[at + 2 :]]


def test_bad_input_is_one_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out.nc")
    good = command(folder, "-o", out)
    (tmp_path / "no_errors.xy").write_text("".join(f"{x:.3f} 100\n" for x in np.linspace(1, 6, 50)))
    unsaid = tmp_path / "unsaid.instprm"
    unsaid.write_text(files.INSTPRM.replace("Lam:0.1173\n", ""))
    other = tmp_path / "other.instprm"
    other.write_text(files.INSTPRM.replace("0.1173", "0.24"))
    narrow = [*good[:4], "--limits", "40", "50", *good[7:]]
    cases = {
        "gone.cif: is missing; give the CIF of a phase": _replaced(
            good, "--phase", str(tmp_path / "gone.cif")
        ),
        "no_errors.xy: has no errors": ["refine", str(tmp_path / "no_errors.xy"), *good[2:]],
        "points from 40 to 50 deg": narrow,
        "unsaid.instprm: lacks": _replaced(good, "--instrument", str(unsaid)),
        "--output: is out.txt": _replaced(good, "-o", "out.txt"),
        "--exclude: is 'five'": [*good, "--exclude", "five"],
        "--start: is 'layered/a'": [*good, "--start", "layered/a"],
        "--gpx: is out.nc": [*good, "--gpx", "out.nc"],
        "'layered/b' does not exist": [*good, "--free", "layered/b"],
        "engine 'topas' does not exist": [*good, "--engine", "topas"],
        "le_bail spinel: is no phase": [*good, "--le-bail", "spinel"],
    }
    for sentence, words in cases.items():
        assert cli.main(words) in (1, 2)
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        assert sentence.replace(" does", ": does") in said or sentence in said
    assert not Path(out).exists()


def test_a_result_of_something_else_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.nc"
    assert cli.main(command(folder, "-o", out)) == 0
    words = command(folder, "-o", tmp_path / "again.nc")
    assert cli.main([words[0], str(out), *words[2:]]) == 1
    assert "holds 0 Datasets of patterns" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (2.872026, 2.38e-5, "2.87203(2)"),
        (14.22985, 1.9e-4, "14.22985(19)"),
        (101.6501, 0.00172, "101.6501(17)"),
        (0.97, 0.2, "1.0(2)"),
        (1234.5, 12.0, "1234(12)"),
        (90.0, float("nan"), "90"),
        (float("nan"), float("nan"), ""),
    ],
)
def test_numbers_carry_their_errors(value: float, error: float, text: str) -> None:
    assert with_error(value, error) == text
