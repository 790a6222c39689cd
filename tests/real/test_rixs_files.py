"""Every file of the folder rixs of the shared data has an expected outcome."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import xarray as xr

import beamline
from beamline.errors import DataFileError

# Pattern of the path below rixs/, and what reading it gives: a kind with its sizes, or the sentence that
# refuses it.
OUTCOMES: list[tuple[str, str, dict[str, int]]] = [
    (r".*CCD Scan 17174/.*-AI\.txt", "images", {"frame": 48, "y": 64, "x": 2048}),
    (r".*CCD Scan 16497/.*-AI\.txt", "images", {"frame": 3, "y": 64, "x": 2048}),
    (r".*CCD Scan 16498/.*-AI\.txt", "images", {"frame": 2, "y": 64, "x": 2048}),
    (r".*CCD Scan 16500/.*-AI\.txt", "images", {"frame": 1, "y": 64, "x": 2048}),
    (r".*CCD Scan 70(15|18)/.*-AI\.txt", "rixs.spectra", {"frame": 1, "pixel": 2048}),
    (r".*-[12]D\.txt", "is one exposure of an iRIXS scan", {}),
    (r".*/Andor/.*\.tif", "images", {"frame": 1, "y": 64, "x": 2048}),
    (r".*/SigScan74346\.txt", "xas.scans", {"energy": 76}),
    (r".*/SigScan74381\.txt", "xas.scans", {"energy": 31}),
    (r".*/SigScan74382\.txt", "xas.scans", {"energy": 81}),
    (r".*/SigScan75324\.txt", "xas.scans", {"energy": 76}),
    (r".*/SigScan75325-(0001|Sum)\.txt", "xas.scans", {"energy": 91}),
    (r".*/channelsToEnergies\+\+\.txt", "has no column of energy", {}),
    (r"sls_adress/LSCO_0040\.TIF", "images", {"frame": 1, "y": 751, "x": 2048}),
    (r"sls_adress/Co_0613_d1\.h5", "rixs.spectra", {"frame": 1, "pixel": 3200}),
]


def test_every_file_is_read_as_expected_or_refused_in_a_sentence(data_dir: Path) -> None:
    root = data_dir / "rixs"
    files = sorted(file for file in root.rglob("*") if file.is_file())
    assert len(files) == 126
    for file in files:
        name = file.relative_to(root).as_posix()
        expected = [(what, sizes) for pattern, what, sizes in OUTCOMES if re.fullmatch(pattern, name)]
        assert len(expected) == 1, name
        what, sizes = expected[0]
        if sizes:
            data = beamline.read(file)
            assert isinstance(data, xr.Dataset)
            assert data.attrs["kind"] == what, name
            assert dict(data.sizes) == sizes, name
        else:
            with pytest.raises(DataFileError, match=what) as refusal:
                beamline.read(file)
            assert file.name in str(refusal.value)


def test_folders_of_scans_are_read(data_dir: Path) -> None:
    irixs = data_dir / "rixs" / "als_bl801_irixs" / "irixs"
    kinds = {f.name: beamline.read(f).attrs["kind"] for f in sorted(irixs.glob("*/CCD Scan *"))}
    assert kinds == {
        "CCD Scan 16497": "images",
        "CCD Scan 16498": "images",
        "CCD Scan 16500": "images",
        "CCD Scan 17174": "images",
        "CCD Scan 7015": "rixs.spectra",
        "CCD Scan 7018": "rixs.spectra",
    }


def test_files_of_adress_know_their_energies(data_dir: Path) -> None:
    image = beamline.read(data_dir / "rixs/sls_adress/LSCO_0040.TIF")
    assert float(image["excitation_energy"][0]) == 929.830627921
    assert float(image["exposure"][0]) == 300.4
    events = beamline.read(data_dir / "rixs/sls_adress/Co_0613_d1.h5")
    assert float(events["excitation_energy"][0]) == pytest.approx(775.498, abs=0.01)
    assert events.attrs["spectrum"] == "as stored, and the histogram of the events"
    assert (events.attrs["events"], float(events["intensity"].sum())) == (4140, 4140.0)
    # The current is negative in 89 of 100 images, and its mean is nothing against its scatter.
    assert "cannot be told from zero" in events.attrs["i0_missing"]
    assert events.attrs["CountPerPhoton"] == pytest.approx(67.788, abs=0.001)
