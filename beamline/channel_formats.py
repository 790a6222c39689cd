"""Channels as cyclers, furnaces and gas analysers write them: the inverse of the readers.

Layouts follow exports of EC-Lab 11, a Maccor Series 4000 and Zilien: which lines stand where, which clock is
local, what is counted and what has a sign. Local times are written in the zone asked for; elapsed times count
from a whole second, as these programs only write whole seconds of it.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beamline.errors import ConfigError
from beamline.readers.stamps import zone_of
from beamline.units import convert

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

_SETTINGS = (
    "Run on channel : 1 (SN 5836)", "User : ", "Electrode connection : standard",
    "Ewe ctrl range : min = 0.00 V, max = 5.00 V", "Safety Limits :", "\tDo not start on E overload",
    "Channel : Grounded",
)  # fmt: skip


def biologic(channels: xr.Dataset, timezone: str) -> str:
    """Return the text of an ``.mpt`` file (to be encoded as cp1252).

    Parameters
    ----------
    channels
        voltage (V), current, capacity, cycle, step along time (UTC).
    timezone
        Zone of the potentiostat's PC.

    Raises
    ------
    ConfigError
        A channel is missing.
    """
    _need(channels, "voltage", "current", "capacity", "cycle", "step")
    seconds, began = _elapsed(channels)
    start = _local(began, timezone).strftime("%m/%d/%Y %H:%M:%S")
    head = [
        "",
        "Modulo Bat",
        "",
        *_SETTINGS,
        f"Acquisition started on : {start}",
        f"Technique started on : {start}",
        "Comments : ",
        "Electrode surface area : 1.000 cm²",
        "Cycle Definition : Charge/Discharge alternance",
        "",
    ]
    names = "mode\tox/red\terror\tNs\ttime/s\tEwe/V\t<I>/mA\tCapacity/mA.h\tcycle number\t"
    current = convert(channels["current"].values, channels["current"].attrs["units"], "mA")
    capacity = convert(channels["capacity"].values, channels["capacity"].attrs["units"], "mA*h")
    step = channels["step"].values
    rows = [
        f"{2 if s == 3 else 1}\t{int(i >= 0)}\t0\t{s}\t{t:.15E}\t{v:.7E}\t{i:.7E}\t{q:.15E}\t{n:.15E}"
        for s, t, v, i, q, n in zip(
            step,
            seconds,
            channels["voltage"].values,
            current,
            capacity,
            channels["cycle"].values,
            strict=True,
        )
    ]
    lines = ["EC-Lab ASCII FILE", f"Nb header lines : {len(head) + 3:<28d}", *head, names, *rows]
    return "\r\n".join(lines) + "\r\n"


def maccor(channels: xr.Dataset, timezone: str) -> str:
    """Return the text of a Maccor export: test time in min, a wall clock in s, a current without sign.

    Parameters are those of `biologic`; step 1 is a rest.

    Raises
    ------
    ConfigError
        A channel is missing.
    """
    _need(channels, "voltage", "current", "capacity", "cycle", "step")
    seconds, began = _elapsed(channels)
    zone = zone_of(timezone)
    head = [
        "Name:\tsimulated half cell.012",
        "Channel:\t12",
        "Tester\tMaccor #4",
        "Procedure\tCCCV.000",
        f"Started\t{_stamp(began, zone)}",
        "",
        "Rec\tCycle P\tCycle C\tStep\tTestTime\tCap. [Ah]\tCurrent [A]\tVoltage [V]\tMd\tES\tDPT Time",
        "",
    ]
    current = convert(channels["current"].values, channels["current"].attrs["units"], "A")
    capacity = convert(channels["capacity"].values, channels["capacity"].attrs["units"], "A*h")
    step = channels["step"].values
    first = seconds[0]
    rows = []
    for record in range(seconds.size):
        state = "R" if step[record] == 1 else "C" if current[record] >= 0 else "D"
        wall = _stamp(began + np.timedelta64(int(seconds[record]), "s"), zone)
        rows.append(
            f"{record + 1}\t0\t{channels['cycle'].values[record]}\t{step[record]}"
            f"\t{(seconds[record] - first) / 60:.6f}\t{capacity[record]:.8f}\t{abs(current[record]):.8f}"
            f"\t{channels['voltage'].values[record]:.4f}\t{state}\t1\t{wall}"
        )
    return "\n".join([*head, *rows]) + "\n"


def zilien(channels: xr.Dataset, timezone: str) -> tuple[str, str]:
    """Return name and text of a Zilien ``.tsv`` of ion currents, every mass with its own times.

    Parameters
    ----------
    channels
        Ion currents ``mz_<mass>`` in A along time (UTC). The analyser goes from mass to mass: the first is
        taken as measured at `time`.
    timezone
        Zone of the PC, whose time the name begins with.

    Raises
    ------
    ConfigError
        There is not exactly one ion current.
    """
    masses = [str(name) for name in channels if str(name).startswith("mz_")]
    if len(masses) != 1:
        raise ConfigError("gas channels", f"hold {len(masses)} ion currents instead of one")
    mass = int(masses[0].removeprefix("mz_"))
    seconds, began = _elapsed(channels)
    series = f"C0M{mass}"
    label = {32: "O2", 28: "N2/CO", 44: "CO2"}.get(mass, "")
    head = [
        ("num_header_lines", "Number of header lines", "", "int", "6"),
        ("num_data_header_lines", "Number of data header lines (column description)", "", "int", "2"),
        ("data_start", "Line number of data start (0-based)", "", "int", "8"),
        ("mass", "Measurement mass", series, "double", f"{mass:.6e}"),
        ("label_suffix", "Label suffix (added to the mass to form the full label)", series, "string", label),
        (f"{series}_count", f'Number of points in the "{series}" data series', series, "int",
         str(seconds.size)),
    ]  # fmt: skip
    rows = [f"{t:.6f}\t{value:.6e}" for t, value in zip(seconds, channels[masses[0]].values, strict=True)]
    lines = ["\t".join(line) for line in head]
    text = "\n".join([*lines, f"{series}\t", f"Time [s]\tM{mass}-{label} [A]", *rows]) + "\n"
    return f"{_local(began, timezone):%Y-%m-%d %H_%M_%S} gas.tsv", text


def table(channels: xr.Dataset, timezone: str, digits: int) -> str:
    """Return a csv with time stamps in ms and all channels, `digits` decimals each.

    The stamps are local and state no zone, unless the zone is UTC.
    """
    zone = zone_of(timezone)
    names = [str(name) for name in channels]
    head = ["time", *(f"{name} / {channels[name].attrs['units']}" for name in names)]
    end = "Z" if zone is UTC else ""
    rows = [",".join(head)]
    for index, moment in enumerate(channels["time"].values):
        local = _moment(moment).astimezone(zone).replace(tzinfo=None)
        values = (f"{channels[name].values[index]:.{digits}f}" for name in names)
        rows.append(",".join([local.isoformat(timespec="milliseconds") + end, *values]))
    return "\n".join(rows) + "\n"


def _elapsed(channels: xr.Dataset) -> tuple[Floats, np.datetime64]:
    """Return the seconds since the last whole second before the first sample, and that second."""
    times = channels["time"].values
    began = times[0].astype("datetime64[s]").astype("datetime64[ns]")
    return np.asarray((times - began) / np.timedelta64(1, "s"), dtype=np.float64), began


def _stamp(moment: np.datetime64, zone: tzinfo) -> str:
    """Return a wall clock as Maccor has it: no leading zeros, whole seconds."""
    local = _moment(moment).astimezone(zone)
    hour, half = (local.hour - 1) % 12 + 1, "PM" if local.hour >= 12 else "AM"
    return f"{local.month}/{local.day}/{local.year} {hour}:{local.minute:02d}:{local.second:02d} {half}"


def _local(moment: np.datetime64, timezone: str) -> datetime:
    return _moment(moment).astimezone(zone_of(timezone))


def _moment(moment: np.datetime64) -> datetime:
    return datetime.fromtimestamp(int(moment.astype("datetime64[us]").astype(np.int64)) / 1e6, UTC)


def _need(channels: xr.Dataset, *names: str) -> None:
    for name in names:
        if name not in channels:
            raise ConfigError(f"channel {name!r}", "is missing", "simulate it with beamline.simulate.cycle")
