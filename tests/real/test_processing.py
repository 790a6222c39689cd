"""A measured series goes from raw frames to results, the same bytes however it is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

import beamline
from tests.beamline.test_processing import snapshot


def test_five_frames_of_iron(tmp_path: Path, data_dir: Path) -> None:
    raw = data_dir / "xrd2d/pilatus1m_bccfe"
    text = f"""
        [beamtime]
        name = "bcc-Fe"
        timezone = "America/Chicago"
        [xrd.bccfe]
        files = ["{raw}/BCC1_*.tif"]
        geometry = "{raw}/CeO2_cal_Dioptas.poni"
        orientation = 2
        mask = "{raw}/DiffractionMask_Dioptas.mask"
        bins = 1000
    """
    for scheduler in ("serial", "threads:2"):
        folder = tmp_path / scheduler[:6]
        folder.mkdir()
        (folder / "beamtime.toml").write_text(text)
        report = beamline.process(folder / "beamtime.toml", scheduler)
        assert not report.failed
        assert report.measurements["xrd/bccfe"].done == 5
        assert beamline.process(folder / "beamtime.toml").measurements["xrd/bccfe"].unchanged == 5
    assert snapshot(tmp_path / "serial/processed") == snapshot(tmp_path / "thread/processed")

    patterns = beamline.open(f"{tmp_path}/serial/processed/results.nc::/xrd/bccfe")
    assert isinstance(patterns, xr.Dataset)
    frames = sorted(path.name for path in raw.glob("BCC1_*.tif"))
    assert list(patterns.file.values) == frames
    # Each frame is what it is on its own.
    import xrd
    from calibration.geometry import load

    geometry = load(raw / "CeO2_cal_Dioptas.poni", 2, None)
    image = beamline.read(raw / frames[3], kind="images")
    alone = xrd.integrate(image, geometry, bins=1000, mask=raw / "DiffractionMask_Dioptas.mask")
    np.testing.assert_array_equal(patterns.intensity[3], alone.intensity[0])
