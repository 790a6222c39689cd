"""iRIXS scans of ALS beamline 8.0.1: a table of points, and one image or spectrum for each.

::

    CCD Scan 17174/cox17174-AI.txt             header, then one tab separated row per point
    CCD Scan 17174/Andor/cox17174-00001.tif    64 × 2048 uint16: slit (binned) × dispersion
                         cox17174-00001-1D.txt its column sums

What the files do not say outright, established on scans of March to July 2024:

* Columns come and go with the years (12 or 13), so they are found by name; images and spectra are found by
  the table's ``Filename``, never by their order.
* The table's ``Counts`` is the sum of the image. It tells a swapped or half-written image.
* A constant ``Background`` was subtracted from every pixel and the rest clipped at zero before saving. The
  header of a ``-1D.txt`` states the background of the exposure *before*; the row of the table has the right
  one.
* Rows carry the time of day and no date. The date is that of the day folder (``240705``) in ``Data File
  Path``; midnight is where the clock falls back by more than half a day.
* No file states the exposure, nor whether a row's time is the start or the end of it. That time is therefore
  a ``timestamp``; mid-exposure (``time``) is known only where options state both. The attribute
  ``point_interval`` is the usual time between stamps, which is somewhat more than the exposure.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from beamline.errors import ConfigError, DataFileError
from beamline.readers import stamps, tiff
from beamline.readers.images import MOMENTS
from beamline.readers.registry import Format
from beamline.readers.text import parse_number

if TYPE_CHECKING:
    import xarray as xr

T = TypeVar("T")

TABLE = "-AI.txt"
IMAGE = ".tif"
SPECTRUM = "-1D.txt"
DETECTOR = "Andor"

ENERGY = "BL 8 Energy"
CHANNELS = {
    "Izero": ("i0", "count", "incident flux monitor"),
    "Izero 2": ("i0_2", "count", "second incident flux monitor"),
    "TFY": ("tfy", "count", "total fluorescence yield"),
    "TEY": ("tey", "count", "total electron yield"),
    "Background": ("background", "ADU", "background subtracted from every pixel"),
}
"""Columns kept as coordinates; those that read zero in every file (currents, flux) are not."""


@dataclass(frozen=True)
class Scan:
    """The table of a scan, as text: its header and its complete rows."""

    header: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    broken_rows: int

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        return [row[self.columns.index(name)] for row in self.rows]

    def numbers(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return a column as numbers."""
        return np.array([float(cell) for cell in self.column(name)])

    def entry(self, key: str) -> str:
        """Return the text behind ``key:`` in the header, "" where there is none."""
        return next((line.split(":", 1)[1].strip() for line in self.header if line.startswith(f"{key}:")), "")


@dataclass(frozen=True)
class _Clock:
    """What the reader was told about the clock, as `read_images` has it."""

    timezone: str
    date: str | None
    stamp: str | None
    exposure: float | None

    def __post_init__(self) -> None:
        if self.stamp is not None and self.stamp not in MOMENTS:
            raise ConfigError(
                f"stamp={self.stamp!r}", "is not a moment of an exposure", f"one of {', '.join(MOMENTS)}"
            )
        if self.exposure is not None and not 0 < self.exposure < np.inf:
            raise ConfigError(f"exposure={self.exposure!r}", "is not a time in s", "give a number above 0")


def read_images(
    path: Path,
    *,
    timezone: str = "America/Los_Angeles",
    date: str | None = None,
    stamp: str | None = None,
    exposure: float | None = None,
) -> xr.Dataset:
    """Read the images of a scan: counts (frame, y, x), uint16, with the table's channels as coordinates.

    Parameters
    ----------
    path
        The ``-AI.txt``.
    timezone
        Time zone of the beamline's clock.
    date
        Day the scan began (YYYY-MM-DD), where the header's day folder is wrong or missing.
    stamp
        What the time of a row stands for: "start", "middle" or "end" of the exposure.
    exposure
        Exposure of a point, s. With it and `stamp` there is ``time`` (mid-exposure), not ``timestamp``.
    """
    import xarray as xr

    scan = parse(path)
    rows, images, missing = _collect(scan, path, IMAGE, _image)
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise DataFileError(path, f"has images of several sizes ({sorted(shapes)})", "read them apart")
    counts = np.stack(images)
    _check_sums(scan, path, rows, counts.sum(axis=(1, 2), dtype=np.int64))
    ds = xr.Dataset(
        {"counts": (("frame", "y", "x"), counts, {"units": "ADU"})},
        coords=_coords(scan, path, rows, _Clock(timezone, date, stamp, exposure)),
        attrs=_attrs(scan, path, rows, missing, IMAGE),
    )
    # An ADC that reads full scale has been lowered by the background before it was saved.
    full_scale = np.full(len(rows), float(np.iinfo(counts.dtype).max))
    if "background" in ds.coords:
        full_scale -= ds["background"].values
    label = {"units": "ADU", "long_name": "counts of a saturated pixel"}
    return ds.assign_coords(saturation_level=("frame", full_scale, label))


def read_spectra(
    path: Path,
    *,
    timezone: str = "America/Los_Angeles",
    date: str | None = None,
    stamp: str | None = None,
    exposure: float | None = None,
) -> xr.Dataset:
    """Read the column sums the beamline saved: intensity (frame, pixel) in ADU, without errors.

    Parameters are those of `read_images`. The images a scan was saved without are gone: spikes and curvature
    are in these sums for good.
    """
    import xarray as xr

    scan = parse(path)
    rows, spectra, missing = _collect(scan, path, SPECTRUM, _spectrum)
    lengths = {len(counts) for counts, _ in spectra}
    if len(lengths) > 1:
        raise DataFileError(path, f"has spectra of several lengths ({sorted(lengths)})", "read them apart")
    intensity = np.stack([counts for counts, _ in spectra])
    _check_sums(scan, path, rows, intensity.sum(axis=1))
    live_rows = np.repeat(np.array([[n] for _, n in spectra]), intensity.shape[1], axis=1)
    return xr.Dataset(
        {
            "intensity": (("frame", "pixel"), intensity, {"units": "ADU"}),
            "live_rows": (("frame", "pixel"), live_rows),
        },
        coords={
            "pixel": np.arange(intensity.shape[1]),
            **_coords(scan, path, rows, _Clock(timezone, date, stamp, exposure)),
        },
        attrs=_attrs(scan, path, rows, missing, SPECTRUM),
    )


def parse(path: Path) -> Scan:
    """Read the table of a scan.

    Raises
    ------
    DataFileError
        It has no table of points, lacks a column needed, or is damaged before its last row.
    """
    text = path.read_text(encoding="latin-1")
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("Time\t")), None)
    if start is None:
        raise DataFileError(path, "has no table of points (no line starts with 'Time')", "is it complete?")
    columns = tuple(name.strip() for name in lines[start].split("\t"))
    for needed in ("Time", ENERGY, "Filename"):
        if needed not in columns:
            raise DataFileError(path, f"has no column {needed!r}", f"its columns: {', '.join(columns)}")
    rows = [tuple(cell.strip() for cell in line.split("\t")) for line in lines[start + 1 :] if line.strip()]
    whole = [_is_whole(row, columns) for row in rows]
    if rows and not text.endswith("\n"):  # its last cell may be cut short
        whole[-1] = False
    # A scan still running, or aborted, may end in half a row; anywhere else it is damage.
    if not all(whole[:-1]):
        raise DataFileError(path, f"row {whole.index(False) + 1} is damaged", "restore the file")
    rows = [row for row, good in zip(rows, whole, strict=True) if good]
    if not rows:
        raise DataFileError(path, "has no complete point", "was the scan aborted at once?")
    try:
        stems = [_plain_name(row[columns.index("Filename")]) for row in rows]
    except ValueError as error:
        raise DataFileError(path, f"names a file outside its folder ({error})", "restore the file") from error
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise DataFileError(path, f"names {', '.join(twice)} more than once", "which row is right?")
    return Scan(tuple(lines[:start]), columns, tuple(rows), whole.count(False))


def _is_whole(row: Sequence[str], columns: Sequence[str]) -> bool:
    if len(row) != len(columns):
        return False
    try:
        dt.datetime.strptime(row[columns.index("Time")], "%H:%M:%S")  # noqa: DTZ007 - a time of day
        for name in (ENERGY, "Counts", *CHANNELS):
            if name in columns and not np.isfinite(parse_number(row[columns.index(name)])):
                return False
    except ValueError:
        return False
    return bool(row[columns.index("Filename")])


def _plain_name(stem: str) -> str:
    """Return the name of an image if it is just that: a path would lead out of the scan's folder."""
    if stem in (".", "..") or any(sign in stem for sign in "/\\\0"):
        raise ValueError(f"{stem!r} is not the name of a file")
    return stem


def _collect(
    scan: Scan, path: Path, suffix: str, load: Callable[[Path], T]
) -> tuple[list[int], list[T], list[str]]:
    """Load the file of every row; return the rows that have one, what was loaded, and the rows without."""
    rows, loaded, missing = [], [], []
    for i, stem in enumerate(scan.column("Filename")):
        file = path.parent / DETECTOR / f"{stem}{suffix}"
        if file.is_file():
            rows.append(i)
            loaded.append(load(file))
        else:
            missing.append(stem)
    if not loaded:
        raise DataFileError(
            path,
            f"has no {suffix} file for any of its {len(missing)} points",
            f"is the folder {DETECTOR} there?",
        )
    return rows, loaded, missing


def _image(file: Path) -> np.ndarray[Any, Any]:
    image = tiff.read(file)["counts"].values
    if image.shape[0] != 1 or image.dtype.kind not in "iu":
        raise DataFileError(file, "is not one image of counts", "is it complete?")
    return np.asarray(image[0])


def _spectrum(file: Path) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """Return the column sums and the number of rows summed."""
    header, _, body = file.read_text(encoding="latin-1").partition("X\tCounts")
    sizes = dict(re.findall(r"^(X Size|Y Size): (\d+)\s*$", header, re.MULTILINE))
    try:
        table = np.array(
            [[int(cell) for cell in line.split("\t")] for line in body.split("\n") if line.strip()]
        )
        pixel, counts = table.T
        columns, summed = int(sizes["X Size"]), int(sizes["Y Size"])
    except (ValueError, KeyError) as error:
        raise DataFileError(file, f"is not a table of X and Counts ({error})", "is it complete?") from error
    if not np.array_equal(pixel, np.arange(columns)):
        raise DataFileError(file, f"has {len(pixel)} of {columns} columns", "is it complete?")
    return counts, summed


def _check_sums(scan: Scan, path: Path, rows: list[int], sums: np.ndarray[Any, Any]) -> None:
    """Compare every exposure with the table's own sum of it."""
    if "Counts" not in scan.columns or scan.entry("Clip to ROI") != "No":
        return
    stated = scan.numbers("Counts")[rows]
    for i in np.flatnonzero(stated != sums):
        raise DataFileError(
            path,
            f"{scan.column('Filename')[rows[i]]} sums to {sums[i]:.0f}, the table says {stated[i]:.10g}",
            "the file belongs to another point, or was changed",
        )


def _coords(scan: Scan, path: Path, rows: list[int], options: _Clock) -> dict[str, Any]:
    coords: dict[str, Any] = {"excitation_energy": ("frame", scan.numbers(ENERGY)[rows])}
    for column, (name, units, long_name) in CHANNELS.items():
        if column in scan.columns:
            coords[name] = ("frame", scan.numbers(column)[rows], {"units": units, "long_name": long_name})
    coords["file"] = ("frame", [scan.column("Filename")[i] for i in rows])
    clock = scan.column("Time")
    coords["local_time"] = ("frame", [clock[i] for i in rows])
    if options.exposure is not None:
        seconds = np.full(len(rows), float(options.exposure))
        coords["exposure"] = ("frame", seconds, {"units": "s", "long_name": "exposure, as stated"})
    day, source = _day(scan, path, options.date)
    if day is None:
        if options.stamp is not None:
            raise DataFileError(path, "does not say on which day it was measured", 'give date="YYYY-MM-DD"')
        return coords
    utc, notes = _utc(_elapsed(clock), day, clock[0], options.timezone, path)
    utc = utc[rows]
    attrs = {"date_from": source, "timezone": options.timezone, **notes}
    if options.stamp is None or options.exposure is None:
        label = "time stamp of the point (UTC), moment of the exposure not stated"
        coords["timestamp"] = ("frame", utc, {"long_name": label, **attrs})
        return coords
    to_middle = round(MOMENTS[options.stamp] * options.exposure * 1e9)
    attrs["stamp"] = f"{options.stamp} of the exposure, as stated"
    coords["time"] = ("frame", utc + np.timedelta64(to_middle, "ns"), attrs)
    return coords


def _attrs(scan: Scan, path: Path, rows: list[int], missing: list[str], suffix: str) -> dict[str, Any]:
    stems = set(scan.column("Filename"))
    present = sorted(file.name.removesuffix(suffix) for file in (path.parent / DETECTOR).glob(f"*{suffix}"))
    attrs: dict[str, Any] = {
        "beamline": "ALS 8.0.1 iRIXS",
        "scan": path.name.removesuffix(TABLE),
        "scan_type": scan.entry("Scan Type"),
        "background": "subtracted",
        "clipped": "at zero",
        "rows_without_file": ", ".join(missing),
        "files_without_row": ", ".join(stem for stem in present if stem not in stems),
        "broken_rows": scan.broken_rows,
    }
    elapsed = _elapsed(scan.column("Time"))
    if len(elapsed) > 1:
        attrs["point_interval"] = f"{float(np.median(np.diff(elapsed))):.0f} s"
    return attrs


def _elapsed(clock: list[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds since the first point; a clock that falls back by more than half a day has passed midnight."""
    times = [dt.datetime.strptime(text, "%H:%M:%S") for text in clock]  # noqa: DTZ007 - a time of day
    seconds = np.array([(t - times[0]).total_seconds() for t in times])
    midnights = np.concatenate([[0], np.cumsum(np.diff(seconds) < -43200)])
    return np.asarray(seconds + 86400.0 * midnights)


def _day(scan: Scan, path: Path, date: str | None) -> tuple[dt.date | None, str]:
    """Return the day the scan began, and where it comes from."""
    if date is not None:
        try:
            return dt.date.fromisoformat(date), "the option date"
        except ValueError as error:
            raise ConfigError(f"date {date!r}", "is not a date", "write YYYY-MM-DD") from error
    folder = re.search(r"\\(\d{6})\\[^\\]*$", scan.entry("Data File Path"))
    if folder is not None:
        try:
            day = dt.datetime.strptime(folder[1], "%y%m%d").date()  # noqa: DTZ007 - a day
            return day, f"the day folder {folder[1]} of the header's Data File Path (inferred)"
        except ValueError:
            pass
    return None, ""


def _utc(
    elapsed: np.ndarray[Any, Any], day: dt.date, first: str, timezone: str, path: Path
) -> tuple[np.ndarray[Any, np.dtype[np.datetime64]], dict[str, str]]:
    """Return the stamps in UTC; `elapsed` is what the wall clock showed after its first reading."""
    start = np.datetime64(dt.datetime.combine(day, dt.time.fromisoformat(first)), "ns")
    times, notes = stamps.to_utc(stamps.after(start, elapsed), timezone, str(path))
    return times, stamps.report(str(path), notes)


def _is_table(head: bytes, path: Path) -> bool:
    return b"\nTime\t" in head and b"Filename" in head and ENERGY.encode() in head


def _files(path: Path, suffix: str) -> list[Path]:
    """Return the files of the scan's points that exist; none where the table cannot be read."""
    try:
        stems = parse(path).column("Filename")
    except DataFileError:
        return []
    files = [path.parent / DETECTOR / f"{stem}{suffix}" for stem in stems]
    return [file for file in files if file.is_file()]


def _table_inside(folder: Path) -> Path | None:
    tables = sorted(folder.glob(f"*{TABLE}"))
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise DataFileError(folder, f"holds several scans ({names})", "name the one to read")
    return tables[0] if tables else None


def _refuse(path: Path) -> xr.Dataset:
    raise DataFileError(
        path,
        "is one exposure of an iRIXS scan and states neither its energy nor its flux",
        f"read the scan's {TABLE}, which does",
    )


IMAGES = Format(
    name="ALS 8.0.1 iRIXS images",
    kind="images",
    suffixes=(),
    read=read_images,
    sniff=lambda head, path: _is_table(head, path) and bool(_files(path, IMAGE)),
    companions=lambda path: _files(path, IMAGE),
    inside=_table_inside,
)

SPECTRA = Format(
    name="ALS 8.0.1 iRIXS spectra",
    kind="rixs.spectra",
    suffixes=(),
    read=read_spectra,
    sniff=_is_table,
    companions=lambda path: _files(path, SPECTRUM),
    inside=_table_inside,
)

EXPOSURE = Format(
    name="ALS 8.0.1 iRIXS exposure",
    kind="rixs.spectra",
    suffixes=(),
    read=_refuse,
    sniff=lambda head, path: head.startswith(b"Instrument: Andor") and b"ROI: " in head,
)
