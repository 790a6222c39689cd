"""Scans as ALS beamline 8.0.1 writes them: the table of an iRIXS scan, its images and sums, and SigScan text.

The inverse of `beamline.readers.als_irixs` and `beamline.readers.sigscan`; a row of the table is a dict from
the name of a column to its text, so that a test can make it wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.atomic import write_atomic
from beamline.tiff_files import encode

if TYPE_CHECKING:
    import xarray as xr

Images = np.ndarray[Any, np.dtype[Any]]
Numbers = np.ndarray[Any, np.dtype[np.float64]]

COLUMNS = (
    "Time", "Frame #", "BL 8 Energy", "Izero", "Izero 2", "TFY", "TEY", "Sample Current", "Beam Current",
    "Total Flux", "Counts", "Background", "Filename",
)  # fmt: skip
"""Columns of the table in 2024."""

BACKGROUND = 336
"""ADU subtracted from every pixel before a file is written."""


def rows(
    images: Images,
    energies: Numbers,
    i0: Numbers,
    stem: str = "scan",
    start: int = 1,
    began: tuple[int, int] = (23, 50),
    interval: int = 300,
) -> list[dict[str, str]]:
    """Return the rows of a scan's table.

    Parameters
    ----------
    images
        Counts (frame, y, x).
    energies, i0
        Excitation energy (eV) and flux (counts) of every image.
    stem, start
        Beginning of the file names, and number of the first.
    began
        Hour and minute of the first point.
    interval
        From point to point, s.
    """
    table = []
    for i, (image, energy, flux) in enumerate(zip(images, energies, i0, strict=True)):
        seconds = (began[0] * 60 + began[1]) * 60 + i * interval
        table.append(
            {
                "Time": f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}",
                "Frame #": f"{i + start}.00000000",
                "BL 8 Energy": f"{energy:.8f}",
                "Izero": f"{flux:.8f}",
                "Izero 2": "1000.0",
                "TFY": "5000.0",
                "TEY": "200.0",
                "Sample Current": "0.0",
                "Beam Current": "0.0",
                "Total Flux": "0.0",
                "Counts": f"{int(image.sum(dtype=np.int64))}.00000000",
                "Background": f"{BACKGROUND}.0",
                "Filename": f"{stem}-{i + start:05d}",
            }
        )
    return table


def write_table(
    folder: Path,
    table: Sequence[dict[str, str]],
    columns: Sequence[str] = COLUMNS,
    tail: str = "",
    stem: str = "scan",
    day: str = "240705",
) -> Path:
    """Write ``<stem>-AI.txt`` and return it; `tail` comes after the last row, `day` names the day's folder.

    Raises
    ------
    DataFileError
        The file cannot be written.
    """
    head = [
        "SU", "Andor", "Scan Type: One Motor From File", "C:\\list.txt", "X Motor: BL 8 Energy",
        "Delay After Move (s): 0.1", "Stay at End: 0", "Curvature: 0.0", "Clip to ROI: No", "ROI: 1 2 3 4",
        "Background ROI: None", f"Data File Path: C:\\BCS Setup Data\\{day}\\CCD Scan 1",
    ]  # fmt: skip
    lines = [*head, "\t".join(columns), *("\t".join(row[name] for name in columns) for row in table)]
    path = folder / f"{stem}-AI.txt"
    write_atomic(path, ("\r\n".join(lines) + "\r\n" + tail).encode("latin-1"))
    return path


def write_images(folder: Path, table: Sequence[dict[str, str]], images: Images) -> None:
    """Write one TIFF for each row into ``Andor``.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    for row, image in zip(table, images, strict=True):
        write_atomic(folder / "Andor" / f"{row['Filename']}.tif", encode(image))


def write_spectra(folder: Path, table: Sequence[dict[str, str]], images: Images) -> None:
    """Write the column sums of each row's image into ``Andor``, as ``-1D.txt``.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    for row, image in zip(table, images, strict=True):
        sums = image.sum(axis=0, dtype=np.int64)
        head = (
            f"Instrument: Andor\nX Size: {sums.size}\nY Size: {len(image)}\nTotal Flux: 0.000\n"
            f"Total Counts: {sums.sum()}\nBackground: {BACKGROUND}.0\nCurvature: 0.0\nClipped to ROI: No\n"
            "ROI: 1 2 3 4\nX\tCounts\n"
        )
        body = "\n".join(f"{x}\t{counts}" for x, counts in enumerate(sums.tolist()))
        write_atomic(folder / "Andor" / f"{row['Filename']}-1D.txt", (head + body + "\n").encode())


def sigscan(scan: xr.Dataset, date: str = "7/5/2024") -> str:
    """Return the text of a SigScan: one row per energy, I0 in Counter 0 and the yield in Counter 1.

    Parameters
    ----------
    scan
        Kind ``xas.scans`` with the variables ``i0`` and ``signal`` in counts.
    date
        As the program writes it.
    """
    energy = scan["energy"].values
    step = float(energy[1] - energy[0])
    head = [
        f"Date: {date}", "", "Start, Stop, Increment", "Mono Energy", f"Start: {energy[0]:.8f}",
        f"Stop: {energy[-1]:.8f}", f"Increment: {step:.8f}", "Delay After Move (s): 0.00000000",
        "Count Time (s): 1.00000000", "Scan Number: 1", "Bi-directional: No", "Stay at End: 0",
        "Description Length: 0", "",
    ]  # fmt: skip
    names = "Time (s)\tMono Energy\tMono Energy\tBeam Current\tGate\tCounter 0\tCounter 1"
    lines = [*head, names]
    for i, (e, flux, signal) in enumerate(zip(energy, scan["i0"].values, scan["signal"].values, strict=True)):
        clock = 137689.813 if i == 0 else 2.5 * i
        lines.append(f"{clock:.8f}\t{e:.8f}\t0.00000000\t500.0\t0.00000000\t{flux:.8f}\t{signal:.8f}")
    return "\n".join(lines) + "\n"
