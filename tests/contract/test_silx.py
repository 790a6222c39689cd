"""silx plots what is stored and exported, without being told how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline.export import export_result
from tests.beamline.examples import channels, images, patterns
from tests.beamline.test_model import of_kind

nxdata = pytest.importorskip("silx.io.nxdata")


@contextmanager
def default_plot(path: Path) -> Iterator[Any]:
    import h5py

    with h5py.File(path) as file:
        plot = nxdata.get_default(file)
        assert plot is not None
        assert plot.is_valid
        assert plot.issues == []
        yield plot


def test_patterns_are_a_series_of_spectra_with_errors(tmp_path: Path) -> None:
    beamline.save(patterns(), tmp_path / "x.nc")
    with default_plot(tmp_path / "x.nc") as plot:
        assert plot.signal_dataset_name == "intensity"
        np.testing.assert_array_equal(plot.signal, patterns()["intensity"])
        np.testing.assert_array_equal(plot.errors, patterns()["intensity_errors"])
        assert plot.axes_dataset_names == [None, "two_theta"]
        np.testing.assert_array_equal(plot.axes[1], patterns()["two_theta"])


def test_single_pattern_is_a_curve(tmp_path: Path) -> None:
    beamline.save(patterns().isel(frame=0), tmp_path / "x.nc")
    with default_plot(tmp_path / "x.nc") as plot:
        assert plot.is_curve
        assert plot.axes_dataset_names == ["two_theta"]


def test_images_are_a_stack(tmp_path: Path) -> None:
    beamline.save(images(), tmp_path / "x.nc")
    with default_plot(tmp_path / "x.nc") as plot:
        assert plot.is_stack
        np.testing.assert_array_equal(plot.signal, images()["counts"])


def test_channels_show_the_first_that_holds_numbers(tmp_path: Path) -> None:
    beamline.save(channels(), tmp_path / "x.nc")
    with default_plot(tmp_path / "x.nc") as plot:
        assert plot.signal_dataset_name == "voltage"
        assert plot.axes_dataset_names == ["time"]


@pytest.mark.parametrize(
    "kind",
    [
        "rixs.spectra",
        "rixs.map",
        "rixs.loss_map",
        "rixs.cut",
        "xrd.peaks",
        "xrd.series",
        "xas.scans",
        "xas.exafs",
    ],
)
def test_every_kind_is_plotted(kind: str, tmp_path: Path) -> None:
    beamline.save(of_kind(kind), tmp_path / "x.nc")
    with default_plot(tmp_path / "x.nc"):
        pass


def test_tree_leads_to_its_first_leaf(tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict({"/xrd/first": patterns(), "/xrd/second": patterns(), "/zinc/a": channels()})
    beamline.save(tree, tmp_path / "x.nc")
    with default_plot(tmp_path / "x.nc") as plot:
        assert plot.group.name == "/xrd/first"


def test_channels_of_text_alone_are_no_broken_plot(tmp_path: Path) -> None:
    import h5py

    beamline.save(channels()[["label"]], tmp_path / "x.nc")
    with h5py.File(tmp_path / "x.nc") as file:
        assert nxdata.get_default(file) is None


@pytest.mark.parametrize("ds", [patterns(), patterns().isel(frame=0), channels(), images()])
def test_exported_nexus_file_is_plotted(ds: xr.Dataset, tmp_path: Path) -> None:
    beamline.save(ds, tmp_path / "x.nc")
    (path,) = export_result(tmp_path / "x.nc", tmp_path, "nxs")
    with default_plot(path) as plot:
        assert plot.group.name == "/entry/data"
        if "intensity" in ds:
            assert plot.signal_dataset_name == "I"
            np.testing.assert_array_equal(plot.errors, np.atleast_2d(ds["intensity_errors"]))
            assert plot.axes_dataset_names[-1] == "radial_axis"
