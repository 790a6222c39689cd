"""Zilien tsv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline.errors import DataFileError
from tests.beamline.channel_files import zilien


def read(folder: Path, text: str, name: str = "2022-04-06 16_17_23 cell.tsv", **options: Any) -> xr.DataTree:
    path = folder / name
    path.write_text(text)
    tree = beamline.read(path, **{"timezone": "Europe/Copenhagen", **options})
    assert isinstance(tree, xr.DataTree)
    return tree


def test_every_series_has_its_own_clock(tmp_path: Path) -> None:
    tree = read(tmp_path, zilien())
    assert set(tree.children) == {"pot", "pc_value", "mz_32"}
    assert {name: leaf.sizes["time"] for name, leaf in tree.children.items()} == {
        "pot": 3,
        "pc_value": 2,
        "mz_32": 2,
    }


def test_times_count_from_the_files_name(tmp_path: Path) -> None:
    tree = read(tmp_path, zilien())
    assert tree["pot"]["time"].values[0] == np.datetime64("2022-04-06T14:18:58.5")
    assert tree["mz_32"]["time"].values[1] == np.datetime64("2022-04-06T14:17:24.5")


def test_a_start_is_asked_for_where_the_name_has_none(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"give it: start="):
        read(tmp_path, zilien(), name="cell.tsv")
    tree = read(tmp_path, zilien(), name="cell.tsv", start="2022-04-06T14:17:23Z")
    assert tree["pot"]["time"].values[0] == np.datetime64("2022-04-06T14:18:58.5")


def test_the_headers_offset_is_kept_and_not_applied(tmp_path: Path) -> None:
    tree = read(tmp_path, zilien())
    assert tree["pot"].attrs["header_clock_offset"] == 95.21071
    assert "header_clock_offset" not in tree["mz_32"].attrs


def test_values_and_units(tmp_path: Path) -> None:
    tree = read(tmp_path, zilien(), reference="RHE")
    assert tree["mz_32"]["mz_32"].values.tolist() == [2e-10, 3e-10]
    assert tree["mz_32"]["mz_32"].attrs["units"] == "A"
    assert tree["pc_value"]["pc_value"].attrs["units"] == "mbar"
    assert tree["pot"]["voltage"].attrs["reference"] == "RHE"
    assert tree["pot"]["cycle"].dtype == np.int64


def test_a_count_that_is_not_met_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"has 2 samples of 'C4M32' instead of 9"):
        read(tmp_path, zilien(stated=9))
