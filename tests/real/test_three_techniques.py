"""One beamtime.toml with all three techniques and a channel file, on real measurements, gives one tree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline.drawing import draw

# NiO.prj holds one scan twice, which the reader says
pytestmark = pytest.mark.filterwarnings("ignore:.*of the same measurement the first is kept")


@pytest.fixture(scope="module")
def result(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real frames have no channel file of their own: a ramp of 0.8 V/h stands in for their cycler."""
    folder = tmp_path_factory.mktemp("beamtime")
    start = np.datetime64("2016-11-03T02:50:00")
    rows = [f"{start + np.timedelta64(5 * i, 's')}Z,{3.6 + 5 * i * 0.8 / 3600:.5f}" for i in range(360)]
    (folder / "cell.csv").write_text("\n".join(["time,voltage [V]", *rows]))
    (folder / "beamtime.toml").write_text(
        f"""
        [beamtime]
        name = "three techniques"
        timezone = "America/Chicago"

        [channels.cycler]
        files = ["cell.csv"]
        reference = "Li/Li+"

        [xrd.bccfe]
        files = ["{data_dir}/xrd2d/pilatus1m_bccfe/BCC1_2GPa_10s_001_*.tif"]
        geometry = "{data_dir}/xrd2d/pilatus1m_bccfe/CeO2_cal_Dioptas.poni"
        orientation = 2
        bins = 500
        channels = ["cycler"]

        [rixs.cobalt]
        files = ["{data_dir}/rixs/als_bl801_irixs/irixs/2024-7-5/CCD Scan 17174/cox17174-AI.txt"]
        window = [777.0, 781.0]

        [xas.nio]
        files = ["{data_dir}/xas/athena/NiO.prj"]
        kmin = 3.0
        kmax = 12.0

        [xas.nio.fit]
        cif = "{data_dir}/xas/feff/cif/NiO.cif"
        absorber = "Ni"
        refine_background = false  # as in the reference
        """
    )
    report = beamline.process(folder / "beamtime.toml")
    assert not report.failed
    assert report.result is not None
    return report.result


def test_there_is_one_tree_of_all(result: Path) -> None:
    with xr.open_datatree(result, engine="h5netcdf") as tree:
        kinds = {node.path: node.attrs["kind"] for node in tree.leaves}
    assert kinds == {
        "/channels/cycler": "channels",
        "/rixs/cobalt/map": "rixs.map",
        "/rixs/cobalt/window": "rixs.cut",
        "/xas/nio/exafs": "xas.exafs",
        "/xas/nio/scans": "xas.scans",
        "/xrd/bccfe": "xrd.patterns",
    }


def test_frames_know_their_voltage(result: Path) -> None:
    patterns = beamline.open(f"{result}::/xrd/bccfe")
    seconds = (patterns["time"].values - np.datetime64("2016-11-03T02:50:00")) / np.timedelta64(1, "s")
    pull = (patterns["voltage"] - (3.6 + seconds * 0.8 / 3600)) / patterns["voltage_errors"]
    assert np.abs(pull).max() < 1
    assert patterns["voltage"].attrs["reference"] == "Li/Li+"


def test_the_fit_gives_the_distance_of_the_reference(result: Path) -> None:
    fit = beamline.open(f"{result}::/xas/nio/exafs")
    distance, error = fit["distance"].values[:, 0], fit["distance_errors"].values[:, 0]
    assert np.abs(distance - 2.071).max() < 0.002
    assert (np.abs(error - 0.010) < 0.003).all()


def test_every_leaf_has_a_figure(result: Path, tmp_path: Path) -> None:
    written, failed = draw(result, tmp_path)
    assert not failed
    places = {"channels_cycler", "rixs_cobalt_map", "rixs_cobalt_window", "xas_nio_exafs", "xas_nio_scans"}
    more = {"xas_nio_exafs_k", "xas_nio_exafs_parts", "xas_nio_scans_edge", "xas_nio_scans_map"}
    assert {path.stem for path in written} == places | more | {"xrd_bccfe"}
