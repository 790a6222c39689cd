"""Clocks: the offset of two records of one voltage, and the errors of the join."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import beamline
from beamline import model
from beamline.channels import fit_clock
from benchmarks.measures import Array, Measured, Quantity, pulls, rms

ECMS = "channels/ecms_zilien/2022-04-06 16_17_23 full set"
START = np.datetime64("2022-01-01", "ns")
OFFSET, DRIFT, NOISE = 3.21, 1e-3, 0.002
DRAWS = 400


def ecms(data: Path) -> Iterator[Measured]:
    """Yield the offset of one potentiostat in its own file and in that of a gas analyser."""
    zone = {"timezone": "Europe/Copenhagen"}
    pot = beamline.read(data / f"{ECMS}.tsv", **zone)["pot"].to_dataset()
    cell: Any = beamline.read(data / f"{ECMS}_01_02_CVA_DUSB0_C01.mpt", **zone)
    clock = fit_clock(pot, cell)
    begun = np.datetime64(cell.attrs["start"]) - np.datetime64(pot.attrs["start"])
    between = float(begun / np.timedelta64(1, "s"))
    header = pot.attrs["header_clock_offset"]
    took = 1e3 * pot.attrs["header_clock_offset_duration"]
    yield Measured(
        f"offset of the EC-MS clocks ({cell.sizes['time']} and {pot.sizes['time']} samples)",
        f"{clock.offset + between:.4f} s ± {1e3 * clock.offset_error:.2f} ms",
        f"{header:.4f} s, a handshake of {took:.0f} ms",
        "header of the analyser's file",
    )
    at_fit, at_header = (_residual(pot, cell, offset) for offset in (clock.offset, header - between))
    yield Measured(
        "residual of the two voltages at this offset",
        f"{1e3 * at_fit:.3f} mV",
        f"{1e3 * at_header:.3f} mV at the handshake's offset",
        "root mean square over the samples of the sparser",
    )


def clocks(_: Path) -> Iterator[Measured]:
    """Yield pulls of fitted clocks, and the offset's scatter beside the information in the samples."""
    for every_a, every_b in ((1.0, 1.0), (1.0, 1.3), (1.0, 10.0)):
        off, errors, claimed, limits = [], [], [], []
        for seed in range(DRAWS):
            a, b, limit = _pair(seed, every_a, every_b)
            clock = fit_clock(a, b, search="8s")
            errors.append(clock.offset - OFFSET)
            claimed.append(clock.offset_error)
            limits.append(limit)
            off.append(errors[-1] / clock.offset_error)
        yield pulls(f"pulls of a clock's offset, samples every {every_a:g} s and {every_b:g} s", off)
        yield Measured(
            f"root mean square error of the offset, samples every {every_a:g} s and {every_b:g} s",
            f"{1e3 * rms(errors):.1f} ms ± {100 / math.sqrt(2 * DRAWS):.0f} %, "
            f"claimed {1e3 * rms(claimed):.1f} ms",
            f"{1e3 * float(np.mean(limits)):.1f} ms",
            "Cramér-Rao, the course of the voltage being known",
        )
    offsets, drifts = [], []
    for seed in range(DRAWS):
        clock = fit_clock(*_pair(seed, 1.0, 1.3, DRIFT)[:2], search="8s", drift=True)
        at = float((np.datetime64(str(clock.reference)[:-1]) - START) / np.timedelta64(1, "s"))
        offsets.append((clock.offset - OFFSET - DRIFT * at) / clock.offset_error)
        drifts.append((clock.drift - DRIFT) / clock.drift_error)
    yield pulls("pulls of the offset of a clock that drifts", offsets)
    yield pulls("pulls of its drift", drifts)


def join(_: Path) -> Iterator[Measured]:
    """Yield pulls of joined channels, and how well the noise is known."""
    for every, exposure in ((2.0, 0.5), (2.0, 5.0), (1.0, 60.0)):
        rng = np.random.default_rng(1)
        t = np.cumsum(every * rng.uniform(0.5, 1.5, 20_000))
        middle = np.arange(50.0, t[-1] - 50.0, exposure + every + 1)
        noisy = 3.5 + 0.4 * np.sin(t / 300) + 0.003 * rng.standard_normal(t.size)
        joined = beamline.join(_frames(middle, exposure), _channel(t, noisy))
        low, high = (middle - exposure / 2) / 300, (middle + exposure / 2) / 300
        truth = 3.5 + 0.4 * (np.cos(low) - np.cos(high)) * 300 / exposure
        off = (joined["voltage"].values - truth) / joined["voltage_errors"].values
        yield pulls(f"pulls of a joined sine, exposures of {exposure / every:g} sampling intervals", off)
    rng = np.random.default_rng(2)
    off = []
    for _number in range(DRAWS):
        when = rng.uniform(95.0, 105.0)
        t = np.arange(0.0, 200.0, 10.0) + 5.0
        switched = _channel(t, (t > when).astype(float), resolution=1e-3)
        joined = beamline.join(_frames(np.array([100.0]), 4.0), switched)
        truth = np.clip((102.0 - when) / 4.0, 0.0, 1.0)
        off.append(float((joined["voltage"][0] - truth) / joined["voltage_errors"][0]))
    yield pulls("pulls at a step somewhere between two samples", off)
    known = []
    for _number in range(DRAWS):
        flat = _channel(np.arange(301.0), 3.5 + 0.003 * rng.standard_normal(301))
        at = beamline.join(_frames(np.array([150.0]), 0.0), flat)
        known.append(float(at["voltage_errors"][0]) / 0.003)
    yield Measured(
        "scatter of the noise estimated from 99 samples",
        f"{100 * float(np.std(known)):.0f} % of it (mean {np.mean(known):.2f})",
        f"{100 / math.sqrt(2 * 99):.0f} %",
        "standard deviation of 99 independent normal samples",
    )


def _residual(pot: xr.Dataset, cell: xr.Dataset, offset: float) -> float:
    """Return the root mean square of the voltages' difference at an offset (s), in V."""
    zero = pot["time"].values[0]
    sparse, dense = ((ds["time"].values - zero) / np.timedelta64(1, "s") for ds in (pot, cell))
    dense = dense + offset
    inside = (sparse >= dense[0]) & (sparse <= dense[-1])
    return rms(pot["voltage"].values[inside] - np.interp(sparse[inside], dense, cell["voltage"].values))


def _pair(
    seed: int, every_a: float, every_b: float, drift: float = 0.0
) -> tuple[xr.Dataset, xr.Dataset, float]:
    """Return one voltage on two clocks, and the Cramér-Rao limit of their offset in s."""
    rng = np.random.default_rng(seed)

    def voltage(t: Array) -> Array:
        return np.asarray(3.5 + 0.3 * np.sin(t / 60) + 0.1 * np.sin(t / 17 + 1))

    a, b = (np.cumsum(every * rng.uniform(0.8, 1.2, int(600 / every))) for every in (every_a, every_b))
    true = b + OFFSET + drift * b
    information = [
        float(np.sum((0.3 / 60 * np.cos(t / 60) + 0.1 / 17 * np.cos(t / 17 + 1)) ** 2)) for t in (a, true)
    ]
    return (
        _channel(a, voltage(a) + NOISE * rng.standard_normal(a.size)),
        _channel(b, voltage(true) + NOISE * rng.standard_normal(b.size)),
        NOISE * math.sqrt(sum(1 / each for each in information)),
    )


def _times(seconds: Array) -> Any:
    return START + np.round(seconds * 1e9).astype("timedelta64[ns]")


def _channel(seconds: Array, volts: Array, **attrs: Any) -> xr.Dataset:
    data = xr.Dataset({"voltage": ("time", volts, {"units": "V", **attrs})}, {"time": _times(seconds)})
    return model.with_defaults(data, "channels")


def _frames(middle: Array, exposure: float) -> xr.Dataset:
    patterns = xr.Dataset(
        {"intensity": (("frame", "two_theta"), np.ones((middle.size, 3)), {"units": ""})},
        {
            "two_theta": [1.0, 2.0, 3.0],
            "time": ("frame", _times(middle)),
            "exposure": ("frame", np.full(middle.shape, exposure)),
        },
    )
    return model.with_defaults(patterns, "xrd.patterns")


QUANTITIES = {"ecms": Quantity(ecms, real=True), "clocks": Quantity(clocks), "join": Quantity(join)}
