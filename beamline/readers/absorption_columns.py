"""What the columns of an absorption scan are, by their names: axes, detectors, and the μ they make.

``mu`` is ln(I0/It) in transmission, If/I0 in fluorescence (no self-absorption correction); ``mu_ref`` is
ln(It/Ir), the foil behind the sample.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beamline.errors import DataFileError
from beamline.readers.absorption_edges import EDGES, tabulated

Array = np.ndarray[Any, np.dtype[np.float64]]

HC = 12398.419843320026
"""Photon energy times wavelength, eV angstrom (CODATA 2018)."""

_ROLES: tuple[tuple[str, str], ...] = (
    # (role, pattern of the label in lower case without punctuation), the most certain first
    ("k", r"k|wavenumber"),
    ("chi", r"chi|chik|k\d?chi"),
    ("energy", r"achievedenergy|energyachieved"),
    ("energy", r"e|en|energy|energyev|monoenergy|monoenergyalt|energyfbk|energyfeedback"),
    ("energy_kev", r"energykev|enkev|ekev|kev"),
    ("energy", r"requestedenergy|energyrequested|energysetting|energysetpoint"),
    ("angle", r"angleo|anglereadback"),
    ("angle", r"anglec|angle|theta|bragg|monoangle"),
    ("mu", r"mu|xmu|mue|mutrans|mut|mux|mufluor|muf"),
    ("mu_ref", r"muref|murefer|xmur"),
    ("i0", r"i0\d*|io|izero|monitor"),
    ("i0", r".*i0"),
    ("it", r"it\d*|itrans|itransmitted|transmission|trans"),
    ("it", r"i1"),
    ("ir", r"ir|iref\d*|irefer|reference"),
    ("ir", r"i2"),
    ("fluorescence", r"if\d*|iff|ifluor\w*|fluo\w*|flatot|idode|idiode|lytle"),
)
_LINE = re.compile(r"(?:^|[^A-Za-z])(?P<symbol>[A-Z][a-z]?)_?(?:K|L)(?:a|b)\d?(?![a-z])(?P<rest>.*)$")
_CHANNEL = re.compile(r"^(?P<what>.+?)[_ :](?P<channel>(?:mca|det|ch|chan|element)_?\d+)$", re.IGNORECASE)
_ENERGY_UNITS = ("", "ev", "kev")
_ANGLE_UNITS = {unit: float(np.deg2rad(1)) for unit in ("", "deg", "degree", "degrees", "°")}
_ANGLE_UNITS |= dict.fromkeys(("rad", "radian", "radians"), 1.0)
_NO_FOIL = re.compile(r"^(none|no|n/?a|-+|)$", re.IGNORECASE)


def roles(labels: Sequence[str]) -> dict[str, list[int]]:
    """Return which columns can be what: role to column indices, the most certain first."""
    found: dict[str, list[int]] = {}
    plain = [re.sub(r"[^a-z0-9]", "", label.lower()) for label in labels]
    for role, pattern in _ROLES:
        for index, label in enumerate(plain):
            if re.fullmatch(pattern, label) and not any(index in taken for taken in found.values()):
                found.setdefault(role, []).append(index)
    return found


def energy_axis(
    labels: Sequence[str],
    columns: Array,
    found: Mapping[str, list[int]],
    units: Sequence[str] | None,
    name: str,
    d_spacing: float | None,
) -> tuple[Array, str]:
    """Find the energy axis in eV, and say where it comes from."""
    for role in ("energy", "energy_kev"):
        if role not in found:
            continue
        index = found[role][0]
        unit = _unit(units, index)
        values = columns[:, index]
        if unit not in _ENERGY_UNITS:
            raise DataFileError(name, f"has an energy in {unit!r}", "it must be in eV or keV")
        kev = unit == "kev" or role == "energy_kev"
        return (values * 1000 if kev else values), f"column {labels[index]!r}" + (" in keV" if kev else "")
    if "angle" in found:
        index = found["angle"][0]
        if not d_spacing:
            raise DataFileError(
                name,
                f"gives the monochromator's angle ({labels[index]}), not the energy",
                "give its lattice spacing: d_spacing=3.1356 (angstrom)",
            )
        unit = _unit(units, index)
        if unit not in _ANGLE_UNITS:
            raise DataFileError(name, f"has an angle in {unit!r}", "it must be in degrees or radians")
        theta = _ANGLE_UNITS[unit] * columns[:, index]
        with np.errstate(divide="ignore"):
            energy = HC / (2 * d_spacing * np.sin(theta))
        return energy, f"column {labels[index]!r}, Bragg angle with d = {d_spacing} angstrom"
    raise DataFileError(
        name,
        f"has no column of energy (columns: {', '.join(labels)})",
        'name them with columns=["energy", "mu"]',
    )


def _unit(units: Sequence[str] | None, index: int) -> str:
    """Return the unit of a column in lower case, "" where the file does not say."""
    words = (units[index] if units else "").lower().strip("()[] ").split()
    return words[0].strip("()[],") if words else ""


def candidates(
    labels: Sequence[str],
    columns: Array,
    found: Mapping[str, list[int]],
    element: str,
    energy: Array,
    mode: str | None,
) -> Iterator[tuple[Array, str]]:
    """Yield every μ the columns allow, with a sentence on how it is made."""
    if mode not in (None, "transmission", "fluorescence"):
        raise DataFileError("mode", f"is {mode!r}", 'it is "transmission" or "fluorescence"')
    with np.errstate(divide="ignore", invalid="ignore"):
        if mode != "fluorescence":
            if "mu" in found:
                index = found["mu"][0]
                yield columns[:, index], f"column {labels[index]!r}"
            if "i0" in found and "it" in found:
                i0, it = found["i0"][0], found["it"][0]
                yield np.log(columns[:, i0] / columns[:, it]), f"ln({labels[i0]}/{labels[it]})"
        if mode != "transmission" and "i0" in found:
            i0 = found["i0"][-1] if len(found["i0"]) > 1 else found["i0"][0]
            for indices in _fluorescence(labels, found, element, energy):
                total = columns[:, indices].sum(axis=1)
                text = " + ".join(labels[i] for i in indices)
                yield total / columns[:, i0], f"({text})/{labels[i0]}"


def _fluorescence(
    labels: Sequence[str], found: Mapping[str, list[int]], element: str, energy: Array
) -> Iterator[list[int]]:
    """Yield sets of columns that are the fluorescence of the element: totals before single detectors."""
    if "fluorescence" in found:
        yield found["fluorescence"][:1]
    lines: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        match = _LINE.search(label)
        if match and _has_edge_within(match["symbol"], energy):
            lines.setdefault(match["symbol"], []).append(index)
    wanted = [element] if element in lines else list(lines)
    for symbol in wanted:
        totals = [i for i in lines[symbol] if "sum" in labels[i].lower()]
        yield totals[:1] or lines[symbol]
    detectors = [i for i, label in enumerate(labels) if re.fullmatch(r"dtc\d+", label.lower())]
    if detectors:
        yield detectors


def _has_edge_within(element: str, energy: Array) -> bool:
    lo, hi = np.nanmin(energy), np.nanmax(energy)
    if hi < 200:  # still in keV
        lo, hi = 1000 * lo, 1000 * hi
    return any((t := tabulated(element, e)) is not None and lo < t < hi for e in EDGES)


def reference_channel(
    labels: Sequence[str], columns: Array, found: Mapping[str, list[int]], reference: str | None
) -> tuple[Array | None, str]:
    """Return μ of the reference foil where there is one, and what is known about it."""
    index = found.get("mu_ref", found.get("ir", [None]))[0]
    if index is None:
        return None, ""
    if reference is not None and _NO_FOIL.match(reference.strip()):
        return None, f"not used: the file has a column {labels[index]!r} but says there was no reference"
    if "mu_ref" in found:
        return columns[:, index], f"column {labels[index]!r}"
    if "it" not in found:
        return None, ""
    it = found["it"][0]
    with np.errstate(divide="ignore", invalid="ignore"):
        mu_ref = np.log(columns[:, it] / columns[:, index])
    if not np.isfinite(mu_ref).mean() > 0.95 or not np.ptp(columns[:, index]) > 0:
        return None, f"not used: {labels[index]!r} holds no signal"
    return mu_ref, f"ln({labels[it]}/{labels[index]})"


@dataclass(frozen=True)
class Detectors:
    """The channels of a detector of many elements.

    Attributes
    ----------
    names
        Of the channels.
    counts
        Shape (channel, point).
    factors
        What dead time asks to multiply them with, same shape; None where the file does not say.
    """

    names: list[str]
    counts: Array
    factors: Array | None


def single_detectors(labels: Sequence[str], columns: Array, element: str) -> Detectors | None:
    """Return the single detectors of an element's line; None where there are fewer than two.

    They are columns "Fe_Ka_mca1", each perhaps with a "DTFactor_mca1", or with an "ICR_mca1" and an
    "OCR_mca1" (input and output count rate) whose ratio is the factor.
    """
    places: dict[str, dict[str, int]] = {}
    for index, label in enumerate(labels):
        if match := _CHANNEL.match(label):
            what = "line" if line_of(match["what"]) == element else match["what"].lower()
            places.setdefault(what, {})[match["channel"]] = index
    names = list(places.get("line", ()))
    if not element or len(names) < 2:
        return None

    def of(*words: str) -> Array | None:
        found = next((places[word] for word in words if set(names) <= set(places.get(word, ()))), None)
        return None if found is None else columns[:, [found[name] for name in names]].T

    factors, incoming, outgoing = of("dtfactor", "dtc"), of("icr"), of("ocr")
    if factors is None and incoming is not None and outgoing is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = incoming / outgoing
    counts = columns[:, [places["line"][name] for name in names]].T
    return Detectors(names, counts, factors)


def line_of(label: str) -> str:
    """Return the element whose fluorescence line a label names ("Fe_Ka"), or ""."""
    match = _LINE.search(label)
    return match["symbol"] if match else ""
