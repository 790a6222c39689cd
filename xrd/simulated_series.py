"""Diffraction of a beamtime with known truth: ceria, a cell that is cycled, a powder that is heated.

Frames are 16-bit TIFFs of an integrating flat panel with the sidecars of QXRD, one folder per series, with
``geometry.poni`` and ``truth.json``. Phases are structures of the literature; how their cells follow charge
and temperature, and how much of each there is, is chosen to look like published series and is written into
the truth (docs/theory/simulation.md).
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline import simulate as channels
from beamline import tiff_files
from beamline.atomic import write_atomic
from beamline.errors import ConfigError
from calibration.geometry import Geometry
from xrd.simulate import CEO2, Crystal, Phase, Profile, Series, Spots, detect

Floats = NDArray[np.float64]

PANEL = Geometry(
    distance=1.4,
    poni1=0.2031,
    poni2=0.2067,
    rot1=0.004,
    rot2=-0.003,
    rot3=0.0,
    wavelength=0.1173,
    pixel_size=(200e-6, 200e-6),
    shape=(2048, 2048),
    orientation=3,
)
"""A panel of 2048 pixels of 200 um at the high-energy beamline 11-ID-C of the APS: up to 11 deg."""

GAIN = 12.0
"""ADU per photon."""

PROFILE = Profile(W=0.012**2, X=0.004)

LAYERED = Crystal(
    "layered",
    "R -3 m",
    (2.870, 2.870, 14.230, 90.0, 90.0, 120.0),
    (
        ("Li", 0.0, 0.0, 0.0, 1.0, 1.0),
        ("Ni", 0.0, 0.0, 0.5, 0.6, 0.3),
        ("Co", 0.0, 0.0, 0.5, 0.2, 0.3),
        ("Mn", 0.0, 0.0, 0.5, 0.2, 0.3),
        ("O", 0.0, 0.0, 0.2415, 1.0, 0.6),
    ),
)
"""LiNi0.6Co0.2Mn0.2O2 with lithium on 3a and the transition metals on 3b."""

SPINEL = Crystal(
    "spinel",
    "F d -3 m:2",
    (8.09, 8.09, 8.09, 90.0, 90.0, 90.0),
    (
        ("Li", 0.125, 0.125, 0.125, 1.0, 1.0),
        ("Ni", 0.5, 0.5, 0.5, 0.6, 0.4),
        ("Co", 0.5, 0.5, 0.5, 0.2, 0.4),
        ("Mn", 0.5, 0.5, 0.5, 0.2, 0.4),
        ("O", 0.2630, 0.2630, 0.2630, 1.0, 0.7),
    ),
)
"""The spinel of the same metals: lithium on 8a, metals on 16d, oxygen on 32e (origin 2)."""

ROCK_SALT = Crystal(
    "rock salt",
    "F m -3 m",
    (4.16, 4.16, 4.16, 90.0, 90.0, 90.0),
    (
        ("Ni", 0.0, 0.0, 0.0, 0.6, 0.5),
        ("Co", 0.0, 0.0, 0.0, 0.2, 0.5),
        ("Mn", 0.0, 0.0, 0.0, 0.2, 0.5),
        ("O", 0.5, 0.5, 0.5, 1.0, 0.7),
    ),
)

ALUMINIUM = Crystal(
    "aluminium", "F m -3 m", (4.0495, 4.0495, 4.0495, 90.0, 90.0, 90.0), (("Al", 0.0, 0.0, 0.0, 1.0, 0.8),)
)
COPPER = Crystal(
    "copper", "F m -3 m", (3.6149, 3.6149, 3.6149, 90.0, 90.0, 90.0), (("Cu", 0.0, 0.0, 0.0, 1.0, 0.55),)
)

CHARGE = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0)
EDGE_A = (2.870, 2.850, 2.834, 2.822, 2.818, 2.816, 2.816, 2.819)
EDGE_C = (14.230, 14.310, 14.400, 14.460, 14.445, 14.370, 14.210, 13.950)
"""Charge fraction, and a and c (angstrom) of the layered cell there: c rises, then falls above 4.3 V."""


def layered_at(charge: Floats) -> tuple[Crystal, ...]:
    """Return the layered crystal at charge fractions: a(x) and c(x), monotonic cubics, and 1 - x lithium."""
    from scipy.interpolate import PchipInterpolator

    a, c = PchipInterpolator(CHARGE, EDGE_A)(charge), PchipInterpolator(CHARGE, EDGE_C)(charge)
    lithium, *rest = LAYERED.atoms
    return tuple(
        dataclasses.replace(
            LAYERED,
            cell=(float(edge_a), float(edge_a), float(edge_c), 90.0, 90.0, 120.0),
            atoms=((*lithium[:4], 1.0 - float(x), lithium[5]), *rest),
        )
        for x, edge_a, edge_c in zip(charge, a, c, strict=True)
    )


def write_ceria(
    folder: str | os.PathLike[str], geometry: Geometry = PANEL, seed: int = 0, counts: float = 1500.0
) -> Path:
    """Write a frame of ceria, the calibrant.

    Parameters
    ----------
    folder
        Gets ``raw/ceria_00001.tif`` with its sidecar, ``geometry.poni``, the true one, and ``truth.json``.
    geometry
        The detector.
    seed
        Seed of the noise.
    counts
        Photons per pixel at the top of the strongest ring.

    Returns
    -------
    Path
        The file ``truth.json``.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    times = np.array(["2022-06-14T10:00:00"], "datetime64[ns]")
    return write_series(folder, "ceria", geometry, [Phase((CEO2,), profile=PROFILE)], times, seed, counts)


def write_cycling(
    folder: str | os.PathLike[str],
    frames: int = 40,
    geometry: Geometry = PANEL,
    seed: int = 0,
    counts: float = 600.0,
    spots: int = 40,
) -> Path:
    """Write frames of a half cell while it is charged and discharged: cathode, aluminium, copper, and spots.

    The cell is that of `beamline.simulate.cycle`, whose files `beamline.simulate.write_channels` writes: the
    frames are spread evenly over its time, and the cathode is at its charge fraction at mid-exposure.

    Parameters
    ----------
    folder
        As in `write_ceria`, with ``raw/cell_*.tif``.
    frames
        Number of frames.
    geometry
        The detector.
    seed
        Seed of noise and spots.
    counts
        Photons per pixel at the top of the strongest ring of the first frame.
    spots
        Spots of single crystals of aluminium, which stay where they are.

    Returns
    -------
    Path
        The file ``truth.json``.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    cell = channels.cycle()
    times = cell["time"].values
    at = times[0] + np.linspace(0.02, 0.98, frames) * (times[-1] - times[0])
    charge = np.interp(at.astype(float), times.astype(float), cell["charge_fraction"].values)
    phases = [
        Phase(layered_at(charge), profile=PROFILE),
        Phase((ALUMINIUM,) * frames, (0.25,) * frames, PROFILE),
        Phase((COPPER,) * frames, (0.05,) * frames, PROFILE),
    ]
    still = Spots(ALUMINIUM, spots, seed=seed) if spots else None
    more = {"charge_fraction": charge.tolist()}
    return write_series(folder, "cell", geometry, phases, at, seed, counts, still, more)


def write_heating(
    folder: str | os.PathLike[str],
    frames: int = 58,
    geometry: Geometry | None = None,
    seed: int = 0,
    counts: float = 600.0,
) -> Path:
    """Write frames of a charged cathode that is heated: layered, then spinel, then rock salt.

    The furnace is that of `beamline.simulate.heat`, whose files `beamline.simulate.write_channels` writes.

    Parameters
    ----------
    folder
        As in `write_ceria`, with ``raw/heat_*.tif``.
    frames
        Number of frames, spread evenly over the time of the furnace.
    geometry
        The detector; `PANEL` at 0.24125 angstrom and 0.7 m where not given, as at 17-BM of the APS.
    seed
        Seed of the noise.
    counts
        Photons per pixel at the top of the strongest ring of the first frame.

    Returns
    -------
    Path
        The file ``truth.json``.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    geometry = geometry or dataclasses.replace(PANEL, wavelength=0.24125, distance=0.7)
    furnace = channels.heat()
    times = furnace["time"].values
    at = times[0] + np.linspace(0.0, 0.985, frames) * (times[-1] - times[0])
    temperature = np.interp(at.astype(float), times.astype(float), furnace["temperature"].values)
    first, second = (1 / (1 + np.exp(-(temperature - t) / w)) for t, w in ((265.0, 12.0), (430.0, 18.0)))
    volumes = {"layered": 1 - first, "spinel": first * (1 - second), "rock salt": second}
    (charged,) = layered_at(np.array([0.6]))
    warm = temperature - 25.0
    cells = {
        "layered": _stretched(charged, 1 + 1.2e-5 * warm, 1 + 2.0e-5 * warm),
        "spinel": _stretched(SPINEL, 1 + 1.0e-5 * warm, 1 + 1.0e-5 * warm),
        "rock salt": _stretched(ROCK_SALT, 1 + 1.4e-5 * warm, 1 + 1.4e-5 * warm),
    }
    phases = [Phase(cells[name], tuple(volumes[name].tolist()), PROFILE) for name in cells]
    more = {"temperature_degC": temperature.tolist()}
    return write_series(folder, "heat", geometry, phases, at, seed, counts, None, more)


def write_series(
    folder: str | os.PathLike[str],
    stem: str,
    geometry: Geometry,
    phases: Sequence[Phase],
    times: NDArray[np.datetime64],
    seed: int = 0,
    counts: float = 600.0,
    spots: Spots | None = None,
    more: dict[str, Any] | None = None,
    exposure: float = 1.0,
    summed: int = 10,
) -> Path:
    """Write frames one at a time, with sidecars, geometry and truth.

    Parameters
    ----------
    folder
        Made where it is not there.
    stem
        Beginning of the names of the frames.
    geometry, phases, counts, spots
        As in `xrd.simulate.Series`.
    times
        Mid-exposures, UTC.
    seed
        Seed of the noise.
    more
        What else belongs into the truth.
    exposure, summed
        Of one exposure, s, and how many are summed in a frame.

    Returns
    -------
    Path
        The file ``truth.json``: of every phase, by frame, its cell, volume (as a part of all phases), 2θ of
        its rings and their hkl.

    Raises
    ------
    ConfigError
        There are not as many times as frames.
    DataFileError
        A file cannot be written.
    """
    folder = Path(folder)
    if len(times) != len(phases[0].crystals):
        raise ConfigError("times", f"are {len(times)}, frames are {len(phases[0].crystals)}")
    series = Series(geometry, phases, counts, beam_stop=0.6, spots=spots)
    for number, expected in enumerate(series.expected()):
        path = folder / "raw" / f"{stem}_{number + 1:05d}.tif"
        write_atomic(path, tiff_files.encode(detect(expected, gain=GAIN, seed=seed, number=number)))
        ended = times[number] + np.timedelta64(round(exposure * summed * 5e8), "ns")
        text = sidecar(path.name, ended, exposure, summed, geometry.pixel_size)
        write_atomic(path.with_name(f"{path.name}.metadata"), text.encode())
    geometry.save(folder / "geometry.poni")
    truth = {
        "seed": seed,
        "wavelength_angstrom": geometry.wavelength,
        "gain_adu_per_photon": GAIN,
        "time": [f"{moment}Z" for moment in times],
        "phases": _phases(series, phases),
        **(more or {}),
    }
    path = folder / "truth.json"
    write_atomic(path, (json.dumps(truth, indent=1) + "\n").encode())
    return path


def sidecar(
    name: str, ended: np.datetime64, exposure: float, summed: int, pixel_size: tuple[float, float]
) -> str:
    """Return the ``.metadata`` QXRD writes beside a frame; its stamp is the end of the exposure."""
    seconds = int(ended.astype("datetime64[us]").astype(np.int64)) / 1e6
    moment = datetime.fromtimestamp(seconds, UTC)
    lines = {
        "dateString": moment.strftime("%Y.%m.%d : %H:%M:%S.%f")[:-3],
        "detectorType": "0",
        "detectorTypeName": "PerkinElmer",
        "detectorXPixelSize": f"{pixel_size[1] * 1e6:g}",
        "detectorYPixelSize": f"{pixel_size[0] * 1e6:g}",
        "exposureTime": f"{exposure:g}",
        "fileBase": name,
        "summedExposures": str(summed),
        "timeStamp": f"{seconds:.3f}",
    }
    return "[metadata]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())


def _stretched(crystal: Crystal, across: Floats, along: Floats) -> tuple[Crystal, ...]:
    a, b, c, *angles = crystal.cell
    return tuple(
        dataclasses.replace(crystal, cell=(a * float(x), b * float(x), c * float(z), *angles))
        for x, z in zip(across, along, strict=True)
    )


def _phases(series: Series, phases: Sequence[Phase]) -> dict[str, Any]:
    count = len(phases[0].crystals)
    volumes = np.array([phase.volumes or (1.0,) * count for phase in phases])
    volumes = volumes / volumes.sum(axis=0)
    truth = series.truth()
    record: dict[str, Any] = {}
    for phase, volume in zip(phases, volumes, strict=True):
        name = phase.crystals[0].name
        rings = truth.isel(reflection=truth["phase"].values == name)
        record[name] = {
            "space_group": phase.crystals[0].space_group,
            "cell": [list(crystal.cell) for crystal in phase.crystals],
            "volume_fraction": volume.tolist(),
            "hkl": np.stack([rings[index].values for index in "hkl"], axis=1).tolist(),
            "two_theta_deg": rings["position"].values.tolist(),
        }
    return record
