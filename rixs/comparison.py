"""States, cycles and replicates of one feature in one table, with significance.

The first state is the reference: it gives the background model ``reference`` to all others, and every
change is counted from it. A change is taken above each background model on its own before the models are
averaged, so that what a model gets wrong in both states alike drops out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import model, provenance
from beamline.errors import ConfigError, SchemaError
from rixs.bands import BANDS
from rixs.cuts import window as integrate
from rixs.features import FEATURES, WINDOW, Areas
from rixs.replicates import Mean, means

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

SIGNIFICANT = 3.0
"""Standard deviations from which a change is called one."""

_VOLTAGE = re.compile(r"(\d+(?:\.\d+)?)\s*V(?![A-Za-z])")
_CYCLE = re.compile(r"(?i)(?<![a-z])cyc(?:le)?s?\.?[\s_-]*(\d+)|(\d+)(?:st|nd|rd|th)?[\s_-]*cycles?(?![a-z])")
_PRISTINE = re.compile(r"(?i)pristine|fresh|uncycled|as[ _-]?prepared|OCV")
_DISCHARGED = re.compile(r"(?i)discharged?|(?<![a-z])(?:dis|DC)(?![a-z])")


@provenance.step("rixs.compare", returns="rixs.comparison")
def compare(
    states: Mapping[str, Sequence[xr.Dataset]],
    feature: str = "oxidised_oxygen",
    window: tuple[float, float] = WINDOW,
    voltage: Mapping[str, float] | None = None,
    cycle: Mapping[str, int] | None = None,
) -> xr.Dataset:
    """Compare a feature between states of charge, cycles and fresh samples.

    Parameters
    ----------
    states
        Maps of the samples of each state, by its label; the first state is the reference. Voltage and cycle
        are read from labels such as ``"4.8 V cycle 50"``; "discharged" in a label says the way it went.
    feature
        ``oxidised_oxygen`` or ``low_loss``.
    window
        Excitation energies integrated, eV.
    voltage, cycle
        Of a state (V, number), where its label does not say it.

    Returns
    -------
    Dataset
        Kind ``rixs.comparison``. Per state: ``area`` with all errors, their parts ``counting``, ``scatter``
        (between samples), ``models`` and ``calibration``, the ``change`` from the first state with all errors
        and its ``significance`` (standard deviations), ``voltage``, ``cycle`` and ``samples``; the mean
        ``spectrum`` of the window (state, emission_energy). Per sample: ``sample_area`` with its own errors
        and ``sample_state``. The attribute ``findings`` has the sentences (`findings`), ``between_samples``
        the standard deviation between fresh samples ("not known" without replicates: then it is in no error).

    Raises
    ------
    ConfigError
        There is no such feature, fewer than two states, or a state without a map.
    SchemaError
        Maps are in different units.
    FitError
        A map has no errors, or gaps where the feature is.
    """
    import xarray as xr

    _check(states, feature)
    labels = list(states)
    reference = states[labels[0]]
    measure = FEATURES[feature]
    areas = {
        label: [measure(rmap, () if label == labels[0] else reference, window) for rmap in states[label]]
        for label in labels
    }
    unit = str(reference[0]["intensity"].attrs["units"]).replace("/eV", "", 1) + "*eV"
    absolute = _Table.of([areas[label] for label in labels])
    change = _Table.of([areas[label] for label in labels], areas[labels[0]])
    facts = [_facts(label, voltage or {}, cycle or {}) for label in labels]
    spectra, axis = _spectra([states[label] for label in labels], window)

    def column(values: Any, long_name: str, units: str = unit) -> Any:
        return ("state", np.asarray(values, float), {"units": units, "long_name": long_name})

    def label_of(values: Any, long_name: str) -> Any:
        return ("state", values, {"units": "", "long_name": long_name})

    samples = [(label, sample) for label in labels for sample in areas[label]]
    spectrum_units = str(reference[0]["intensity"].attrs["units"]).removesuffix("/eV")
    table = xr.Dataset(
        {
            "area": column([m.value for m in absolute.means], "area above the bands"),
            "area_errors": column(absolute.errors(), "standard deviation of it, everything included"),
            "counting": column([np.sqrt(m.measurement) for m in absolute.means], "its counting error"),
            "scatter": column([np.sqrt(m.scatter) for m in absolute.means], "its error from the samples"),
            "models": column(absolute.models, "its error from the choice of the background"),
            "calibration": column(absolute.axes, "its error from the energy axes"),
            "change": column([m.value for m in change.means], f"change from {labels[0]}"),
            "significance": column(change.significances(), "standard deviations from no change", ""),
            "spectrum": (("state", "emission_energy"), spectra[0], {"units": spectrum_units}),
            "spectrum_errors": (("state", "emission_energy"), spectra[1]),
            "sample_area": ("sample", [s.mean for _, s in samples], {"units": unit}),
            "sample_area_errors": ("sample", [s.total for _, s in samples]),
        },
        coords={
            "state": labels,
            "emission_energy": axis,
            "voltage": ("state", [fact.voltage for fact in facts]),
            "cycle": ("state", [fact.cycle for fact in facts], {"long_name": "cycle"}),
            "discharged": label_of([int(fact.discharged) for fact in facts], "1 after a discharge"),
            "samples": label_of([len(areas[label]) for label in labels], "fresh samples"),
            "sample_state": ("sample", [label for label, _ in samples]),
        },
        attrs={
            "feature": feature,
            "reference": labels[0],
            "window_from": float(window[0]),
            "window_to": float(window[1]),
            "between_samples": "not known: no state has two samples"
            if np.isnan(absolute.tau)
            else f"{absolute.tau:.4g} {unit} ({absolute.means[0].degrees} degrees of freedom)",
        },
    )  # fmt: skip
    errors = change.errors()
    # From itself the first state does not differ.
    table["change"][0] = np.nan
    table["significance"][0] = np.nan
    table["change_errors"] = ("state", np.where(np.arange(len(labels)) > 0, errors, np.nan))
    table["change_errors"].attrs = {
        "units": unit,
        "long_name": "standard deviation of it, everything included",
    }
    table["sample_area"].attrs["long_name"] = "area of one sample"
    table["spectrum"].attrs["long_name"] = "intensity of the window"
    table.attrs["findings"] = json.dumps(findings(table), ensure_ascii=False)
    return table


def findings(table: xr.Dataset) -> list[str]:
    """Return what a comparison says, in sentences: above which voltage, what is left, what cycling changes.

    Parameters
    ----------
    table
        Kind ``rixs.comparison``.
    """
    charged = [i for i in range(1, table.sizes["state"]) if not table["discharged"].values[i]]
    voltage, cycle = table["voltage"].values, table["cycle"].values
    sentences = []
    told = cycle[charged][~np.isnan(cycle[charged])]
    first = [i for i in charged if not np.isnan(voltage[i]) and not cycle[i] > told.min(initial=np.inf)]
    if first:
        sentences.append(_onset(table, sorted(first, key=lambda i: float(voltage[i]))))
    sentences += _left(table, charged)
    for v in np.unique(voltage[charged][~np.isnan(voltage[charged])]):
        series = sorted(
            (i for i in charged if voltage[i] == v and not np.isnan(cycle[i])), key=lambda i: cycle[i]
        )
        sentences += [_cycling(table, series[0], later) for later in series[1:]]
    return sentences


def in_order(states: Mapping[str, Any]) -> list[str]:
    """Return labels of states in the order of a paper: pristine, charged by voltage and cycle, discharged.

    The first is the reference of `compare`; where none is called pristine, that of the lowest voltage.
    """
    facts = {label: _facts(label, {}, {}) for label in states}
    pristine = [label for label in states if _PRISTINE.search(label)]

    def place(label: str) -> tuple[Any, ...]:
        fact = facts[label]
        voltage = np.inf if np.isnan(fact.voltage) else fact.voltage
        cycle = 0.0 if np.isnan(fact.cycle) else fact.cycle
        return label not in pristine, bool(pristine) and fact.discharged, voltage, cycle

    return sorted(states, key=place)


@dataclass(frozen=True)
class _Facts:
    voltage: float
    cycle: float
    discharged: bool


@dataclass(frozen=True)
class _Table:
    """Means of all states with what adds to their errors."""

    means: list[Mean]
    models: list[float]
    axes: list[float]
    tau: float

    @classmethod
    def of(cls, states: Sequence[Sequence[Areas]], reference: Sequence[Areas] = ()) -> _Table:
        """Average over samples, counted from the mean of a reference where one is given."""
        found, tau = means(
            [np.array([sample.mean for sample in state]) for state in states],
            [np.array([sample.counting**2 + sample.of_axes**2 for sample in state]) for state in states],
        )
        models, axes = [], []
        base = _mean_of(reference) if reference else None
        for i, state in enumerate(states):
            whole = _mean_of(state)
            if base is not None:
                # The model "reference" is a change already; the reference itself does not have it.
                found[i] = found[i].minus(found[0]) if i else found[i]
                whole = _change(whole, base)
                found[i] = Mean(whole.mean, found[i].measurement, found[i].scatter, found[i].degrees)
            models.append(whole.between_models)
            axes.append(whole.of_axes)
        return cls(found, models, axes, tau)

    def errors(self) -> list[float]:
        # The axes of every sample are among its own errors already.
        return [mean.error(models) for mean, models in zip(self.means, self.models, strict=True)]

    def significances(self) -> list[float]:
        return [mean.significance(models) for mean, models in zip(self.means, self.models, strict=True)]


def _mean_of(samples: Sequence[Areas]) -> Areas:
    """Return the plain mean over the samples of a state, above each model."""
    count = len(samples)
    return Areas(
        samples[0].models,
        np.mean([s.values for s in samples], axis=0),
        np.sum([s.covariance for s in samples], axis=0) / count**2,
        np.concatenate([s.calibration for s in samples]) / count,
    )


def _change(state: Areas, base: Areas) -> Areas:
    """Return the change above each model; above ``reference`` the area is a change from the reference."""
    common = state.minus(base)
    if "reference" not in state.models or "reference" in base.models:
        return common
    own = state.only([*common.models, "reference"])
    values = np.append(common.values, own.values[-1])
    covariance = own.covariance.copy()
    size = len(common.models)
    covariance[:size, :size] += base.only(common.models).covariance
    moved = np.concatenate([own.calibration, np.pad(base.only(common.models).calibration, ((0, 0), (0, 1)))])
    return Areas((*common.models, "reference"), values, covariance, moved)


def _check(states: Mapping[str, Sequence[xr.Dataset]], feature: str) -> None:
    if feature not in FEATURES:
        raise ConfigError(f"feature {feature!r}", "is not known", f"one of {', '.join(FEATURES)}")
    if len(states) < 2:
        raise ConfigError("states", f"are {len(states)}", "give a reference and at least one more")
    for label, maps in states.items():
        if not maps:
            raise ConfigError(f"state {label!r}", "has no map")
        for rmap in maps:
            if model.kind_of(rmap) != "rixs.map":
                raise SchemaError(f"state {label!r}", f"holds {rmap.attrs.get('kind')}, not rixs.map")
    units = {str(rmap["intensity"].attrs["units"]) for maps in states.values() for rmap in maps}
    if len(units) > 1:
        raise SchemaError("states", f"are in different units: {', '.join(sorted(units))}")


def _facts(label: str, voltage: Mapping[str, float], cycle: Mapping[str, int]) -> _Facts:
    """Return what a label, or who gave it, says about a state."""
    volts, number = _VOLTAGE.search(label), _CYCLE.search(label)
    return _Facts(
        float(voltage.get(label, volts[1] if volts else np.nan)),
        float(cycle.get(label, (number[1] or number[2]) if number else np.nan)),
        bool(_DISCHARGED.search(label)),
    )


def _spectra(
    states: Sequence[Sequence[xr.Dataset]], limits: tuple[float, float]
) -> tuple[tuple[Array, Array], Array]:
    """Return the mean window spectra of the states with errors, on the axis of the first map."""
    from rixs.yields import bin_edges

    first = states[0][0]["emission_energy"].values
    axis = first[(first >= BANDS[0] - 4) & (first <= limits[1] + 2)]
    edges = bin_edges(axis)
    width = np.diff(edges)
    values, errors = [], []
    for maps in states:
        total, variance = np.zeros(axis.size), np.zeros(axis.size)
        for rmap in maps:
            cut = integrate(rmap, *limits)
            theirs = bin_edges(cut["emission_energy"].values)
            overlap = np.clip(
                np.minimum(edges[1:, None], theirs[None, 1:])
                - np.maximum(edges[:-1, None], theirs[None, :-1]),
                0,
                None,
            )
            covered = overlap.sum(axis=1) > 0.999 * width
            sigma2 = cut["intensity_errors"].values ** 2 * np.diff(theirs)
            finite = np.isfinite(cut["intensity"].values)
            covered &= overlap[:, ~finite].sum(axis=1) == 0
            total += np.where(covered, overlap[:, finite] @ cut["intensity"].values[finite] / width, np.nan)
            variance += np.where(covered, overlap[:, finite] @ sigma2[finite] / width**2, np.nan)
        values.append(total / len(maps))
        errors.append(np.sqrt(variance) / len(maps))
    return (np.array(values), np.array(errors)), axis


def _onset(table: xr.Dataset, order: list[int]) -> str:
    """Say above which voltage a feature appears."""
    sure = [bool(table["significance"].values[i] >= SIGNIFICANT) for i in order]
    volts = [float(table["voltage"].values[i]) for i in order]
    name = str(table.attrs["feature"]).replace("_", " ")
    if not any(sure):
        return f"{name} does not appear up to {volts[-1]:g} V (below {SIGNIFICANT:g} σ at every voltage)"
    if all(sure):
        weakest = min(float(table["significance"].values[i]) for i in order)
        return f"{name} is there from {volts[0]:g} V on (at least {weakest:.1f} σ)"
    start = sure.index(True)
    if not all(sure[start:]) or start == 0:
        seen = ", ".join(f"{v:g} V" for v, is_sure in zip(volts, sure, strict=True) if is_sure)
        return f"{name} appears at {seen} and not at the other voltages"
    strength = float(table["significance"].values[order[start]])
    return f"{name} appears above {volts[start - 1]:g} V ({strength:.1f} σ at {volts[start]:g} V)"


def _left(table: xr.Dataset, charged: list[int]) -> list[str]:
    """Say what is left of the change after discharge."""
    change, error = table["change"].values, table["change_errors"].values
    if not charged:
        return []
    top = max(charged, key=lambda i: float(change[i]))
    sentences = []
    for i in np.flatnonzero(table["discharged"].values):
        if table["significance"].values[top] < SIGNIFICANT or i == 0:
            continue
        part = change[i] / change[top]
        sigma = abs(part) * np.hypot(error[top] / change[top], error[i] / change[i])
        state, other = table["state"].values[i], table["state"].values[top]
        sentences.append(f"{state}: {100 * part:.0f} ± {100 * sigma:.0f} % of the change at {other} is left")
    return sentences


def _cycling(table: xr.Dataset, early: int, late: int) -> str:
    """Say by how much cycling changes a feature."""
    change, error = table["change"].values, table["change_errors"].values
    ratio = change[late] / change[early]
    sigma = abs(ratio) * np.hypot(error[late] / change[late], error[early] / change[early])
    difference = (ratio - 1) / sigma
    cycles = [int(table["cycle"].values[i]) for i in (early, late)]
    volts = float(table["voltage"].values[early])
    return (
        f"at {volts:g} V it changes by {100 * (ratio - 1):+.0f} ± {100 * sigma:.0f} % over "
        f"{cycles[1] - cycles[0]} cycles (cycle {cycles[0]} to {cycles[1]}; {abs(difference):.1f} σ)"
    )
