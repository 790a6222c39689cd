"""Patterns in the formats of refinement programs: one file per frame.

Files are ``<name>_0000.<suffix>``, numbered from 0 as the frames of the result are; ``<name>.<suffix>``
where there is only one. Numbers have ten significant digits.

``xye``
    TOPAS: 2θ (deg), intensity, standard deviation, in lines of three numbers below comments that begin with
    an apostrophe. Empty bins (NaN) have no line; a comment counts them. The raw file of a frame is named.
    GSAS-II takes any comment with a small letter q for one about scattering vectors, and then 2θ for q
    (G2pwd_xye.py, ContentsValidator; a capital Q is harmless). So q is written as %71 in comments, as in a
    URL, and in names of files % as %25.
``fxye``
    GSAS: the same three numbers with 2θ in centidegrees, lines of 80 characters that end with CR and LF,
    below a title and a line ``BANK 1 N N CONS start step 0 0 FXYE`` (A. C. Larson, R. B. Von Dreele, GSAS
    manual, LAUR 86-748). Bins are even in 2θ; an empty one is 0 with error 0, which GSAS and GSAS-II leave
    out. Beside it lies ``<name>.instprm`` of GSAS-II with what is known of the instrument: wavelength, and
    the polarisation that is left in the pattern. The widths in it are GSAS-II's own defaults, to be refined
    on a standard.
``chi``
    FIT2D: title, labels of the axes, number of points, then 2θ, intensity and, as pyFAI adds, standard
    deviation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from beamline import __version__, model, provenance
from beamline.errors import SchemaError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

Files = Iterator[tuple[str, bytes]]


def xye(name: str, ds: xr.Dataset) -> Files:
    """Yield the files for TOPAS.

    Raises
    ------
    SchemaError
        The patterns have no errors.
    """
    for stem, frame, index, number in _frames(name, ds):
        table, measured = _table(name, frame)
        comments = [
            f"{model.kind_of(ds)}, frame {index} of {number}, numbered from 0",
            *_conditions(frame),
            _origin(ds),
            f"empty bins left out: {int((~measured).sum())} of {measured.size}",
            f"two_theta (deg), intensity ({_units(frame['intensity'])}), standard deviation",
        ]
        lines = [f"' {escaped(comment, 'q')}" for comment in comments]
        lines += [" ".join(f"{value:.10g}" for value in row) for row in table[measured].tolist()]
        yield f"{stem}.xye", text(lines)


def fxye(name: str, ds: xr.Dataset) -> Files:
    """Yield the files for GSAS, and the instrument parameters of GSAS-II.

    Raises
    ------
    SchemaError
        The patterns have no errors, or their bins are not even in 2θ.
    """
    import numpy as np

    two_theta = ds["two_theta"].values
    step = float(two_theta[-1] - two_theta[0]) / max(len(two_theta) - 1, 1)
    if not np.allclose(np.diff(two_theta), step, rtol=1e-4, atol=0):
        raise SchemaError(
            f"{name}: two_theta", "is not even, as FXYE needs it", 'integrate with axis="two_theta"'
        )
    for stem, frame, index, number in _frames(name, ds):
        table, measured = _table(name, frame)
        found = np.flatnonzero(measured)
        if not found.size:
            raise SchemaError(f"{name}: frame {index}", "has no measured bin", "leave it out")
        part = np.where(measured[:, np.newaxis], table, [0, 0, 0])[found[0] : found[-1] + 1]
        part[:, 0] = 100 * two_theta[found[0] : found[-1] + 1]
        points = len(part)
        lines = [
            escaped(f"{stem}: frame {index} of {number}, {_origin(ds)}", "%"),
            f"BANK 1 {points} {points} CONS {part[0, 0]:.8g} {100 * step:.8g} 0 0 FXYE",
            *(" ".join(f"{value:.10g}" for value in row) for row in part.tolist()),
        ]
        yield f"{stem}.fxye", "".join(f"{line[:80]:<80}\r\n" for line in lines).encode("ascii", "replace")
    if "wavelength" in ds.attrs:
        yield f"{name}.instprm", text(_instrument(ds))


def chi(name: str, ds: xr.Dataset) -> Files:
    """Yield the files as FIT2D writes them.

    Raises
    ------
    SchemaError
        The patterns have no errors.
    """
    for stem, frame, index, number in _frames(name, ds):
        table, measured = _table(name, frame)
        lines = [
            escaped(f"{stem}: frame {index} of {number}, {_origin(ds)}", "%"),
            "2-Theta Angle (Degrees)",
            "Intensity",
            f"{int(measured.sum()):12d}",
            *(" ".join(f"{value:16.9e}" for value in row) for row in table[measured].tolist()),
        ]
        yield f"{stem}.chi", text(lines)


def _frames(name: str, ds: xr.Dataset) -> Iterator[tuple[str, xr.Dataset, int, int]]:
    """Yield name of the file without its suffix, Dataset, index and number of every frame."""
    frames = ds if "frame" in ds.dims else ds.expand_dims("frame")
    number = frames.sizes["frame"]
    width = max(4, len(str(number - 1)))
    for index in range(number):
        yield f"{name}_{index:0{width}d}" if number > 1 else name, frames.isel(frame=index), index, number


def _table(name: str, frame: xr.Dataset) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return 2θ, intensity and error in columns, and which rows were measured."""
    import numpy as np

    if "intensity_errors" not in frame:
        raise SchemaError(f"{name}: intensity", "has no errors, which the format needs", "export it as csv")
    columns = [frame[column].values for column in ("two_theta", "intensity", "intensity_errors")]
    table = np.column_stack(columns)
    return table, np.isfinite(table).all(axis=1)


def _instrument(ds: xr.Dataset) -> list[str]:
    """Return the lines of an ``.instprm``.

    GSAS-II multiplies with P + (1 - P) cos²2θ at azimuth 0: 1 for P = 1, which is right for a corrected
    pattern; whole rings of an uncorrected one have the mean over the azimuth, (1 + cos²2θ) / 2, whatever
    the beam.
    """
    left = 1.0 if ds.attrs.get("polarization_corrected") else 0.5
    values = {
        "Type": "PXC",
        "Bank": 1.0,
        "Lam": ds.attrs["wavelength"],
        "Polariz.": left,
        "Azimuth": 0.0,
        "Zero": 0.0,
        "U": 2.0,
        "V": -2.0,
        "W": 5.0,
        "X": 0.0,
        "Y": 0.0,
        "Z": 0.0,
        "SH/L": 0.002,
    }
    head = "#GSAS-II instrument parameter file; do not add/delete items!"
    return [head, *(f"{key}:{value}" for key, value in values.items())]


def _conditions(frame: xr.Dataset) -> Iterator[str]:
    """Yield raw file, wavelength, time and the other numbers that belong to one frame."""
    if "file" in frame.coords and frame["file"].ndim == 0:
        yield f"file: {escaped(str(frame['file'].values), '%')}"
    if "wavelength" in frame.attrs:
        yield f"wavelength: {frame.attrs['wavelength']:.10g} angstrom"
    for name, coord in frame.coords.items():
        if coord.ndim == 0 and coord.dtype.kind in "iufM":
            yield f"{name}: {_shown(coord)} {_units(coord)}".rstrip()


def _shown(coord: xr.DataArray) -> str:
    import numpy as np

    if coord.dtype.kind == "M":
        stamp = str(np.datetime_as_string(coord.values))
        return "" if stamp == "NaT" else stamp
    value = coord.values.item()
    return "" if value != value else str(value) if coord.dtype.kind in "iu" else f"{value:.10g}"


def _units(array: xr.DataArray) -> str:
    if array.dtype.kind == "M":
        return "UTC" if array.name == model.TIME else ""
    return str(array.attrs.get("units", ""))


def _origin(ds: xr.Dataset) -> str:
    return f"redoxlight {__version__}, history {provenance.result_id(ds)}"


def escaped(line: str, characters: str) -> str:
    """Return a text with some characters, and those that would end the line, as in a URL."""
    return "".join(f"%{ord(c):02X}" if c in characters or not c.isprintable() else c for c in line)


def text(lines: list[str]) -> bytes:
    """Return lines as the content of a file."""
    return ("\n".join(lines) + "\n").encode()


def file_name(place: str) -> str:
    """Return a place in a tree as a name of a file."""
    return re.sub(r"[^\w.+-]+", "_", place).strip("_.")
