"""What `process` makes of real measurements is made again, byte by byte, from a copy of the raw files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import beamline

# NiO.prj holds one scan twice, which the reader says
pytestmark = pytest.mark.filterwarnings("ignore:.*of the same measurement the first is kept")

MEASUREMENTS = {
    "frames": (
        ["xrd2d/pilatus1m_bccfe/BCC1_2GPa_10s_001_0000[12].tif"],
        '[xrd.m]\nfiles = ["{files}"]\ngeometry = "{data}/xrd2d/pilatus1m_bccfe/CeO2_cal_Dioptas.poni"\n'
        "orientation = 2\nbins = 300\n",
    ),
    "frames and channels": (
        ["xrd2d/pilatus1m_bccfe/BCC1_2GPa_10s_001_0000[12].tif"],
        '[channels.cell]\nfiles = ["cell.csv"]\nclock = {{ offset = "1 s" }}\n'
        '[xrd.m]\nfiles = ["{files}"]\ngeometry = "{data}/xrd2d/pilatus1m_bccfe/CeO2_cal_Dioptas.poni"\n'
        'orientation = 2\nbins = 300\nchannels = ["cell"]\n',
    ),
    "scan": (
        ["rixs/als_bl801_irixs/irixs/2024-7-5/CCD Scan 17174/**/*"],
        '[rixs.m]\nfiles = ["{data}/rixs/als_bl801_irixs/irixs/2024-7-5/CCD Scan 17174/cox17174-AI.txt"]\n'
        "window = [777.0, 781.0]\n",
    ),
    "project": (
        ["xas/athena/NiO.prj"],
        '[xas.m]\nfiles = ["{files}"]\nfit = {{ cif = "{data}/xas/feff/cif/NiO.cif", absorber = "Ni" }}\n',
    ),
}


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_result_is_made_again(name: str, data_dir: Path, tmp_path: Path) -> None:
    globs, table = MEASUREMENTS[name]
    rows = ["2016-11-03T02:50:00Z,3.6", "2016-11-03T03:10:00Z,3.8", "2016-11-03T03:30:00Z,3.9"]
    (tmp_path / "cell.csv").write_text("\n".join(["time,voltage [V]", *rows]))
    head = '[beamtime]\nname = "replay"\ntimezone = "America/Chicago"\n'
    table = table.format(files=f"{data_dir}/{globs[0]}", data=data_dir)
    (tmp_path / "beamtime.toml").write_text(head + table)
    report = beamline.process(tmp_path / "beamtime.toml")
    assert not report.failed
    assert report.result is not None

    flat = tmp_path / "archive"  # all files in one folder, the layout of the scan gone, one renamed
    flat.mkdir()
    for file in sorted(path for glob in globs for path in data_dir.glob(glob) if path.is_file()):
        shutil.copy(file, flat / file.name)
    first = min(flat.iterdir())
    first.rename(flat / "renamed.bin")
    shutil.copy(tmp_path / "cell.csv", flat / "cycler.dat")
    made = beamline.replay(report.result, [flat])
    assert made.differences == ()
