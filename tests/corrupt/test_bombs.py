"""Small files that claim, or unpack to, far more than they are: time and memory stay bounded."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.beamline.readers import files

MEGABYTES = 500

READ = """
import json, resource, sys, time, warnings
from pathlib import Path
import beamline
from beamline.errors import RedoxlightError
from beamline.readers import sandbox
from tests.corrupt.specimens import SPECIMENS

path, warm = Path(sys.argv[1]), Path(sys.argv[2])
warnings.simplefilter("ignore")
kind = sys.argv[3]
for specimen in SPECIMENS:  # what the readers load is not what the file costs
    if specimen.kind == kind:
        beamline.read(specimen.write(warm), kind=kind, **specimen.options)


def peak():
    # not ru_maxrss, which begins with that of the parent
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


before = peak()
begin = time.process_time()
try:
    beamline.read(path, kind=kind)
    sentence = ""
except RedoxlightError as error:
    sentence = str(error)
seconds = time.process_time() - begin
sandbox._end()  # a child counts when it has ended
seconds += sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
own = peak() - before
child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"sentence": sentence, "cpu": seconds, "own": own / 1024, "child": child / 1024}))
"""

HEAD = b"# Athena project file -- Athena version 0.8.059\n"


def _hdf5(shape: tuple[int, ...], chunks: tuple[int, ...], written: int) -> bytes:
    """Return a file whose chunks of zeros are a few bytes each; the first `written` of them exist."""
    buffer = io.BytesIO()
    chunk = zlib.compress(bytes(int(np.prod(chunks))))
    with h5py.File(buffer, "w") as file:
        stack = file.create_dataset("entry/data", shape, "u1", chunks=chunks, compression="gzip")
        for frame in range(written):
            stack.id.write_direct_chunk((frame, *[0] * (len(shape) - 1)), chunk)
    return buffer.getvalue()


def _numpy(shape: str) -> bytes:
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00v\x00" + head.ljust(117) + b"\n" + bytes(1000)


def _deflate(claim: int, holds: int) -> bytes:
    blob = np.frombuffer(zlib.compress(bytes(holds), 9), "u1")
    size = {256: (4, claim), 257: (4, claim), 278: (4, claim), 258: (3, 8), 259: (3, 8)}
    return files.tiff([blob[np.newaxis]], tags=size)


def _pages() -> bytes:
    """Return pages that all claim as much as a frame may, and hold nothing."""
    blob = np.frombuffer(zlib.compress(bytes(16000 * 16000), 9)[:1000], "u1")
    size = {256: (4, 16000), 257: (4, 16000), 278: (4, 16000), 258: (3, 8), 259: (3, 8)}
    return files.tiff([blob[np.newaxis]] * 50, tags=size)


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip.prj": ("xas.scans", lambda: gzip.compress(HEAD + b"#" * 10**9, 9)),
    "nested.prj": ("xas.scans", lambda: b'{"_____header1": "# Athena project file", "a": ' + b"[" * 10**6),
    "brackets.prj": ("xas.scans", lambda: HEAD + b"@x = " + b"(" * 10**6),
    "line.dat": ("xas.scans", lambda: b"# energy mu\n" + b"1 " * 5 * 10**6),
    "rows.xye": ("xrd.patterns", lambda: b"1 1\n" * 3 * 10**5),
    "line.xye": ("xrd.patterns", lambda: b"1 " * 5 * 10**6),
    "points.fxye": ("xrd.patterns", lambda: b"t\nBANK 1 999999999 1 CONST 1 1 0 0 STD\n 1    10\n"),
    "digits.xye": ("xrd.patterns", lambda: b"1" * 10**7 + b" 1\n2 2\n"),
    "header.mpt": ("channels", lambda: b"EC-Lab ASCII FILE\nNb header lines : 5\n" + b"\t" * 10**7),
    "claims.npy": ("images", lambda: _numpy("(100000, 100000)")),
    "negative.npy": ("images", lambda: _numpy("(-1, 100000)")),
    "claims.edf": (
        "images",
        lambda: files.edf([files.image("int32")], header={"Dim_1": "99999999", "Dim_2": "99999999"}),
    ),
    "claims.tif": ("images", lambda: _deflate(10**5, 10**6)),
    "unpacks.tif": ("images", lambda: _deflate(100, 10**9)),
    "pages.tif": ("images", _pages),
    "gzip.tif": ("images", lambda: gzip.compress(bytes(10**9), 9)),
    "gzip.edf.gz": ("images", lambda: gzip.compress(files.edf([files.image("int32")]) + bytes(10**9), 9)),
    "bzip.cbf.bz2": ("images", lambda: bz2.compress(files.cbf(files.image("int32")) + bytes(10**9))),
    "frame.h5": ("images", lambda: _hdf5((1, 60000, 60000), (1, 60000, 60000), 1)),
    "frames.h5": ("images", lambda: _hdf5((1000, 4000, 4000), (1, 4000, 4000), 1000)),
    "unwritten.h5": ("images", lambda: _hdf5((10**6, 4000, 4000), (1, 4000, 4000), 1)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_named_and_costs_little(name: str, tmp_path: Path) -> None:
    kind, content = BOMBS[name]
    path = files.write(tmp_path / name, content())
    done = subprocess.run(
        [sys.executable, "-c", READ, path, tmp_path / "warm", kind],
        capture_output=True,
        timeout=110,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    told = json.loads(done.stdout)
    assert name in told["sentence"]
    assert told["cpu"] < 5  # not of the clock: other programs may be running
    allowed = MEGABYTES + 2 * path.stat().st_size / 2**20
    assert told["own"] < allowed
    assert told["child"] < allowed + 100  # of a child, also what the interpreter and fabio need
