"""Every shared image and pattern is read, or refused for the reason stated here.

The expected numbers were not made with this project: pixels are taken from the files at their known offsets,
packed images through fabio, patterns through a plain split of the lines.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline.errors import DataFileError


def read(path: Path | list[Path], **options: Any) -> xr.Dataset:
    ds = beamline.read(path, **options)
    assert isinstance(ds, xr.Dataset)
    return ds


# file: (offset of the pixels, type, rows, columns)
PLAIN = {
    "pilatus1m_dioptas/CeO2_Pilatus1M.tif": (4096, "<i4", 1043, 981),
    "pilatus1m_bccfe/CeO2_Pil207_E30_2Nov2016_001.tif": (4096, "<i4", 1043, 981),
    "pixium_i12/pixium_03150.tif": (8, "<u2", 1441, 1440),
    "pixium_i12/pixium_03151.tif": (8, "<u2", 1441, 1440),
    **{f"pilatus1m_bccfe/BCC1_2GPa_10s_001_{i:05d}.tif": (4096, "<i4", 1043, 981) for i in range(1, 6)},
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_images(name: str, data_dir: Path) -> None:
    offset, dtype, rows, columns = PLAIN[name]
    path = data_dir / "xrd2d" / name
    raw = path.read_bytes()
    expected = np.frombuffer(raw, dtype, rows * columns, offset).reshape(rows, columns)
    ds = read(path)
    assert ds.counts.shape == (1, rows, columns)
    assert ds.counts.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(ds.counts[0], expected)


# file: (type, rows, columns, sum)
PACKED = {
    "mar345_steel/nx09_strain_011.mar2300": ("uint32", 2300, 2300, 487756829),
    "pilatus1m_bccfe/DiffractionMask_Dioptas.mask": ("uint32", 1043, 981, 195533),
    "pixium_i12/DLS_CeO2_1200mm.mask": ("uint32", 1441, 1440, 30627),
}


@pytest.mark.parametrize("name", PACKED)
def test_packed_images(name: str, data_dir: Path) -> None:
    fabio = pytest.importorskip("fabio")
    dtype, rows, columns, total = PACKED[name]
    ds = read(data_dir / "xrd2d" / name)
    assert (ds.counts.shape, str(ds.counts.dtype)) == ((1, rows, columns), dtype)
    assert int(ds.counts.sum()) == total
    with fabio.open(str(data_dir / "xrd2d" / name)) as image:
        np.testing.assert_array_equal(ds.counts[0], image.data)


def test_what_the_headers_say(data_dir: Path) -> None:
    pilatus = read(data_dir / "xrd2d/pilatus1m_bccfe/BCC1_2GPa_10s_001_00003.tif", timezone="America/Chicago")
    assert pilatus.attrs["detector"] == "PILATUS 1M-F"
    assert pilatus.counts.attrs["units"] == "count"
    assert int(pilatus.counts.min()) == -2
    assert float(pilatus.exposure[0]) == 0.4
    assert pilatus.time.values[0] == np.datetime64("2016-11-03T02:58:13.200")
    flat = read(data_dir / "xrd2d/pixium_i12/pixium_03150.tif")
    assert flat.counts.attrs["units"] == "ADU"
    assert flat.timestamp.values[0] == np.datetime64("2017-02-25T10:43:47.913139")
    plate = read(data_dir / "xrd2d/mar345_steel/nx09_strain_011.mar2300")
    assert float(plate.exposure[0]) == 60
    assert plate.attrs["x_pixel_size"] == pytest.approx(150e-6)
    assert '"wavelength": 0.12398' in plate.attrs["imctrl"]


def test_a_sequence_becomes_frames(data_dir: Path) -> None:
    paths = sorted((data_dir / "xrd2d/pilatus1m_bccfe").glob("BCC1*.tif"))
    ds = read(paths)
    assert ds.counts.shape == (5, 1043, 981)
    assert [int(n) for n in ds.counts.sum(("y", "x"))] == [8205963, 8223210, 8203294, 8187704, 8180216]


PATTERNS = {
    "xrd2d/pilatus1m_dioptas/CeO2_Pilatus1M.xy": 1512,
    "xrd2d/mar345_steel/nx09_strain_011_gsas2.xye": 2500,
}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(name: str, data_dir: Path) -> None:
    lines = [line for line in (data_dir / name).read_text().splitlines() if not line.startswith("#")]
    expected = np.array([[float(word) for word in line.split()] for line in lines])
    ds = read(data_dir / name)
    assert ds.sizes["two_theta"] == PATTERNS[name] == len(expected)
    np.testing.assert_array_equal(ds.two_theta, expected[:, 0])
    np.testing.assert_array_equal(ds.intensity[0], expected[:, 1])
    assert ("intensity_errors" in ds) == (expected.shape[1] == 3)


@pytest.mark.parametrize(
    ("folder", "number", "points"),
    [("ncm_cycling", 100, 3000), ("ncm_cycling_hard", 40, 3000), ("ncm_heating", 40, 3500)],
)
def test_series_of_patterns(folder: str, number: int, points: int, data_dir: Path) -> None:
    paths = sorted((data_dir / "xrd1d" / folder).glob("*.xye"))
    ds = read(paths)
    assert ds.intensity.shape == (number, points)
    expected = np.stack([np.loadtxt(path) for path in (paths[0], paths[-1])])
    np.testing.assert_array_equal(ds.intensity[[0, -1]], expected[:, :, 1])
    np.testing.assert_array_equal(ds.intensity_errors[[0, -1]], expected[:, :, 2])


def test_patterns_of_gsas_from_the_tutorial(data_dir: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(data_dir / "xrd1d/SeqTut.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".fxye"))
        archive.extractall(tmp_path, names)
    assert len(names) == 17
    for name in names:
        content = (tmp_path / name).read_text().split("FXYE")[1]
        expected = np.array([[float(word) for word in line.split()] for line in content.splitlines()[1:]])
        ds = read(tmp_path / name)
        np.testing.assert_allclose(ds.two_theta, expected[:, 0] / 100, rtol=0, atol=1e-12)
        good = expected[:, 2] > 0
        np.testing.assert_array_equal(ds.intensity[0, good], expected[good, 1])
        np.testing.assert_array_equal(ds.intensity_errors[0, good], expected[good, 2])
        assert int(ds.attrs.get("masked_points", 0)) == int((~good).sum())
        assert ds.attrs["wavelength"] == pytest.approx(0.4132, abs=1e-3)
    assert float(read(tmp_path / "OH_00.fxye").temperature[0]) == pytest.approx(6.778 - 273.15)


def test_counts_of_a_laboratory(data_dir: Path) -> None:
    ds = read(data_dir / "xrd1d/pbso4/PBSO4.XRA")
    words = " ".join((data_dir / "xrd1d/pbso4/PBSO4.XRA").read_text().splitlines()[2:]).split()[:6001]
    expected = np.array(words, dtype=float)
    np.testing.assert_array_equal(ds.intensity[0], expected)
    np.testing.assert_allclose(ds.intensity_errors[0], np.sqrt(expected))
    np.testing.assert_allclose(ds.two_theta[[0, -1]], [10, 160])


REFUSED = {
    "corrupt/hang_truncated.cbf": "truncated",
    "corrupt/xas_foreign/nonuniform.chi": "not a pattern over 2θ",
    "corrupt/xas_foreign/kev.dat": "not a pattern over 2θ",
    "corrupt/xas_foreign/zbroken.dat": "not a pattern over 2θ",
    "corrupt/xas_foreign/generic_columns_no_header.dat": "first column",
    "corrupt/xas_foreign/PF9A_2022.dat": "line 16 is not a row",
    "rixs/sls_adress/Co_0613_d1.h5": "is empty",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, data_dir: Path) -> None:
    kind = "images" if name.endswith((".cbf", ".h5")) else "xrd.patterns"
    with pytest.raises(DataFileError, match=REFUSED[name]) as caught:
        beamline.read(data_dir / name, kind=kind)
    assert caught.value.subject == str(data_dir / name)


def test_the_tables_name_every_file(data_dir: Path) -> None:
    """A file that is added to the shared data must be added here."""
    suffixes = {".tif", ".mask", ".mar2300", ".xy", ".xye"}
    found = {
        str(path.relative_to(data_dir / "xrd2d"))
        for path in (data_dir / "xrd2d").rglob("*")
        if path.suffix in suffixes
    }
    assert found == {*PLAIN, *PACKED, *(name.removeprefix("xrd2d/") for name in PATTERNS)}
