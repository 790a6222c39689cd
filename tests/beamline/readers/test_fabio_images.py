"""Formats decoded by fabio in its own process, and that process."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import beamline
from beamline.errors import DataFileError
from beamline.readers import fabio_images, sandbox, sizes
from tests.beamline.readers import files

PILATUS = "# Detector: PILATUS 2M, S/N 24-0104\n# 2024-10-26T01:38:33.200\n# Exposure_time 0.4 s"


def test_cbf_of_a_pilatus(tmp_path: Path) -> None:
    frame = files.image("int32", (12, 17))
    frame[2, 3] = -2
    frame[5, 6] = 20_000
    path = files.write(tmp_path / "a.cbf", files.cbf(frame, PILATUS))
    ds = beamline.read(path, timezone="Europe/Berlin")
    assert ds.counts.dtype == np.int32
    np.testing.assert_array_equal(ds.counts[0], frame)
    assert ds.counts.attrs["units"] == "count"
    assert ds.time.values[0] == np.datetime64("2024-10-25T23:38:33.400")


def test_mar345_written_by_fabio(tmp_path: Path) -> None:
    mar345image = pytest.importorskip("fabio.mar345image")
    utils = pytest.importorskip("fabio.fabioutils")
    frame = np.arange(64 * 64, dtype="uint32").reshape(64, 64) * 31 % 4093
    image = mar345image.Mar345Image(data=frame, header={"PIXEL_LENGTH": "150", "PIXEL_HEIGHT": "150"})
    image.byteorder = utils.ENDIANNESS.LITTLE
    image.write(str(tmp_path / "a.mar2300"))
    np.testing.assert_array_equal(beamline.read(tmp_path / "a.mar2300").counts[0], frame)


def ge(frames: np.ndarray) -> bytes:
    """Return a GE file with its full header."""
    number, height, width = frames.shape
    header = bytearray(8192)
    header[:5] = b"ADEPT"
    struct.pack_into("<HLHLHHHH", header, 10, 1, 8192, 1, 0, number, height, width, 16)
    return bytes(header) + frames.astype("<u2").tobytes()


def test_ge_frames(tmp_path: Path) -> None:
    frames = np.arange(3 * 8 * 9).reshape(3, 8, 9)
    path = files.write(tmp_path / "a.ge2", ge(frames))
    np.testing.assert_array_equal(beamline.read(path).counts, frames)
    np.testing.assert_array_equal(beamline.read(path, frames=(1, 2)).counts, frames[1:2])
    assert fabio_images.count(path) == 3
    with pytest.raises(DataFileError, match="0 to 3, not 2 to 4"):
        beamline.read(path, frames=(2, 4))


def test_arrays_of_numpy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", files.image("float32"))
    np.testing.assert_array_equal(beamline.read(tmp_path / "a.npy").counts[0], files.image("float32"))


def test_packed_tiff_is_decoded_and_compared_with_its_tags(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    frame = files.image("uint16", (20, 30))
    pil.fromarray(frame).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(beamline.read(tmp_path / "a.tif").counts[0], frame)


def test_a_wrong_checksum_is_an_error(tmp_path: Path) -> None:
    wrong = b"Content-MD5: " + b"A" * 22 + b"=="
    content = re.sub(rb"Content-MD5: .{22}==", wrong, files.cbf(files.image("int32")))
    with pytest.raises(DataFileError, match="Checksum"):
        beamline.read(files.write(tmp_path / "a.cbf", content))


def pickled(path: Path) -> Path:
    np.save(path, np.array([[{}, 1], [2, 3]], dtype=object), allow_pickle=True)
    return path


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="cannot be decoded"):
        beamline.read(pickled(tmp_path / "a.npy"))


def endless(path: Path) -> Path:
    """Write a CBF that fabio reads for ever: its binary section never starts."""
    return files.write(
        path, b"###CBF: VERSION 1.5\ndata_a\n_array_data.data\n;\n--CIF-BINARY-FORMAT-SECTION--\n"
    )


def test_decoding_ends_in_time_and_the_next_file_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", files.image())
    sandbox.decode(tmp_path / "a.npy")  # the process runs
    begin = time.monotonic()
    with pytest.raises(DataFileError, match=r"not decoded within 0\.3 s"):
        sandbox.decode(endless(tmp_path / "a.cbf"), timeout=0.3)
    assert time.monotonic() - begin < 5
    assert sandbox.decode(tmp_path / "a.npy")[1].shape == (1, 5, 7)


def test_the_process_is_kept_after_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", files.image())
    sandbox.decode(tmp_path / "a.npy")
    before = sandbox._idle[os.getpid()][-1].process.pid
    with pytest.raises(DataFileError):
        sandbox.decode(pickled(tmp_path / "b.npy"))
    assert sandbox._idle[os.getpid()][-1].process.pid == before


def test_a_process_somebody_ended_is_replaced(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", files.image())
    sandbox.decode(tmp_path / "a.npy")
    for decoder in sandbox._idle[os.getpid()]:
        decoder.process.kill()
        decoder.process.wait()
    assert sandbox.decode(tmp_path / "a.npy")[0] == 1


def test_memory_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_BYTES", 2**20)
    np.save(tmp_path / "a.npy", np.zeros((16, 16), "uint8"))
    # a header that claims 4 GB
    content = (tmp_path / "a.npy").read_bytes().replace(b"(16, 16)", b"(65536, 65536)")
    with pytest.raises(DataFileError, match=r"memory|cannot be decoded"):
        sandbox.decode(files.write(tmp_path / "b.npy", content))


def test_threads_get_a_process_each(tmp_path: Path) -> None:
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", np.full((8, 8), i))
    found: dict[int, np.ndarray] = {}

    def work(i: int) -> None:
        found[i] = sandbox.decode(tmp_path / f"{i}.npy")[1]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [int(found[i][0, 0, 0]) for i in range(4)] == [0, 1, 2, 3]


def test_no_process_outlives_the_interpreter(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", files.image())
    script = (
        "import os, pathlib, sys; from beamline.readers import sandbox;"
        f"sandbox.decode(pathlib.Path({str(tmp_path / 'a.npy')!r}));"
        "print(sandbox._idle[os.getpid()][0].process.pid, flush=True);"
        "os._exit(0) if 'hard' in sys.argv else None"
    )
    for arguments in ([], ["hard"]):
        out = subprocess.run(
            [sys.executable, "-W", "error", "-c", script, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        assert out.stderr == ""
        pid = int(out.stdout)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not Path(f"/proc/{pid}").exists()


def test_raxis_is_checked_against_its_records(tmp_path: Path) -> None:
    header = bytearray(2000)
    header[:6] = b"R-AXIS"
    struct.pack_into(">2l2f2l", header, 768, 1000, 500, 0.1, 0.1, 2000, 500)
    whole = bytes(header) + bytes(2000 * 500)
    sizes.check(files.write(tmp_path / "a.osc", whole))
    for wrong in (whole[:-1], whole + b"\0"):
        with pytest.raises(DataFileError, match="500 records of 2000 need 1002000"):
            sizes.check(files.write(tmp_path / "b.osc", wrong))
