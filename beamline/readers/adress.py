"""Files of the RIXS station at SLS ADRESS: CCD images with their settings behind, and events in HDF5.

The image is a TIFF, behind it sections of lines ``key = value``; the last five bytes of the file are where
that text begins (32 bits, little endian) and a ``w``. MonoEnergy (eV) is the excitation energy, ``exposure``
of ``[ccd]`` that of the image (s). There is no monitor of the flux in it.

The HDF5 file of a detector (``_d1``, ``_d2``, ``_d3``) keeps no images, but the photons found in them:
``entry/analysis/events`` (x, y in pixels) and their spectrum, the histogram of y − c₁x − c₂x² in bins of
1/ExpansionFactor pixel, cᵢ the CurvatureCF of ``entry/instrument/NDAttributes``. Those attributes have one
value per image; the events are those of all images together. On the file this was written for (775.5 eV,
4140 events) the histogram made of the events is the stored one, bin by bin.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.errors import DataFileError
from beamline.readers import energy_tables, tiff
from beamline.readers.hdf5_links import Tree
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

_LONGEST = 2**20
_TAIL = 2**16
_MOST = 2**27
_SECTION = re.compile(r"\[(\w+)\]")
_PAIR = re.compile(r"([\w.-]+) = (.*)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ATTRIBUTES, _ANALYSIS = "entry/instrument/NDAttributes", "entry/analysis"
_SAME_ENERGY = 0.2
"""Excitation energies (eV) of the images of one file differ by less: they are added up."""

_TOLD = (
    "SampleTemp",
    "PolarMode",
    "CountPerPhoton",
    "LowThreshold",
    "HighThreshold",
    "ExposureSplit",
    "AcquireTime",
)


def read_image(
    path: Path,
    *,
    frames: tuple[int, int] | None = None,
    timezone: str | None = None,
    stamp: str | None = None,
) -> xr.Dataset:
    """Read a CCD image with its settings.

    Parameters
    ----------
    path
        The file.
    frames, timezone, stamp
        As for any TIFF file.

    Raises
    ------
    DataFileError
        The image or the settings are damaged, or do not state an excitation energy.
    """
    import numpy as np

    settings = _settings(path)
    ds = tiff.read(path, frames=frames, timezone=timezone, stamp=stamp)
    energy = _stated(path, settings, "MonoEnergy")
    if energy is None:
        raise DataFileError(path, "does not state its excitation energy (MonoEnergy)")
    size = ds.sizes["frame"]
    energy_tables.check_energies(path, np.array([energy]))
    if energy_tables.ENERGY not in ds.coords:
        ds = ds.assign_coords({energy_tables.ENERGY: ("frame", np.full(size, energy))})
    exposure = _stated(path, settings, "ccd.exposure")
    if exposure is not None and exposure > 0:
        ds = ds.assign_coords(exposure=("frame", np.full(size, exposure)))
    current = _stated(path, settings, "BeamCurrent")
    if current is not None:
        label = {"units": "mA", "long_name": "ring current"}
        ds = ds.assign_coords(beam_current=("frame", np.full(size, current), label))
    return ds.assign_attrs(header=json.dumps(settings, ensure_ascii=False))


def read_events(path: Path) -> xr.Dataset:
    """Read the spectrum of the photons that were found in the images of a scan.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Dataset
        Kind ``rixs.spectra``: ``intensity`` (frame, pixel), one spectrum of photon events, with errors √N (1
        where there is none). ``i0`` is the magnitude of the summed RMU current, with its scatter as error,
        where the current differs from zero; where it does not, the attribute ``i0_missing`` says so.
        Neither its unit nor how it was wired is stated, so its sign means nothing.

    Raises
    ------
    DataFileError
        The file is damaged, the images have different energies, or the spectrum is not that of the events.
    """
    import numpy as np
    import xarray as xr

    with ExitStack() as stack:
        tree = Tree(path, stack)
        spectrum = _array(tree, f"{_ANALYSIS}/spectrum", 1)
        events = _array(tree, f"{_ANALYSIS}/events", 2)
        energies = _array(tree, f"{_ATTRIBUTES}/PhotonEnergy", 1).astype(float)
        told = {name: _optional(tree, name) for name in _TOLD}
        bend = [_optional(tree, f"CurvatureCF{i}") for i in (1, 2, 3)]
        per_pixel = _optional(tree, "ExpansionFactor")
        current = _optional(tree, "RMUCurrent")
    energy_tables.check_energies(path, energies)
    if np.ptp(energies) > _SAME_ENERGY:
        raise DataFileError(
            path, f"has images at {energies.min():.2f} to {energies.max():.2f} eV in one spectrum"
        )
    if not (np.isfinite(spectrum).all() and (spectrum >= 0).all() and (spectrum == np.rint(spectrum)).all()):
        raise DataFileError(path, "has a spectrum that is no number of events")
    if events.shape[1] != 2 or not np.isfinite(events).all():
        raise DataFileError(path, f"has events of shape {events.shape}, not x and y of each")
    spectrum = spectrum.astype(float)
    attrs: dict[str, Any] = {"events": len(events), "images": int(energies.size)}
    attrs["spectrum"] = _agreement(path, spectrum, events, bend, per_pixel)
    attrs |= {name: float(values.mean()) for name, values in told.items() if values is not None}
    coords: dict[str, Any] = {
        "pixel": np.arange(spectrum.size),
        energy_tables.ENERGY: ("frame", [float(energies.mean())]),
        "file": ("frame", [path.name]),
    }
    flux = _flux(current)
    if isinstance(flux, str):
        attrs["i0_missing"] = flux
    else:
        label = {"units": "ADU", "long_name": "RMU current summed over the images, unit not stated"}
        coords["i0"] = ("frame", [abs(flux[0])], label)
        coords["i0_errors"] = ("frame", [flux[1]], {**label, "long_name": "standard deviation of it"})
        attrs["i0_sign"] = "negative, its magnitude is given" if flux[0] < 0 else "positive"
    return xr.Dataset(
        {
            "intensity": (("frame", "pixel"), spectrum[np.newaxis], {"units": "photon"}),
            "intensity_errors": (("frame", "pixel"), np.sqrt(np.maximum(spectrum, 1.0))[np.newaxis]),
        },
        coords=coords,
        attrs=attrs,
    )


def _agreement(path: Path, spectrum: Any, events: Any, bend: list[Any], per_pixel: Any) -> str:
    """Return whether the stored spectrum is the histogram of the events.

    Raises
    ------
    DataFileError
        It holds more events than there are.
    """
    import numpy as np

    if spectrum.sum() > len(events):
        raise DataFileError(
            path,
            f"has {spectrum.sum():.0f} events in its spectrum, and {len(events)} events",
            "is it complete?",
        )
    if per_pixel is None or any(c is None for c in bend):
        return "as stored; the file lacks what it was made with"
    x, y = events.T
    c = [float(values[-1]) for values in bend]
    straight = y - c[0] * x - c[1] * x**2 - c[2] * x**3
    made, _ = np.histogram(straight, spectrum.size, (0, spectrum.size / float(per_pixel[-1])))
    odd = int(np.count_nonzero(made != spectrum))
    if odd:
        return f"as stored; {odd} bins differ from the events"
    return "as stored, and the histogram of the events"


def _flux(current: Any) -> tuple[float, float] | str:
    """Return the summed monitor and its error, or why there is none."""
    import numpy as np

    if current is None:
        return "the file has no RMU current"
    if not np.isfinite(current).all():
        return "the RMU current has gaps"
    mean, error = float(current.mean()), float(current.std() / np.sqrt(current.size))
    if abs(mean) <= 5 * error or (np.sign(current) != np.sign(mean)).any():
        return f"the RMU current, {mean:.2g} ± {current.std():.2g} per image, cannot be told from zero"
    return mean * current.size, max(error * current.size, abs(mean) * 1e-9)


def _settings(path: Path) -> dict[str, str]:
    """Return the settings behind an image as text: ``section.key`` to value."""
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        file.seek(max(size - 5, 0))
        end = file.read(5)
        start = int.from_bytes(end[:4], "little")
        if end[4:] != b"w" or not max(0, size - _LONGEST) <= start < size - 5:
            raise DataFileError(
                path, "has no settings behind its image, or they are cut off", "copy it again"
            )
        file.seek(start)
        content = file.read(size - 5 - start).decode("latin-1")
    settings: dict[str, str] = {}
    section = ""
    for line in content.split("\n"):
        if header := _SECTION.fullmatch(line.strip()):
            section = header[1]
        elif pair := _PAIR.fullmatch(line.strip()):
            settings[f"{section}.{pair[1]}"] = pair[2]
        elif line.strip():
            raise DataFileError(path, f"has the line {line[:40]!r} among its settings", "is it damaged?")
    return settings


def _stated(path: Path, settings: dict[str, str], name: str) -> float | None:
    """Return the number of a setting, by key or section and key; None where it is missing."""
    found = {v for k, v in settings.items() if k == name or k.rpartition(".")[2] == name}
    if not found:
        return None
    if len(found) > 1:
        raise DataFileError(path, f"states {name} several times: {', '.join(sorted(found))}")
    value = found.pop()
    if not _NUMBER.fullmatch(value):
        raise DataFileError(path, f"states {name} = {value[:40]!r}, which is no number")
    return float(value)


def _array(tree: Tree, name: str, ndim: int) -> np.ndarray[Any, Any]:
    """Return a dataset of numbers that must be there."""
    import h5py
    import numpy as np

    found = tree.get(tree.root, name)
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "iuf":
        raise DataFileError(tree.path, f"has no numbers at {name}", "is it a file of ADRESS?")
    if found.ndim != ndim or found.size == 0 or found.size * found.dtype.itemsize > _MOST:
        raise DataFileError(tree.path, f"has shape {found.shape} at {name}")
    tree.check(found, 0, found.shape[0])
    return np.asarray(found[()])


def _optional(tree: Tree, name: str) -> np.ndarray[Any, Any] | None:
    """Return an attribute of the images; None where it is missing or is no numbers."""
    import h5py
    import numpy as np

    found = tree.get(tree.root, f"{_ATTRIBUTES}/{name}")
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "iuf":
        return None
    if found.ndim != 1 or not 0 < found.size < 10**6:
        return None
    tree.check(found, 0, found.shape[0])
    return np.asarray(found[()], float)


def _is_image(head: bytes, path: Path) -> bool:
    if head[:4] not in (b"II*\0", b"MM\0*"):
        return False
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        file.seek(max(size - _TAIL, 0))
        tail = file.read()
    return any(mark in tail for mark in (b"[sample]\n", b"\n[ccd]\n", b"\n[beamline]\n", b"\nMonoEnergy = "))


def _is_events(head: bytes, path: Path) -> bool:
    if not head.startswith(b"\x89HDF\r\n\x1a\n"):
        return False
    import h5py

    try:
        with ExitStack() as stack:
            tree = Tree(path, stack)
            events = tree.get(tree.root, f"{_ANALYSIS}/events")
            return isinstance(events, h5py.Dataset) and tree.get(tree.root, _ATTRIBUTES) is not None
    except Exception:  # h5py raises whatever comes to hand on a damaged file
        return False


IMAGE = Format(
    name="CCD image of ADRESS",
    kind="images",
    suffixes=(),
    read=read_image,
    sniff=_is_image,
    companions=tiff.companions,
    frames=tiff.count,
)

EVENTS = Format(
    name="events of ADRESS",
    kind="rixs.spectra",
    suffixes=(),
    read=read_events,
    sniff=_is_events,
)
