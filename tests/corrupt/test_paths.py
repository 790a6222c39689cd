"""Names stored in files lead nowhere outside the folder, and nothing stored in a file is run."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import beamline
from beamline.errors import DataFileError
from tests import irixs
from tests.beamline.readers import files

FRAME = files.image("int32", (24, 32))


@pytest.mark.parametrize("stem", ["../../secret", "/etc/passwd", "..", "a/b", "..\\secret", "scan\0"])
def test_a_table_of_points_that_names_a_file_elsewhere(stem: str, tmp_path: Path) -> None:
    stack = irixs.images()
    table = irixs.rows(stack)
    irixs.write_images(tmp_path / "scan", table, stack)
    files.write(tmp_path / "secret.tif", files.tiff([stack[1]]))
    table[1]["Filename"] = stem
    path = irixs.write_table(tmp_path / "scan", table)
    for kind in ("images", "rixs.spectra"):
        with pytest.raises(DataFileError, match=r"scan-AI\.txt"):
            beamline.read(path, kind=kind)


@pytest.mark.parametrize("name", ["../secret.h5", "/etc/passwd"])
def test_an_hdf5_link_that_leads_out(name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = FRAME[np.newaxis]
    (tmp_path / "in").mkdir()
    with h5py.File(tmp_path / "in" / "a.h5", "w") as file:
        file["entry/data"] = h5py.ExternalLink(name, "/data")
    with pytest.raises(DataFileError, match="outside its folder"):
        beamline.read(tmp_path / "in" / "a.h5")


def test_an_hdf5_dataset_kept_in_a_raw_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(FRAME.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (1, 24, 32), "i4", external=[(tmp_path / "secret", 0, FRAME.nbytes)])
    with pytest.raises(DataFileError, match="keeps /data in"):
        beamline.read(tmp_path / "a.h5")


def test_an_hdf5_link_that_leads_to_itself(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data"] = h5py.SoftLink("/entry/data")
        file["other"] = h5py.ExternalLink("a.h5", "/other")
    with pytest.raises(DataFileError, match=r"a\.h5"):
        beamline.read(tmp_path / "a.h5")


def test_a_label_of_a_project_is_a_name_not_a_path(tmp_path: Path) -> None:
    energy = 8300.0 + 2 * np.arange(40)
    mu = 1 / (1 + np.exp(-(energy - 8340) / 2))
    texts = {name: ",".join(f"'{v:.4f}'" for v in a) for name, a in (("x", energy), ("y", mu))}
    arrays = [f"@{name} = ({text});\n" for name, text in texts.items()]
    group = "$old_group = 'g';\n@args = ('label','../../etc/passwd');\n" + "".join(arrays) + "[record]\n"
    path = files.write(tmp_path / "a.prj", "# Athena project file\n" + group)
    tree = beamline.read(path)
    assert [leaf.path for leaf in tree.leaves] == ["/etc_passwd"]  # type: ignore[union-attr]
    beamline.save(tree, tmp_path / "out" / "a.nc")
    assert {file.name for file in tmp_path.rglob("*") if file.is_file()} == {"a.prj", "a.nc"}
