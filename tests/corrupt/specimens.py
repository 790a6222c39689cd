"""One small valid file of every raw format, with what the faults have to know to damage it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests import irixs
from tests.beamline.channel_files import CSV, maccor, mpt, zilien
from tests.beamline.readers import files, rixs_files

FRAME = files.image("int32", (24, 32))


@dataclass(frozen=True)
class Specimen:
    """A valid file.

    Attributes
    ----------
    name
        Its file name.
    format
        The entry of `beamline.readers.registry.FORMATS` it is of.
    kind
        Kind it is read as.
    content
        Its bytes.
    options
        Options of `beamline.read`.
    first, axis, separator
        Of a text with one reading per line: the first line of readings, the column of the axis and what
        separates columns (None is any white space).
    beside
        Writes the files it needs beside it.
    """

    name: str
    format: str
    kind: str
    content: bytes
    options: Mapping[str, Any] = field(default_factory=dict)
    first: int = -1
    axis: int = 0
    separator: str | None = None
    beside: Callable[[Path], object] = lambda folder: None

    def write(self, folder: Path, content: bytes | None = None) -> Path:
        """Write it, or what has become of it, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        self.beside(folder)
        return files.write(folder / self.name, self.content if content is None else content)


def _hdf5(**options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("entry/data", data=FRAME[np.newaxis], **options)
    return buffer.getvalue()


def _numpy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, FRAME)
    return buffer.getvalue()


def _ge() -> bytes:
    header = bytearray(8192)
    header[:5] = b"ADEPT"
    struct.pack_into("<HLHLHHHH", header, 10, 1, 8192, 1, 0, 1, 24, 32, 32)
    return bytes(header) + FRAME.astype("<u4").tobytes()


def _fit2d_mask() -> bytes:
    header = b"M\0\0\0A\0\0\0S\0\0\0K\0\0\0" + struct.pack("<2i", 32, 24)
    return header.ljust(1024, b"\0") + np.packbits(FRAME > 0, axis=1, bitorder="little").tobytes()


def _raxis() -> bytes:
    header = bytearray(1600)
    header[:6] = b"R-AXIS"
    struct.pack_into(">2l2f2l", header, 768, 800, 24, 0.1, 0.1, 1600, 24)
    return bytes(header) + np.tile(np.abs(FRAME), 25).astype(">u2").tobytes()


def _mar345() -> bytes:
    """Return a mar345 image of 16 x 16 pixels of 42: the first in 8 bits, then differences of no bits."""
    header = bytearray(4096)
    struct.pack_into("<16i", header, 0, 1234, 16, 0, 1, 1, 256, 100, 100, 12000, 100000, *([0] * 6))
    text = b"PROGRAM        scan345 2.0\nDATE           Mon Jan  1 00:00:00 2022\n"
    header[128 : 128 + len(text)] = text
    end = b"END OF HEADER\n"
    header[4096 - len(end) :] = end
    packed, at = 0, 0
    for value, bits in ((0 | 5 << 3, 6), (42, 8), *((power, 6) for power in range(7, -1, -1))):
        packed |= value << at
        at += bits
    return bytes(header) + b"\nCCP4 packed image, X: 0016, Y: 0016\n" + packed.to_bytes(at // 8 + 2, "little")


_IMAGES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "plain.tif": ("tiff:FORMAT", lambda: files.tiff([FRAME])),
    "strips.tif": ("tiff:FORMAT", lambda: files.tiff([FRAME], rows=5)),
    "deflate.tif": ("tiff:FORMAT", lambda: files.tiff([FRAME], compression=8)),
    "pages.tif": ("tiff:FORMAT", lambda: files.tiff([FRAME, FRAME])),
    "one.edf": ("edf:FORMAT", lambda: files.edf([FRAME])),
    "three.edf": ("edf:FORMAT", lambda: files.edf([FRAME, FRAME, FRAME])),
    "pilatus.cbf": ("fabio_images:FORMAT", lambda: files.cbf(FRAME)),
    "plate.mar2300": ("fabio_images:FORMAT", _mar345),
    "array.npy": ("fabio_images:FORMAT", _numpy),
    "flat.ge2": ("fabio_images:FORMAT", _ge),
    "mask.msk": ("fabio_images:FORMAT", _fit2d_mask),
    "plate.osc": ("fabio_images:FORMAT", _raxis),
    "contiguous.h5": ("hdf5:FORMAT", _hdf5),
    "gzip.h5": ("hdf5:FORMAT", lambda: _hdf5(compression="gzip", chunks=(1, 24, 32))),
}

_IMAGES |= {
    "adress.TIF": ("adress:IMAGE", lambda: rixs_files.adress_image(FRAME)),
    "image.fits": ("fits:FORMAT", lambda: rixs_files.fits(FRAME)),
    "energies.fits": ("fits:FORMAT", lambda: rixs_files.fits(np.array([FRAME, FRAME]), [530.0, 531.0])),
    "energies.h5": ("hdf5:FORMAT", lambda: rixs_files.hdf5(np.array([FRAME, FRAME]), [530.0, 531.0])),
}

_POINTS = 40
_ENERGY = 8300.0 + 2.0 * np.arange(_POINTS)
_MU = np.round(0.2 + 1.0 / (1 + np.exp(-(_ENERGY - 8340) / 2)), 5)
_I0 = 100000.0 + np.arange(_POINTS)
_IT = np.round(_I0 * np.exp(-_MU), 3)


def _rows(*columns: Any, separator: str = " ") -> str:
    lines = zip(*columns, strict=True)
    return "".join(separator.join(f"{value:.4f}" for value in line) + "\n" for line in lines)


_XDI = (
    "# XDI/1.0\n# Column.1: energy eV\n# Column.2: i0\n# Column.3: itrans\n# Element.symbol: Ni\n"
    "# Element.edge: K\n# ///\n# a remark\n# ---\n# energy i0 itrans\n"
)
_TWO_THETA = 2.0 + 0.25 * np.arange(12)
_COUNTS = 100.0 + 13 * np.arange(12) % 37
_XYE = _rows(_TWO_THETA, _COUNTS, np.sqrt(_COUNTS))
_SIGSCAN = (
    "Date: 7/5/2024\n\nStart, Stop, Increment\nMono Energy\nCount Time (s): 3.0\nScan Number: 1\n\n"
    "Time (s)\tMono Energy\tUndulator Gap\tMono Energy\tGate\tCounter 0\tCounter 1\tCounter 2\n"
) + "".join(
    f"{137689.8 if i == 0 else 5.0 * i}\t{529 + i}.0\t0.0\t0.0\t0.0\t{1000 + i}\t{100 + i}\t{50 + i}\n"
    for i in range(8)
)
_GSAS = "title\nBANK 1 12 12 CONST 200.0 25.0 0 0 FXYE\n" + _rows(100 * _TWO_THETA, _COUNTS, np.sqrt(_COUNTS))
_CHI = "ceo2.tif\n2-Theta Angle (Degrees)\nIntensity\n       12\n" + _rows(_TWO_THETA, _COUNTS)


def _project() -> bytes:
    def array(name: str, values: Any) -> str:
        return f"@{name} = ({','.join(repr(f'{value:.4f}') for value in values)});\n"

    text = "# Athena project file -- Demeter version 0.9.26\n"
    for number, name in enumerate(("abcd", "efgh")):
        text += f"$old_group = '{name}';\n@args = ('label','scan {name}','bkg_z','Ni','fft_edge','K');\n"
        mu = [value + 0.01 * number for value in _MU]  # a copy would be left out
        text += array("x", _ENERGY) + array("y", mu) + array("i0", _I0) + "[record]\n\n"
    return text.encode()


_STACK = irixs.images(6)
_TABLE = irixs.rows(_STACK)


def _table_of_points() -> bytes:
    lines = ["Scan Type: One Motor From File", "Clip to ROI: No", "\t".join(irixs.COLUMNS)]
    lines += ["\t".join(row[name] for name in irixs.COLUMNS) for row in _TABLE]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _spectrum() -> bytes:
    return (
        b"Instrument: Andor\nX Size: 6\nY Size: 4\nTotal Flux: 0.000\nBackground: 336.0\nROI: 1 2 3 4\n"
        b"X\tCounts\n" + b"".join(b"%d\t%d\n" % (x, 100 + x) for x in range(6))
    )


_ZONE = {"timezone": "Europe/London"}
_STARTED = {**_ZONE, "start": "2022-04-06T16:17:23"}

SPECIMENS: tuple[Specimen, ...] = (
    *(Specimen(name, fmt, "images", content()) for name, (fmt, content) in _IMAGES.items()),
    Specimen("scan_d1.h5", "adress:EVENTS", "rixs.spectra", rixs_files.adress_events()),
    Specimen(
        "table.tif",
        "tiff:FORMAT",
        "images",
        files.tiff([FRAME] * 3),
        beside=lambda folder: rixs_files.table(folder, "table"),
    ),
    Specimen("project.prj", "athena:FORMAT", "xas.scans", _project()),
    Specimen("scan.xdi", "xdi:FORMAT", "xas.scans", (_XDI + _rows(_ENERGY, _I0, _IT)).encode(), first=10),
    Specimen(
        "scan.dat",
        "xas_columns:FORMAT",
        "xas.scans",
        ("# a scan\n# energy mu i0\n" + _rows(_ENERGY, _MU, _I0)).encode(),
        first=2,
    ),
    Specimen(
        "scan.txt",
        "xas_columns:FORMAT",
        "xas.scans",
        ("energy,mu,i0\n" + _rows(_ENERGY, _MU, _I0, separator=",")).encode(),
        first=1,
        separator=",",
    ),
    Specimen(
        "SigScan1.txt",
        "sigscan:FORMAT",
        "xas.scans",
        _SIGSCAN.encode(),
        first=8,
        axis=1,
        separator="\t",
    ),
    Specimen("pattern.xye", "patterns:FORMAT", "xrd.patterns", _XYE.encode(), first=0),
    Specimen("pattern.chi", "patterns:FORMAT", "xrd.patterns", _CHI.encode(), first=4),
    Specimen("pattern.fxye", "patterns:FORMAT", "xrd.patterns", _GSAS.encode(), first=2),
    Specimen(
        "scan-AI.txt",
        "als_irixs:IMAGES",
        "images",
        _table_of_points(),
        first=3,
        axis=irixs.COLUMNS.index("BL 8 Energy"),
        separator="\t",
        beside=lambda folder: irixs.write_images(folder, _TABLE, _STACK),
    ),
    Specimen(
        "sums-AI.txt",
        "als_irixs:SPECTRA",
        "rixs.spectra",
        _table_of_points(),
        first=3,
        axis=irixs.COLUMNS.index("BL 8 Energy"),
        separator="\t",
        beside=lambda folder: irixs.write_spectra(folder, _TABLE, _STACK),
    ),
    Specimen("cell.mpt", "biologic:MPT", "channels", mpt().encode(), _ZONE, first=8, axis=2, separator="\t"),
    Specimen(
        "2022-04-06 16_17_23 cell.tsv",
        "zilien:ZILIEN",
        "channels",
        zilien().encode(),
        _ZONE,
        first=8,
        separator="\t",
    ),
    Specimen(
        "cell.txt", "maccor:MACCOR", "channels", maccor().encode(), _ZONE, first=5, axis=8, separator="\t"
    ),
    Specimen("furnace.csv", "table:TABLE", "channels", CSV.encode(), _STARTED, first=2, separator=","),
)

EXPOSURE = _spectrum()
"""One exposure of an iRIXS scan, which is refused whatever it holds."""
