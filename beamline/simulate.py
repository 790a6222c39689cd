r"""Channels with known truth: a half cell, a furnace and the gas it drives out, each on its own clock.

The cell is an equilibrium voltage and a resistance: at a charge fraction :math:`x` (1 is the capacity of all
lithium) and a current :math:`I` (positive on charge) it shows :math:`U = U_0(x) + IR`. A charge at constant
current ends at a voltage limit; there the current falls as :math:`I = (U_\mathrm{max} - U_0(x))/R`.
:math:`U_0` is a smooth monotonic curve through points chosen to look like LiNi0.6Co0.2Mn0.2O2 against
lithium (274 mAh/g for :math:`x = 1`, about 190 mAh/g at 4.3 V); it is plausible, not measured.

The furnace rises at a constant rate and the sample follows with a lag of the first order.

Oxygen is released by a reaction of the first order, :math:`\dot α = A e^{-E/RT}(1 - α)`, whose rate at a
heating rate :math:`β` is greatest where :math:`E β / R T_p^2 = A e^{-E/RT_p}` (H. E. Kissinger, Anal. Chem.
29 (1957) 1702): the temperature of the peak and the barrier give A. The analyser sees it after a transit
delay, smeared by the volume the gas is mixed in (an exponential of unit area).

Formats are written by `beamline.channel_formats`; docs/theory/simulation.md has the physics with its numbers.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from beamline import channel_formats as formats
from beamline import model
from beamline.atomic import write_atomic
from beamline.clocks import Clock
from beamline.errors import ConfigError

Floats = NDArray[np.float64]

GAS_CONSTANT = 8.31446261815324
"""J/(mol K), exact in the SI."""

ZERO_CELSIUS = 273.15

EQUILIBRIUM = (
    (0.0, 0.03, 0.06, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.87, 0.93, 0.97, 1.0),
    (2.2, 2.95, 3.45, 3.62, 3.71, 3.76, 3.84, 3.95, 4.09, 4.25, 4.42, 4.54, 4.64, 4.74, 4.9),
)
"""Charge fraction and equilibrium voltage (V vs Li/Li+) the cell's curve goes through."""


@dataclass(frozen=True)
class HalfCell:
    """A cathode against lithium.

    Attributes
    ----------
    mass
        Active mass, mg.
    capacity
        Of all lithium, mAh/g.
    resistance
        Ohm.
    """

    mass: float = 10.0
    capacity: float = 274.0
    resistance: float = 250.0

    @property
    def charge(self) -> float:
        """Capacity of all lithium, mAh."""
        return self.mass * self.capacity * 1e-3

    def equilibrium(self, x: Floats | float) -> Floats:
        """Return the equilibrium voltage (V) at charge fractions `x`."""
        from scipy.interpolate import PchipInterpolator

        return np.asarray(PchipInterpolator(*EQUILIBRIUM)(x))


def cycle(
    cell: HalfCell | None = None,
    upper: float = 4.7,
    lower: float = 2.7,
    rate: float = 20.0,
    hold: float = 3600.0,
    rest: float = 600.0,
    x_start: float = 0.06,
    interval: float = 30.0,
    start: str = "2022-06-14T12:00:00",
) -> xr.Dataset:
    """Return rest, charge, hold at constant voltage and discharge of a cell, without noise.

    Parameters
    ----------
    cell
        The cell; `HalfCell()` where not given.
    upper, lower
        Limits of the voltage, V.
    rate
        Specific current, mA/g.
    hold
        Duration of the constant voltage after the charge, s.
    rest
        Duration without current before the charge, s.
    x_start
        Charge fraction at the beginning.
    interval
        Time between samples, s.
    start
        Time of the first sample, UTC.

    Returns
    -------
    Dataset
        Kind ``channels``: voltage (V), current (mA, positive on charge), capacity (mAh since the step began),
        charge_fraction, cycle and step (1 rest, 2 charge, 3 hold, 4 discharge).

    Raises
    ------
    ConfigError
        A limit is not reached, or lies on the wrong side of where the cell begins.
    """
    from scipy.integrate import solve_ivp
    from scipy.optimize import brentq

    cell = cell or HalfCell()
    current = rate * cell.mass * 1e-3
    drop = current * cell.resistance * 1e-3

    def reached(voltage: float) -> float:
        if not EQUILIBRIUM[1][0] < voltage < EQUILIBRIUM[1][-1]:
            raise ConfigError(
                "limits of the voltage", f"{upper} and {lower} V are not within reach of the cell"
            )
        return float(brentq(lambda x: float(cell.equilibrium(x)) - voltage, 0.0, 1.0))

    x_full = reached(upper - drop)
    if not 0 <= x_start < x_full:
        raise ConfigError("charge fraction", f"{x_start} at the beginning leaves nothing to charge")
    per_second = current / 3600 / cell.charge
    charging = (x_full - x_start) / per_second
    held = solve_ivp(
        lambda _, x: (upper - cell.equilibrium(x)) / cell.resistance * 1e3 / 3600 / cell.charge,
        (0.0, hold),
        [x_full],
        dense_output=True,
        rtol=1e-8,
        atol=1e-10,
    )
    x_held = float(held.y[0, -1])
    x_end = reached(lower + drop)
    ends = np.cumsum([rest, charging, hold, (x_held - x_end) / per_second])
    t = np.arange(0.0, ends[-1], interval)
    step = np.searchsorted(ends, t, "right")
    since = t - np.concatenate([[0.0], ends])[step]
    x = np.choose(
        step,
        [
            np.full(t.size, x_start),
            x_start + per_second * since,
            held.sol(np.clip(since, 0.0, hold))[0],
            x_held - per_second * since,
        ],
    )
    equilibrium = cell.equilibrium(x)
    ampere = np.choose(
        step, [0 * t, 0 * t + current, (upper - equilibrium) / cell.resistance * 1e3, 0 * t - current]
    )
    begun = np.array([x_start, x_start, x_full, x_held])[step]
    return _channels(
        start,
        t,
        {
            "voltage": (equilibrium + ampere * cell.resistance * 1e-3, "V", "voltage"),
            "current": (ampere, "mA", "current"),
            "capacity": (np.abs(x - begun) * cell.charge, "mA*h", "capacity of the step"),
            "charge_fraction": (x, "", "charge fraction"),
            "cycle": (np.ones(t.size, int), "", "cycle"),
            "step": (step + 1, "", "step"),
        },
    )


def heat(
    begin: float = 25.0,
    end: float = 600.0,
    rate: float = 10.0,
    lag: float = 20.0,
    interval: float = 5.0,
    start: str = "2022-06-16T12:00:00",
) -> xr.Dataset:
    """Return the temperature of a sample in a furnace that is heated at a constant rate.

    Parameters
    ----------
    begin, end
        Temperature of the furnace, degC.
    rate
        degC/min.
    lag
        Time constant with which the sample follows, s.
    interval
        Time between samples, s.
    start
        Time of the first sample, UTC.

    Returns
    -------
    Dataset
        Kind ``channels``: temperature of the sample and setpoint, degC.
    """
    t = np.arange(0.0, 60 * (end - begin) / rate + interval / 2, interval)
    setpoint = begin + rate / 60 * t
    delayed = setpoint - rate / 60 * lag * -np.expm1(-t / lag)
    return _channels(
        start,
        t,
        {
            "temperature": (delayed, "degC", "temperature of the sample"),
            "setpoint": (setpoint, "degC", "setpoint of the furnace"),
        },
    )


def release(
    furnace: xr.Dataset,
    peak: float = 361.0,
    barrier: float = 180.0,
    delay: float = 42.0,
    mixing: float = 8.0,
    height: float = 4e-10,
    background: float = 2e-10,
) -> xr.Dataset:
    """Return what the gas analyser sees of the oxygen a sample releases while it is heated, without noise.

    Parameters
    ----------
    furnace
        Of `heat`.
    peak
        Temperature at which oxygen is released fastest, degC.
    barrier
        Activation energy, kJ/mol.
    delay
        Time the gas takes to the analyser, s.
    mixing
        Time constant of the volume it is mixed in, s.
    height, background
        Ion current at m/z 32 of the fastest release and without any, A.

    Returns
    -------
    Dataset
        Kind ``channels``: mz_32 (A) at the analyser and release, what the sample gives (1/s).

    Raises
    ------
    ConfigError
        The furnace does not pass the peak.
    """
    seconds = (furnace["time"].values - furnace["time"].values[0]) / np.timedelta64(1, "s")
    fine = np.arange(0.0, seconds[-1], 0.25)
    kelvin = np.interp(fine, seconds, furnace["temperature"].values) + ZERO_CELSIUS
    top, energy = peak + ZERO_CELSIUS, barrier * 1e3
    if not kelvin[0] < top < kelvin[-1]:
        raise ConfigError("peak of the release", f"at {peak} degC is not passed by the furnace")
    heating = float(np.interp(top, kelvin, np.gradient(kelvin, fine)))
    speed = (
        energy * heating / (GAS_CONSTANT * top**2) * np.exp(-energy / GAS_CONSTANT * (1 / kelvin - 1 / top))
    )
    done = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * 0.25)])
    rate = speed * np.exp(-done)
    kernel = np.exp(-np.arange(0.0, 12 * mixing, 0.25) / mixing) if mixing > 0 else np.ones(1)
    mixed = np.convolve(rate, kernel / kernel.sum())[: fine.size]
    seen = np.interp(seconds - delay, fine, mixed, left=0.0)
    return _channels(
        furnace["time"].values[0],
        seconds,
        {
            "mz_32": (background + height * seen / rate.max(), "A", "ion current at m/z 32"),
            "release": (np.interp(seconds, fine, rate), "1/s", "rate of release at the sample"),
        },
    )


def write_channels(
    folder: str | os.PathLike[str],
    timezone: str = "America/Chicago",
    seed: int = 0,
    cycler_clock: Clock | None = None,
    furnace_clock: Clock | None = None,
    delay: float = 42.0,
    interval: float = 30.0,
) -> Path:
    """Write the channels of a beamtime: cycler (BioLogic and Maccor), the beamline's log, furnace and gas.

    Parameters
    ----------
    folder
        Gets ``cycler.mpt``, ``cycler_maccor.txt`` (the same cell, by another cycler on the same clock),
        ``beamline.csv`` (the cell's voltage on the clock of the frames, UTC), ``furnace.csv``, a Zilien
        ``.tsv`` with m/z 32, and ``truth.json``.
    timezone
        Zone of the local clocks of cycler, furnace and gas analyser.
    seed
        Seed of the noise.
    cycler_clock, furnace_clock
        What brings their times onto those of the frames; by default 95.2 s and 2e-6 s/s, and -12.4 s. The gas
        analyser is on the clock of the frames: its delay is the transit of the gas.
    delay
        Transit of the gas, s.
    interval
        Time between samples of the cell, s.

    Returns
    -------
    Path
        The file ``truth.json``.

    Raises
    ------
    DataFileError
        A file cannot be written.
    """
    folder = Path(folder)
    cell = cycle(interval=interval)
    furnace = heat()
    peak, barrier = 361.0, 180.0
    gas = release(furnace, peak, barrier, delay=delay)
    begin = str(cell["time"].values[0])
    cycler_clock = cycler_clock or Clock(offset=95.2, drift=2e-6, reference=f"{begin[:19]}Z")
    furnace_clock = furnace_clock or Clock(offset=-12.4)
    rng = np.random.default_rng(seed)

    cycler = noisy(on_clock(cell, cycler_clock), {"voltage": 2e-4, "current": 1e-5}, rng)
    write_atomic(folder / "cycler.mpt", formats.biologic(cycler, timezone).encode("cp1252"))
    write_atomic(folder / "cycler_maccor.txt", formats.maccor(cycler, timezone).encode("cp1252"))
    # The beamline reads the voltage at moments of its own.
    log = noisy(cycle(interval=0.7 * interval)[["voltage"]], {"voltage": 5e-4}, rng)
    write_atomic(folder / "beamline.csv", formats.table(log, "UTC", digits=4).encode())
    oven = noisy(on_clock(furnace, furnace_clock)[["temperature"]], {"temperature": 0.1}, rng)
    write_atomic(folder / "furnace.csv", formats.table(oven, timezone, digits=2).encode())
    analyser = noisy(gas[["mz_32"]], {"mz_32": 2e-12}, rng)
    name, text = formats.zilien(analyser, timezone)
    write_atomic(folder / name, text.encode())

    passed = np.interp(peak, furnace["temperature"].values, np.arange(furnace.sizes["time"]))
    fastest = furnace["time"].values[0] + passed * np.diff(furnace["time"].values[:2])[0]
    truth: dict[str, Any] = {
        "seed": seed,
        "timezone": timezone,
        "cycler": {
            "clock": cycler_clock.to_record(),
            "charge_fraction_at": {
                name: float(cell["charge_fraction"].values[np.flatnonzero(cell["step"].values == step)[-1]])
                for name, step in (("end_of_charge", 2), ("end_of_hold", 3), ("end_of_discharge", 4))
            },
        },
        "furnace": {"clock": furnace_clock.to_record(), "rate_degC_per_min": 10.0},
        "gas": {
            "file": name,
            "delay_s": delay,
            "fastest_release_degC": peak,
            "fastest_release_time": f"{fastest}Z",
            "barrier_kJ_per_mol": barrier,
        },
    }
    path = folder / "truth.json"
    write_atomic(path, (json.dumps(truth, indent=1) + "\n").encode())
    return path


def on_clock(channels: xr.Dataset, clock: Clock) -> xr.Dataset:
    """Return channels, given on the clock of the frames, with the times `clock` shows."""
    return channels.assign_coords(time=clock.to_channel(channels["time"].values))


def noisy(channels: xr.Dataset, sigma: dict[str, float], rng: np.random.Generator) -> xr.Dataset:
    """Return channels with normal noise of the given standard deviations (in the channel's units)."""
    noise = {name: channels[name] + rng.normal(0.0, s, channels.sizes["time"]) for name, s in sigma.items()}
    return channels.assign(
        {name: value.assign_attrs(channels[name].attrs) for name, value in noise.items() if name in channels}
    )


def _channels(
    start: str | np.datetime64, seconds: Floats, columns: dict[str, tuple[NDArray[Any], str, str]]
) -> xr.Dataset:
    time = np.asarray(start, "datetime64[ns]") + np.round(seconds * 1e9).astype("timedelta64[ns]")
    variables = {
        name: ("time", values, {"units": units, "long_name": long_name})
        for name, (values, units, long_name) in columns.items()
    }
    ds = xr.Dataset(variables, coords={"time": time}, attrs={"simulated": "yes"})
    return model.with_defaults(ds, "channels")
