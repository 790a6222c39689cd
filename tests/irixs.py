"""A small iRIXS scan on disk, in the layout of ALS 8.0.1, with known content."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rixs import irixs_files
from rixs.irixs_files import COLUMNS as COLUMNS
from rixs.irixs_files import write_images as write_images
from rixs.irixs_files import write_spectra as write_spectra
from rixs.irixs_files import write_table as write_table


def rows(images: np.ndarray, stem: str = "scan", start: int = 1) -> list[dict[str, str]]:
    """Return the table's rows for these images: energies from 530 eV in steps of 0.5, five minutes apart."""
    numbers = np.arange(len(images))
    return irixs_files.rows(images, 530 + 0.5 * numbers, 1e7 + numbers, stem, start)


def images(count: int = 3, seed: int = 0) -> np.ndarray:
    """Return random images, all different."""
    return np.random.default_rng(seed).integers(0, 500, (count, 4, 6)).astype(np.uint16)


def write_scan(folder: Path, stack: np.ndarray | None = None) -> Path:
    """Write a complete scan and return its table."""
    stack = images() if stack is None else stack
    table = rows(stack)
    write_images(folder, table, stack)
    return write_table(folder, table)
