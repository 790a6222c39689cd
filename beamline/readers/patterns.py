"""Powder patterns in text files: columns of 2θ (or q), intensity and its error.

Which axis a file holds is taken from its labels, never from its numbers: ``.xye`` and ``.xy`` without labels
are 2θ in degrees by convention, GSAS files are in centidegrees by definition, ``.chi`` of Fit2D names the
axis in its second line, and pyFAI and Dioptas name the columns in the last comment. A ``.dat`` without labels
could be anything and is refused unless the option ``axis`` says what it is. q needs a wavelength:
2θ = 2 arcsin(q λ / 4π).

Errors. A point whose error in the file is not positive was not measured (an empty bin, an excluded region):
its intensity and its error become NaN, and ``attrs["masked_points"]`` counts such points. GSAS files of bare
counts have the errors GSAS gives them, sqrt(y/n) for y the mean of n counters, with one count for none:
sqrt(max(y, 1)/n). A file of two columns has no errors, and none are invented.

References: A. C. Larson, R. B. Von Dreele, GSAS manual (LAUR 86-748), "Powder diffraction data"; GSAS-II,
G2pwd_fxye.py; A. P. Hammersley, Fit2D manual (CHIPLOT files).
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.errors import ConfigError, DataFileError
from beamline.readers import text
from beamline.readers.registry import Format

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

AXES = {"two_theta": "deg", "two_theta_rad": "rad", "q": "1/angstrom", "q_nm": "1/nm"}
"""What the option ``axis`` may be, and the unit it stands for."""

_COMMENTS = "#'!/*"
_TWO_THETA = re.compile(r"(?i)\b(2|two)[\s_-]*(theta|th|θ)|\btth|2θ")
_Q = re.compile(r"(?i)\bq(?![a-z])|scattering vector")
_FOREIGN = re.compile(
    r"(?i)\bchi\s*\(?k|\bk\s+k?\d?\*?chi|\benergy|\bxmu\b|exafs|azimuth|radial|\br_mm|\bd\*2|\bd_a\b|spacing|\blog|\btof\b"
)
_WAVELENGTH = re.compile(r"(?i)wavelength\s*[:=]?\s*([-+.\deE]+)\s*(m|å|a|angstroms?)?\s*$", re.MULTILINE)
_TEMPERATURE = re.compile(r"(?m)^#\s*Temp \(K\)\s*=\s*([-+.\deE]+)")
_BANK = re.compile(r"(?m)^BANK\s+(\d+)\s+(\d+)\s+(\d+)\s+(\S+)(.*)$")


@dataclass(frozen=True)
class _Pattern:
    """Columns as they are in the file: the axis with its name in `AXES`, intensity, errors or None."""

    axis: str
    x: np.ndarray[Any, Any]
    intensity: np.ndarray[Any, Any]
    errors: np.ndarray[Any, Any] | None
    head: tuple[str, ...]


def read(
    path: Path, *, wavelength: float | None = None, axis: str | None = None, bank: int | None = None
) -> xr.Dataset:
    """Read a powder pattern.

    Parameters
    ----------
    path
        The file.
    wavelength
        Wavelength in angstrom; needed for a pattern over q whose header does not state it.
    axis
        What the first column is, for a file without labels: a key of `AXES`.
    bank
        Number of the bank to read of a GSAS file with several.

    Raises
    ------
    DataFileError
        The file is damaged, holds no powder pattern, or does not say what its first column is.
    ConfigError
        There is no such axis.
    """
    import numpy as np
    import xarray as xr

    if axis is not None and axis not in AXES:
        raise ConfigError(f"axis={axis!r}", "is not an axis of a pattern", f"one of {', '.join(AXES)}")
    content = text.decode(path)
    if _BANK.search(content):
        pattern = _gsas(content, path, bank)
    elif path.suffix.lower() == ".chi" and not content.lstrip().startswith("#"):
        pattern = _chi(content, path)
    else:
        pattern = _columns(content, path, axis)
    if wavelength is None:
        wavelength = _stated_wavelength("\n".join(pattern.head))
    two_theta = _two_theta(path, pattern, wavelength)
    intensity, errors, masked = _measured(path, pattern)
    ds = xr.Dataset(
        {"intensity": (("frame", "two_theta"), intensity[np.newaxis], {"units": ""})},
        coords={"two_theta": two_theta, "file": ("frame", [path.name])},
    )
    if errors is not None:
        ds["intensity_errors"] = (("frame", "two_theta"), errors[np.newaxis], {"units": ""})
    if masked:
        ds.attrs["masked_points"] = masked
    if wavelength is not None:
        ds.attrs["wavelength"] = wavelength
    comments = [line.rstrip() for line in pattern.head if line.strip()]
    if comments:
        ds.attrs["comments"] = "\n".join(comments)
    temperature = _TEMPERATURE.search("\n".join(pattern.head))
    if temperature is not None:
        ds = ds.assign_coords(temperature=("frame", [float(temperature[1]) - 273.15]))
    return ds


def _columns(content: str, path: Path, axis: str | None) -> _Pattern:
    """Read columns below comments."""
    table = text.split(content, path, _COMMENTS)
    named = axis or _axis_of_labels(table.head, path)
    if named is None:
        if path.suffix.lower() not in (".xy", ".xye"):
            raise DataFileError(path, "does not say what its first column is", 'give axis="two_theta" or "q"')
        named = "two_theta"
    if table.is_cut:
        warnings.warn(f"{path}: its last line may be cut off and is left out", stacklevel=2)
    columns = table.columns.T
    if len(columns) not in (2, 3):
        raise DataFileError(path, f"has {len(columns)} columns, a pattern has 2 or 3")
    return _Pattern(named, columns[0], columns[1], columns[2] if len(columns) == 3 else None, table.head)


def _axis_of_labels(head: tuple[str, ...], path: Path) -> str | None:
    """Return the axis the comments name: the last one, which labels the columns, else all others agree on."""
    lines = [line for line in head if line.strip()]
    if not lines:
        return None
    label = lines[-1]
    if _FOREIGN.search(label):
        raise DataFileError(
            path, f"is not a pattern over 2θ or q: {label.strip()[:60]!r}", "is it of another kind?"
        )
    if (named := _axis_of(label)) is not None:
        return named
    if _Q.search(label):
        raise DataFileError(path, "does not state the unit of its q", 'give axis="q" (1/angstrom) or "q_nm"')
    others = {axis for line in lines[:-1] if (axis := _axis_of(line)) is not None}
    if len(others) > 1:
        raise DataFileError(path, f"names several axes: {', '.join(sorted(others))}", "say which with axis=")
    return others.pop() if others else None


def _axis_of(label: str) -> str | None:
    """Return the axis a label such as "2-Theta Angle (Degrees)" or "q_nm^-1" stands for."""
    if _FOREIGN.search(label):
        return None
    if _TWO_THETA.search(label):
        return "two_theta_rad" if re.search(r"(?i)_rad\b|radian|\(rad\)|\[rad\]", label) else "two_theta"
    if _Q.search(label):
        if re.search(r"(?i)nm|nano", label):
            return "q_nm"
        if re.search(r"(?i)å|angstr|a\s*\^?\s*-\s*1|1/a\b", label):
            return "q"
    return None


def _chi(content: str, path: Path) -> _Pattern:
    """Read a Fit2D .chi file: title, label of x, label of y, number of points, points."""
    lines = content.split("\n")
    count = re.fullmatch(r"\s*(\d+)(\s+\d+)?\s*", lines[3]) if len(lines) > 4 else None
    if count is None:
        raise DataFileError(
            path, "is not a .chi file of Fit2D", "the fourth line should be the number of points"
        )
    axis = _axis_of(lines[1])
    if axis is None:
        raise DataFileError(path, f"is over {lines[1].strip()!r}, not over 2θ or q", "integrate it over 2θ")
    table = text.split(content, path, _COMMENTS, skip=4)
    _complete(path, len(table.columns), int(count[1]))
    columns = table.columns.T
    if len(columns) not in (2, 3):
        raise DataFileError(path, f"has {len(columns)} columns, a pattern has 2 or 3")
    return _Pattern(axis, columns[0], columns[1], columns[2] if len(columns) == 3 else None, table.head[:3])


def _gsas(content: str, path: Path, bank: int | None) -> _Pattern:
    """Read a GSAS powder data file: a title, comments, and banks of constant steps in centidegrees."""
    import numpy as np

    found = [match for match in _BANK.finditer(content) if bank is None or int(match[1]) == bank]
    if len(found) != 1:
        number = sum(1 for _ in _BANK.finditer(content))
        raise DataFileError(path, f"holds {number} banks, {len(found)} of them asked for", "give bank=")
    match = found[0]
    points, binning, rest = int(match[2]), match[4], match[5].split()
    if binning not in ("CONS", "CONST") or len(rest) < 2:
        raise DataFileError(path, f"has the binning {binning}, not constant steps of 2θ")
    form = rest[-1] if rest[-1].isalpha() else "STD"
    try:
        start, step = (text.parse_number(word) / 100.0 for word in rest[:2])
    except ValueError as error:
        raise DataFileError(path, f"has a bank whose start or step is {error}", "copy it again") from error
    following = _BANK.search(content, match.end())
    body = content[match.end() + 1 : following.start() if following else len(content)]
    head = tuple(content[: match.start()].rstrip().split("\n"))
    if form in ("FXYE", "FXY"):
        columns = text.split(body, path).columns.T
        if len(columns) != len(form) - 1:
            raise DataFileError(path, f"has {len(columns)} columns, {form} has {len(form) - 1}")
        _complete(path, columns.shape[1], points)
        errors = columns[2] if form == "FXYE" else _poisson(columns[1], 1.0)
        return _Pattern("two_theta", columns[0] / 100.0, columns[1], errors, head)
    if form == "ESD":
        values = _fixed(body, (8, 8), 5, points, path)
        return _Pattern("two_theta", start + step * np.arange(points), values[0], values[1], head)
    if form == "STD":
        values = _fixed(body, (2, 6), 10, points, path)
        errors = _poisson(values[1], np.maximum(values[0], 1.0))
        return _Pattern("two_theta", start + step * np.arange(points), values[1], errors, head)
    raise DataFileError(path, f"has a bank of type {form}", "convert it to FXYE with GSAS-II")


def _fixed(body: str, widths: tuple[int, int], groups: int, points: int, path: Path) -> np.ndarray[Any, Any]:
    """Read pairs of fixed width, `groups` to a line of 80 characters; a blank is zero."""
    import numpy as np

    size = sum(widths)
    pairs = []
    for line in body.split("\n"):
        record = line.rstrip()
        for at in range(0, min(len(record), groups * size), size):
            pair = record[at : at + widths[0]], record[at + widths[0] : at + size]
            try:
                pairs.append([text.parse_number(word) if word.strip() else 0.0 for word in pair])
            except ValueError as error:
                raise DataFileError(path, f"holds {record[at : at + size]!r} among its numbers") from error
    # the last record may be filled up to its full length
    _complete(path, min(len(pairs), points), points)
    if len(pairs) >= points + groups:
        raise DataFileError(path, f"has {len(pairs)} points, its header states {points}")
    columns: np.ndarray[Any, Any] = np.array(pairs[:points]).T
    return columns


def _poisson(counts: np.ndarray[Any, Any], counters: Any) -> np.ndarray[Any, Any]:
    """Return the errors of bare counts; 0, so no error at all, where the counts are negative."""
    import numpy as np

    errors: np.ndarray[Any, Any] = np.sqrt(np.maximum(counts, 1.0) / counters)
    return np.where(counts < 0, 0.0, errors)


def _complete(path: Path, found: int, stated: int) -> None:
    if found != stated:
        raise DataFileError(
            path, f"has {found} whole points, its header states {stated}", "is the file complete?"
        )


def _stated_wavelength(head: str) -> float | None:
    """Return the wavelength a header states, in angstrom: "Wavelength: 4.066e-11 m", "wavelength = 0.413"."""
    match = _WAVELENGTH.search(head)
    if match is None:
        return None
    try:
        value = float(match[1])
    except ValueError:
        return None
    angstrom = round(value * 1e10, 9) if (match[2] or "").lower() == "m" else value
    return angstrom if 1e-3 < angstrom < 100 else None


def _two_theta(path: Path, pattern: _Pattern, wavelength: float | None) -> np.ndarray[Any, Any]:
    """Return the axis as 2θ in deg."""
    import numpy as np

    x = pattern.x
    if not np.isfinite(x).all():
        raise DataFileError(path, "has an axis with gaps (NaN)")
    steps = np.diff(x)
    if not ((steps > 0).all() or (steps < 0).all()):
        turn = int(np.argmax(steps * np.sign(steps[0] or 1.0) <= 0)) + 2
        raise DataFileError(
            path, f"has an axis that turns or repeats at point {turn}", "sort or merge it first"
        )
    if pattern.axis in ("two_theta", "two_theta_rad"):
        two_theta = np.degrees(x) if pattern.axis == "two_theta_rad" else x
    else:
        if wavelength is None:
            raise DataFileError(
                path, "is over q, and its wavelength is not known", "give wavelength= (angstrom)"
            )
        sine = (x / 10.0 if pattern.axis == "q_nm" else x) * wavelength / (4.0 * math.pi)
        if np.abs(sine).max() > 1:
            raise DataFileError(path, f"has q beyond 4π/λ for {wavelength} angstrom", "check the wavelength")
        two_theta = 2.0 * np.degrees(np.arcsin(sine))
    if np.abs(two_theta).max() > 180:
        raise DataFileError(path, f"has 2θ up to {np.abs(two_theta).max():g} deg: not a scattering angle")
    return two_theta


def _measured(path: Path, pattern: _Pattern) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None, int]:
    """Return intensity and errors, NaN where nothing was measured, and how many points that are."""
    import numpy as np

    intensity = pattern.intensity.astype(float)
    if np.isinf(intensity).any() or (pattern.errors is not None and np.isinf(pattern.errors).any()):
        raise DataFileError(path, "has infinite values")
    if pattern.errors is None:
        return intensity, None, int(np.isnan(intensity).sum())
    # not (errors > 0) is also true of NaN
    unmeasured = ~(pattern.errors > 0) | np.isnan(intensity)
    if unmeasured.all():
        raise DataFileError(path, "has no point with a positive error")
    return (
        np.where(unmeasured, np.nan, intensity),
        np.where(unmeasured, np.nan, pattern.errors),
        int(unmeasured.sum()),
    )


def _sniff(head: bytes, path: Path) -> bool:
    if b"\0" in head:
        return False
    content = head.decode("latin-1").replace("\r", "\n")
    if _BANK.search(content):
        return True
    lines = content.split("\n")
    if path.suffix.lower() == ".chi":
        return len(lines) > 4 and _axis_of(lines[1]) is not None
    return any(re.match(r"#\s*(2th_(deg|rad)|q_(nm|A)\^-1)\b", line) for line in lines)


FORMAT = Format(
    name="powder pattern (text)",
    kind="xrd.patterns",
    suffixes=(".xye", ".xy", ".fxye", ".gsa", ".gss", ".xra", ".chi", ".dat"),
    read=read,
    sniff=_sniff,
)
