"""A small iRIXS scan on disk, in the layout of ALS 8.0.1, with known content."""

from __future__ import annotations

from pathlib import Path

import fabio.tifimage
import numpy as np

COLUMNS = (
    "Time", "Frame #", "BL 8 Energy", "Izero", "Izero 2", "TFY", "TEY", "Sample Current", "Beam Current",
    "Total Flux", "Counts", "Background", "Filename",
)  # fmt: skip


def rows(images: np.ndarray, stem: str = "scan", start: int = 1) -> list[dict[str, str]]:
    """Return the table's rows for these images: energies from 530 eV in steps of 0.5, five minutes apart."""
    table = []
    for i, image in enumerate(images):
        minutes = 23 * 60 + 50 + 5 * i
        table.append(
            {
                "Time": f"{minutes // 60 % 24:02d}:{minutes % 60:02d}:00",
                "Frame #": f"{i + start}.00000000",
                "BL 8 Energy": f"{530 + 0.5 * i:.8f}",
                "Izero": f"{1e7 + i:.8f}",
                "Izero 2": "1000.0",
                "TFY": "5000.0",
                "TEY": "200.0",
                "Sample Current": "0.0",
                "Beam Current": "0.0",
                "Total Flux": "0.0",
                "Counts": f"{int(image.sum())}.00000000",
                "Background": "336.0",
                "Filename": f"{stem}-{i + start:05d}",
            }
        )
    return table


def write_table(
    folder: Path, table: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS, tail: str = ""
) -> Path:
    """Write the ``-AI.txt``; `tail` comes after the last row."""
    folder.mkdir(parents=True, exist_ok=True)
    head = [
        "SU", "Andor", "Scan Type: One Motor From File", "C:\\list.txt", "X Motor: BL 8 Energy",
        "Delay After Move (s): 0.1", "Stay at End: 0", "Curvature: 0.0", "Clip to ROI: No", "ROI: 1 2 3 4",
        "Background ROI: None", "Data File Path: C:\\BCS Setup Data\\240705\\CCD Scan 1",
    ]  # fmt: skip
    lines = [*head, "\t".join(columns), *("\t".join(row[name] for name in columns) for row in table)]
    path = folder / "scan-AI.txt"
    path.write_text("\r\n".join(lines) + "\r\n" + tail, encoding="latin-1", newline="")
    return path


def write_images(folder: Path, table: list[dict[str, str]], images: np.ndarray) -> None:
    """Write one TIFF for each row."""
    (folder / "Andor").mkdir(parents=True, exist_ok=True)
    for row, image in zip(table, images, strict=True):
        fabio.tifimage.TifImage(image).write(str(folder / "Andor" / f"{row['Filename']}.tif"))


def write_spectra(folder: Path, table: list[dict[str, str]], images: np.ndarray) -> None:
    """Write one ``-1D.txt`` for each row."""
    (folder / "Andor").mkdir(parents=True, exist_ok=True)
    for row, image in zip(table, images, strict=True):
        sums = image.sum(axis=0, dtype=int)
        head = (
            f"Instrument: Andor\nX Size: {sums.size}\nY Size: {len(image)}\nTotal Flux: 0.000\n"
            f"Total Counts: {sums.sum()}\nBackground: 336.0\nCurvature: 0.0\nClipped to ROI: No\n"
            "ROI: 1 2 3 4\nX\tCounts\n"
        )
        body = "\n".join(f"{x}\t{counts}" for x, counts in enumerate(sums))
        (folder / "Andor" / f"{row['Filename']}-1D.txt").write_text(head + body + "\n")


def images(count: int = 3, seed: int = 0) -> np.ndarray:
    """Return random images, all different."""
    return np.random.default_rng(seed).integers(0, 500, (count, 4, 6)).astype(np.uint16)


def write_scan(folder: Path, stack: np.ndarray | None = None) -> Path:
    """Write a complete scan and return its table."""
    stack = images() if stack is None else stack
    table = rows(stack)
    write_images(folder, table, stack)
    return write_table(folder, table)
