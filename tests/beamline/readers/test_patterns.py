"""Powder patterns in text: the axis, the errors, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import beamline
from beamline.errors import DataFileError
from tests.beamline.readers import files

ROWS = "1.0 10 3\n1.5 20 4\n2.0 30 5\n"


def read(tmp_path: Path, name: str, content: str | bytes, **options: Any) -> xr.Dataset:
    ds = beamline.read(files.write(tmp_path / name, content), kind="xrd.patterns", **options)
    assert isinstance(ds, xr.Dataset)
    return ds


def test_xye_is_two_theta_intensity_and_error(tmp_path: Path) -> None:
    ds = read(tmp_path, "a.xye", ROWS)
    assert ds.intensity.dims == ("frame", "two_theta")
    np.testing.assert_array_equal(ds.two_theta, [1.0, 1.5, 2.0])
    np.testing.assert_array_equal(ds.intensity[0], [10, 20, 30])
    np.testing.assert_array_equal(ds.intensity_errors[0], [3, 4, 5])
    assert ds.two_theta.attrs["units"] == "deg"


def test_no_errors_are_invented(tmp_path: Path) -> None:
    assert "intensity_errors" not in read(tmp_path, "a.xy", "1 10\n2 20\n")


def test_a_point_without_error_was_not_measured(tmp_path: Path) -> None:
    ds = read(tmp_path, "a.xye", "1 10 3\n2 0 0\n3 5 -1\n4 6 nan\n5 7 2\n")
    np.testing.assert_array_equal(np.isnan(ds.intensity[0]), [False, True, True, True, False])
    np.testing.assert_array_equal(np.isnan(ds.intensity_errors[0]), [False, True, True, True, False])
    assert ds.attrs["masked_points"] == 3


@pytest.mark.parametrize(
    ("label", "factor"), [("# 2th_deg\t I", 1.0), ("# 2th_rad I", 180 / np.pi), ("# Two theta, I, s", 1.0)]
)
def test_labels_name_two_theta(tmp_path: Path, label: str, factor: float) -> None:
    ds = read(tmp_path, "a.dat", f"# Mask applied: None\n{label}\n" + ROWS)
    np.testing.assert_allclose(ds.two_theta, np.array([1.0, 1.5, 2.0]) * factor)


@pytest.mark.parametrize(("label", "scale"), [("# q_A^-1 I", 1.0), ("# q_nm^-1 I", 10.0)])
def test_q_becomes_two_theta(tmp_path: Path, label: str, scale: float) -> None:
    two_theta = np.array([1.0, 5.0, 20.0])
    q = 4 * np.pi * np.sin(np.radians(two_theta / 2)) / 0.1173 * scale
    rows = "".join(f"{value:.12f} 1\n" for value in q)
    ds = read(tmp_path, "a.dat", f"{label}\n{rows}", wavelength=0.1173)
    np.testing.assert_allclose(ds.two_theta, two_theta, rtol=1e-10)
    with pytest.raises(DataFileError, match="wavelength is not known"):
        read(tmp_path, "b.dat", f"{label}\n{rows}")
    ds = read(tmp_path, "c.dat", f"# Wavelength: 1.173e-11 m\n{label}\n{rows}")
    np.testing.assert_allclose(ds.two_theta, two_theta, rtol=1e-10)


def test_q_beyond_backscattering_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="beyond"):
        read(tmp_path, "a.dat", "# q_A^-1 I\n1 1\n20 1\n", wavelength=1.0)


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.dat", ROWS, "first column"),
        ("a.dat", "# 2theta from 1 to 3 deg\n# q I\n" + ROWS, "unit of its q"),
        ("a.dat", "# 2theta range\n# q_A^-1 range\n# columns\n" + ROWS, "several axes"),
        ("a.chi", "# k chi\n" + ROWS, "not a pattern"),
        ("a.xy", "# r_mm I\n1 2\n", "not a pattern"),
        ("a.xy", "# energy mu\n7100 2\n7101 3\n", "not a pattern"),
        ("a.xy", "7100 2\n7101 3\n", "not a scattering angle"),
        ("a.xye", "1 2 3\n2 3 4\n2 4 5\n", "turns or repeats at point 3"),
        ("a.xye", "1 2 3\nnan 3 4\n3 4 5\n", "gaps"),
        ("a.xye", "1 2 3\n2 inf 4\n", "infinite"),
        ("a.xye", "1 2 0\n2 3 0\n", "no point with a positive error"),
        ("a.xye", "1 2 3 4\n2 3 4 5\n", "4 columns"),
        ("a.xye", "1 2 3\n2 3\n", "line 2 has 2 columns"),
        ("a.xye", "1 2 3\n2 3 what\n", "line 2 is not a row"),
        ("a.xye", "no numbers\n", "no numbers"),
    ],
)
def test_refused(tmp_path: Path, name: str, content: str, cause: str) -> None:
    with pytest.raises(DataFileError, match=cause) as caught:
        read(tmp_path, name, content)
    assert name in caught.value.subject


def test_an_unlabelled_dat_is_what_the_caller_says(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, "a.dat", ROWS, axis="two_theta").two_theta, [1, 1.5, 2])


def test_descending_axes_are_kept(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, "a.xy", "3 1\n2 2\n1 3\n").two_theta, [3, 2, 1])


CHI = "ceo2.tif\n2-Theta Angle (Degrees)\nIntensity\n       3\n  1.0E+00  1.0E+01\n  2.0 20\n  3.0 30\n"


def test_chi_of_fit2d(tmp_path: Path) -> None:
    ds = read(tmp_path, "a.chi", CHI)
    np.testing.assert_array_equal(ds.intensity[0], [10, 20, 30])
    ds = read(tmp_path, "b.chi", CHI.replace("2-Theta Angle (Degrees)", "Q (nm^-1)"), wavelength=1.0)
    np.testing.assert_allclose(ds.two_theta[0], 2 * np.degrees(np.arcsin(0.1 / (4 * np.pi))))


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("2-Theta Angle (Degrees)", "Azimuth (Degrees)", "not over 2θ"),
        ("       3\n", "       4\n", "3 whole points, its header states 4"),
        ("       3\n", "", "not a .chi file"),
    ],
)
def test_other_chi_is_refused(tmp_path: Path, old: str, new: str, cause: str) -> None:
    with pytest.raises(DataFileError, match=cause):
        read(tmp_path, "a.chi", CHI.replace(old, new))


def test_gsas_fxye_is_in_centidegrees(tmp_path: Path) -> None:
    content = "title\r\n# Temp (K) = 300\r\nBANK 1 2 2 CONS 50.0 0.2 0 0 FXYE\r\n50.0 7 2\r\n50.2 9 3\r\n"
    ds = read(tmp_path, "a.fxye", content)
    np.testing.assert_allclose(ds.two_theta, [0.5, 0.502])
    np.testing.assert_array_equal(ds.intensity_errors[0], [2, 3])
    assert float(ds.temperature[0]) == pytest.approx(26.85)


def test_gsas_std_counts_have_the_errors_of_their_mean(tmp_path: Path) -> None:
    content = "title\nBANK 1 4 1 CONST 1000 2.5 0 0 STD\n     100 4   100       0      25     999\n"
    ds = read(tmp_path, "a.xra", content)
    np.testing.assert_allclose(ds.two_theta, [10.0, 10.025, 10.05, 10.075])
    np.testing.assert_array_equal(ds.intensity[0], [100, 100, 0, 25])
    np.testing.assert_allclose(ds.intensity_errors[0], [10, 5, 1, 5])


def test_gsas_esd_pairs(tmp_path: Path) -> None:
    content = "title\nBANK 1 2 1 CONST 1000 10 0 0 ESD\n   100.0     2.0    50.0     0.0\n"
    ds = read(tmp_path, "a.gsa", content)
    assert float(ds.intensity_errors[0, 0]) == 2.0
    assert np.isnan(ds.intensity[0, 1])


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("BANK 1 2 2", "BANK 1 3 3", "2 whole points, its header states 3"),
        ("CONS", "SLOG", "binning SLOG"),
        ("FXYE", "ALT", "type ALT"),
        ("50.2 9 3", "50.2 9 3\nBANK 2 1 1 CONS 1 1 0 0 FXYE\n1 2 3", "2 banks"),
    ],
)
def test_other_gsas_files_are_refused(tmp_path: Path, old: str, new: str, cause: str) -> None:
    content = "title\nBANK 1 2 2 CONS 50.0 0.2 0 0 FXYE\n50.0 7 2\n50.2 9 3\n"
    with pytest.raises(DataFileError, match=cause):
        read(tmp_path, "a.fxye", content.replace(old, new))


def test_a_bank_can_be_chosen(tmp_path: Path) -> None:
    one = "BANK {} 1 1 CONS 100 1 0 0 FXYE\n100 {} 1\n"
    ds = read(tmp_path, "a.fxye", "title\n" + one.format(1, 5) + one.format(2, 6), bank=2)
    assert float(ds.intensity[0, 0]) == 6


def test_several_patterns_are_frames_of_one(tmp_path: Path) -> None:
    paths = [files.write(tmp_path / f"{i}.xye", ROWS.replace("10", str(i + 1))) for i in range(3)]
    ds = beamline.read(paths)
    np.testing.assert_array_equal(ds.intensity[:, 0], [1, 2, 3])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    x=st.lists(st.floats(0, 179), min_size=2, max_size=9, unique=True).map(sorted),
    scale=st.floats(1e-3, 1e6),
    separator=st.sampled_from([" ", "\t", "  ", ", "]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
)
def test_any_layout_of_a_table_gives_its_numbers(
    tmp_path: Path, x: list[float], scale: float, separator: str, end: str, encoding: str
) -> None:
    lines = ["# Größe"] + [separator.join(map(repr, (v, scale * (i + 1), scale))) for i, v in enumerate(x)]
    ds = read(tmp_path, "a.xye", (end.join(lines) + end).encode(encoding))
    np.testing.assert_array_equal(ds.two_theta, x)
    np.testing.assert_array_equal(ds.intensity_errors[0], np.full(len(x), scale))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=1, max_size=200), suffix=st.sampled_from([".xye", ".chi", ".fxye", ".dat"]))
def test_any_bytes_are_read_or_refused_by_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = files.write(tmp_path / f"a{suffix}", content)
    assert files.reads_or_refuses(path, kind="xrd.patterns")
