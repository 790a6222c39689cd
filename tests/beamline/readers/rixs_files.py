"""Small files of RIXS beamlines beside ALS 8.0.1: ADRESS images and events, stacks with energies."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.beamline.readers import files

SETTINGS = (
    "[sample]\ntemperature = 20.5\nsamz = 56.7\n[ccd]\nslope = -0.02689,3.001e-06\nframes = 1\n"
    "exposure = 300.4\n[beamline]\nIDPolar = 0\nBeamCurrent = 400.8\nMonoEnergy = 529.83\n"
    "BeamCenter = 318.07\n"
)
TABLE = "energy (eV)  i0  exposure (s)\n530.0  1000000  300\n531.0  1000100  300\n530.5  1000200  300\n"
"""Up and down: energies come in any order."""


def adress_image(frame: np.ndarray, settings: str = SETTINGS) -> bytes:
    """Return a TIFF with settings behind, and where they begin."""
    image = files.tiff([frame])
    return image + settings.encode() + len(image).to_bytes(4, "little") + b"w"


def adress_events(count: int = 200, **changes: Any) -> bytes:
    """Return a file of events; `changes` replace datasets by their names (None leaves one out)."""
    rng = np.random.default_rng(4)
    events = np.column_stack([rng.uniform(0, 64, count), rng.normal(20.3, 1.5, count)])
    bend = (-5e-3, -3e-6, 0.0)
    straight = events[:, 1] - sum(c * events[:, 0] ** (i + 1) for i, c in enumerate(bend))
    spectrum = np.histogram(straight, 160, (0, 40))[0].astype(float)
    images = 6
    values: dict[str, Any] = {
        "entry/analysis/events": events,
        "entry/analysis/spectrum": spectrum,
        "PhotonEnergy": 529.8 + 0.001 * np.arange(images),
        "RMUCurrent": -0.5 + 0.001 * np.arange(images),
        "ExpansionFactor": np.full(images, 4.0),
        "CountPerPhoton": np.full(images, 67.79),
        **{f"CurvatureCF{i + 1}": np.full(images, c) for i, c in enumerate(bend)},
        **changes,
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, value in values.items():
            if value is not None:
                file[name if "/" in name else f"entry/instrument/NDAttributes/{name}"] = value
        file.create_dataset("entry/instrument/detector/data", (40, 64, 0), "u2", maxshape=(40, 64, None))
    return buffer.getvalue()


def fits(frames: np.ndarray, energies: Any = None, unit: str = "eV", **header: Any) -> bytes:
    """Return a FITS file of a stack, with a binary table of energies where there are some."""
    from astropy.io import fits as library

    image = library.PrimaryHDU(frames)
    image.header.update(header)
    parts = [image]
    if energies is not None:
        column = library.Column("Photon Energy", "D", unit=unit, array=np.asarray(energies, float))
        parts.append(library.BinTableHDU.from_columns([column]))
    buffer = io.BytesIO()
    library.HDUList(parts).writeto(buffer)
    return buffer.getvalue()


def hdf5(frames: np.ndarray, energies: Any = None, name: str = "photon_energy", **attributes: Any) -> bytes:
    """Return an HDF5 stack with energies beside it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["entry/data"] = frames
        if energies is not None:
            file[f"entry/{name}"] = energies
            file[f"entry/{name}"].attrs.update(attributes)
    return buffer.getvalue()


def table(folder: Path, stem: str, content: str = TABLE) -> Path:
    """Write a table of energies beside a stack."""
    return files.write(folder / f"{stem}.energies.txt", content.encode())
