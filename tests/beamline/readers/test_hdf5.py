"""Stacks in HDF5: which dataset, which frames, when, and which links are followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import xarray as xr

import beamline
from beamline.errors import DataFileError
from beamline.provenance import history
from beamline.readers import hdf5

FRAMES = np.arange(4 * 16 * 20, dtype="uint16").reshape(4, 16, 20)


def read(path: Path, **options: Any) -> xr.Dataset:
    ds = beamline.read(path, **options)
    assert isinstance(ds, xr.Dataset)
    return ds


def nexus(path: Path, frames: Any = FRAMES) -> Path:
    """Write a NeXus file with a default signal, a second image and a detector."""
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "data"})
        data = entry.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "counts"})
        data["counts"] = frames
        data["other"] = FRAMES + 1
        detector = entry.create_group("instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector["count_time"] = 500.0
        detector["count_time"].attrs["units"] = "ms"
        detector["x_pixel_size"], detector["y_pixel_size"] = 75e-6, 76e-6
        detector["description"] = "Dectris EIGER2 Si 1M"
    return path


def test_the_default_signal_is_read_with_what_the_detector_says(tmp_path: Path) -> None:
    ds = read(nexus(tmp_path / "a.nxs"))
    np.testing.assert_array_equal(ds.counts, FRAMES)
    assert ds.counts.attrs["units"] == "count"
    np.testing.assert_allclose(ds.exposure, 0.5)
    assert ds.attrs["x_pixel_size"] == pytest.approx(75e-6)
    assert ds.attrs["dataset"] == "/entry/data/counts"


def test_a_range_of_frames(tmp_path: Path) -> None:
    path = nexus(tmp_path / "a.nxs")
    np.testing.assert_array_equal(read(path, frames=(1, 3)).counts, FRAMES[1:3])
    assert hdf5.count(path) == 4
    with pytest.raises(DataFileError, match="0 to 4, not 3 to 5"):
        read(path, frames=(3, 5))


def test_the_only_stack_is_taken_and_masks_are_none(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x/stack"] = FRAMES
        file["x/bad_pixels"] = FRAMES
        file["x/image"] = FRAMES[0]
        file["x/curve"] = np.arange(1000)
    np.testing.assert_array_equal(read(tmp_path / "a.h5").counts, FRAMES)


def test_a_choice_is_left_to_the_caller(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one"], file["two"] = FRAMES, FRAMES + 1
    with pytest.raises(DataFileError, match=r'2 datasets that could be the frames.*"/one".*"/two"'):
        read(tmp_path / "a.h5")
    np.testing.assert_array_equal(read(tmp_path / "a.h5", dataset="/two").counts, FRAMES + 1)
    with pytest.raises(DataFileError, match="no stack of frames at /three"):
        read(tmp_path / "a.h5", dataset="/three")


def test_a_single_image_is_one_frame(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = FRAMES[0].astype("float32")
    ds = read(tmp_path / "a.h5")
    assert ds.counts.shape == (1, 16, 20)
    assert ds.counts.dtype == np.float32


def eiger(folder: Path, date: str = "2024-03-01T12:00:00+01:00") -> Path:
    """Write a master file and two data files as an Eiger does."""
    for i in (1, 2):
        with h5py.File(folder / f"run_data_{i:06d}.h5", "w") as file:
            part = FRAMES[2 * i - 2 : 2 * i].astype("uint32")
            file.create_dataset("entry/data/data", data=part, chunks=(1, 16, 20), **hdf5plugin.Bitshuffle())
    with h5py.File(folder / "run_master.h5", "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("data")
        data.attrs["NX_class"] = "NXdata"
        for i in (2, 1):
            data[f"data_{i:06d}"] = h5py.ExternalLink(f"run_data_{i:06d}.h5", "/entry/data/data")
        detector = entry.create_group("instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector["description"] = "Dectris Eiger 1M"
        detector["count_time"], detector["frame_time"] = 0.9, 1.0
        detector["detectorSpecific/data_collection_date"] = date
        detector["detectorSpecific/pixel_mask"] = np.zeros((16, 20), "uint32")
    return folder / "run_master.h5"


def test_the_parts_of_an_eiger_are_one_stack(tmp_path: Path) -> None:
    ds = read(eiger(tmp_path))
    np.testing.assert_array_equal(ds.counts, FRAMES)
    np.testing.assert_array_equal(read(eiger(tmp_path), frames=(1, 3)).counts, FRAMES[1:3])
    names = [file["name"] for file in history(ds)[0]["files"]]
    assert names == ["run_master.h5", "run_data_000001.h5", "run_data_000002.h5"]


def test_frames_of_an_eiger_know_their_time(tmp_path: Path) -> None:
    ds = read(eiger(tmp_path))
    # 12:00 in UTC+1 is 11:00 UTC; frame i starts i seconds later, its middle is 0.45 s after
    expected = np.datetime64("2024-03-01T11:00:00.450") + np.arange(4) * np.timedelta64(1, "s")
    np.testing.assert_array_equal(ds.time, expected.astype("datetime64[ns]"))
    assert "time" not in read(eiger(tmp_path, "2024-03-01T12:00:00")).coords


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = FRAMES
    with h5py.File(inside / "a.h5", "w") as file:
        file["data"] = h5py.ExternalLink("../secret.h5", "/data")
    with pytest.raises(DataFileError, match=r"secret\.h5, outside its folder"):
        read(inside / "a.h5")


def test_missing_links_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = h5py.ExternalLink("gone.h5", "/data")
    with pytest.raises(DataFileError, match=r"gone\.h5, which is not there"):
        read(tmp_path / "a.h5")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = FRAMES
        file["self"] = file["/"]
        file["loop"] = h5py.SoftLink("/loop")
    with pytest.raises(DataFileError, match="lead nowhere"):
        read(tmp_path / "a.h5")
    np.testing.assert_array_equal(read(tmp_path / "a.h5", dataset="self/data").counts, FRAMES)


def virtual(path: Path, source: str) -> Path:
    layout = h5py.VirtualLayout(FRAMES.shape, "uint16")
    layout[:] = h5py.VirtualSource(source, "data", FRAMES.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout)
    return path


def test_virtual_datasets_need_their_sources_beside_them(tmp_path: Path) -> None:
    path = virtual(tmp_path / "a.h5", "source.h5")
    with pytest.raises(DataFileError, match=r"source\.h5, which is not there"):
        read(path)  # HDF5 would give zeros
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["data"] = FRAMES
    np.testing.assert_array_equal(read(path).counts, FRAMES)
    (tmp_path / "below").mkdir()
    with pytest.raises(DataFileError, match="outside its folder"):
        read(virtual(tmp_path / "below" / "a.h5", "../source.h5"))


def test_pixels_in_a_raw_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "raw.bin").write_bytes(FRAMES.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "data", FRAMES.shape, "uint16", external=[(tmp_path / "raw.bin", 0, FRAMES.nbytes)]
        )
    with pytest.raises(DataFileError, match=r"raw\.bin"):
        read(tmp_path / "a.h5")


def test_frames_that_are_not_written_are_no_zeros(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stack = file.create_dataset("data", (6, 16, 20), "uint16", chunks=(2, 8, 20))
        stack[:4] = FRAMES
    with pytest.raises(DataFileError, match="frame 4 of /data is not written"):
        read(tmp_path / "a.h5")
    np.testing.assert_array_equal(read(tmp_path / "a.h5", frames=(0, 4)).counts, FRAMES)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("data", (6, 16, 20), "uint16")
    with pytest.raises(DataFileError, match="frame 0 of /data is not written"):
        read(tmp_path / "b.h5")


def test_a_claim_of_more_than_fits_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (10**6, 4096, 4096), "uint32", chunks=(1, 512, 512))
    with pytest.raises(DataFileError, match="too much at once"):
        read(tmp_path / "a.h5")


def test_an_empty_stack_is_said_to_be_empty(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (800, 1632, 0), "uint16")
        file["bad"] = FRAMES[0]
    with pytest.raises(DataFileError, match="/data is empty"):
        read(tmp_path / "a.h5")


def test_a_result_is_no_raw_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file.attrs["kind"] = "xrd.patterns"
    with h5py.File(tmp_path / "tree.nc", "w") as file:
        file.create_group("patterns").attrs["kind"] = "xrd.patterns"
    for name in ("a.nc", "tree.nc"):
        with pytest.raises(DataFileError, match=r"beamline\.open"):
            read(tmp_path / name)


def test_epics_stamps_are_utc(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = FRAMES
        attributes = file.create_group("entry/instrument/NDAttributes")
        attributes["NDArrayEpicsTSSec"] = np.arange(4) + 86400
        attributes["NDArrayEpicsTSnSec"] = np.full(4, 500_000_000)
        attributes["AcquireTime"] = np.arange(1.0, 5.0)
    ds = read(tmp_path / "a.h5")
    assert ds.timestamp.values[1] == np.datetime64("1990-01-02T00:00:01.500")
    np.testing.assert_array_equal(ds.exposure, [1, 2, 3, 4])


def test_a_linked_file_is_in_the_history_whichever_dataset_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["data"] = FRAMES
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one"] = FRAMES
        file["two"] = h5py.ExternalLink("part.h5", "/data")
        file["lost"] = h5py.ExternalLink("lost.h5", "/data")
    ds = read(tmp_path / "a.h5", dataset="/two")
    assert [file["name"] for file in history(ds)[0]["files"]] == ["a.h5", "part.h5"]
    with pytest.raises(DataFileError, match=r"lost\.h5, which is not there"):
        read(tmp_path / "a.h5")  # what was searched must be whole


def test_an_image_that_is_partly_written_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        image = file.create_dataset("data", (32, 20), "uint16", chunks=(16, 20))
        image[:16] = FRAMES[0]
    with pytest.raises(DataFileError, match="is not written"):
        read(tmp_path / "a.h5")
