"""Maps with known features, for tests of how features are measured: bands that broaden on charging.

`rixs.simulate` draws images, in which the bands of a charged sample are those of the pristine one. In real
cathodes they are not: charging broadens and moves them, and what the broader flank adds below 525 eV looks
like a feature to whoever subtracts the pristine spectrum. Here a state says how its bands have changed. The
map is drawn as `rixs.reduce` would give it, photon counting and read noise of the summed rows included,
without the images in between: that is quick enough for hundreds of seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import model
from rixs.cuts import integration_weights
from rixs.loss import INTEGRATED
from rixs.simulate import FEATURE, WINDOW, Spectrograph, excitation_energies
from rixs.simulated_samples import FWHM

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class State:
    """A sample in some state of charge.

    Attributes
    ----------
    oxidised
        Strength of the oxidised-oxygen feature (523.7 eV) and of its low-loss partner; 0 is none.
    broadening
        Relative growth of the widths of the TM-O bands.
    shift
        How far the bands have moved, eV.
    tail
        Part of the bands' light in a third band at 522.5 eV, 2.6 eV wide: a shape that is no sum of two
        Gaussians.
    hybridisation
        Factor on the light of the bands (and of nothing else).
    vibration
        Spacing (eV) of the low-loss partner where it is a progression of sharp lines; 0 where it is one band.
    """

    oxidised: float = 0.0
    broadening: float = 0.0
    shift: float = 0.0
    tail: float = 0.0
    hybridisation: float = 1.0
    vibration: float = 0.0


PRISTINE = State()
CHARGED = State(oxidised=1.0, broadening=0.12, shift=-0.1, tail=0.02, hybridisation=1.1)
"""What charging does here is chosen, not measured: the flank then adds a fifth of the feature's area."""
BROADENED = State(oxidised=0.0, broadening=0.12, shift=-0.1, tail=0.02, hybridisation=1.1)
"""The bands of `CHARGED` without any oxidised oxygen: whatever is found there is the background model's."""


def expected(state: State, excitation: float, edges: Array, resolution: float) -> Array:
    """Return the photons per 10⁶ counts of I0 expected between emission energies `edges` (eV)."""
    from scipy.special import expit

    absorption = state.hybridisation * float(expit((excitation - 528.8) / 0.35))
    wider = 1 + state.broadening
    bands = (
        60.0 * _line(edges, 525.0 + state.shift, 3.0 * wider, resolution)
        + 15.0 * _line(edges, 526.8 + state.shift, 1.5 * wider, resolution)
    ) * (1 - state.tail) + 75.0 * state.tail * _line(edges, 522.5, 2.6, resolution)
    return np.asarray(
        12.0 * _line(edges, excitation, 0.0, resolution)
        + absorption * bands
        + state.oxidised * _resonance(excitation) * 20.0 * _line(edges, 523.7, 0.7, resolution)
        + state.oxidised * _resonance(excitation) * 6.0 * _partner(state, excitation, edges, resolution)
    )


def map_of(
    state: State,
    seed: int,
    energies: Array | None = None,
    spectrograph: Spectrograph | None = None,
    flux: float = 3e7,
    scale: float = 1.0,
) -> xr.Dataset:
    """Return a noisy map of a sample.

    Parameters
    ----------
    state
        What the sample is.
    seed
        Of the noise.
    energies
        Excitation energies, eV; 527 to 533 eV in steps of 0.2 where not given.
    spectrograph
        Its axis, gain, noise and rows.
    flux
        Counts of I0 per point.
    scale
        Factor on all the light of this sample: fresh samples differ.

    Returns
    -------
    Dataset
        Kind ``rixs.map``, in ADU per eV and 10⁶ counts of I0.
    """
    import xarray as xr

    instrument = spectrograph or Spectrograph()
    energies = excitation_energies(step=0.2) if energies is None else energies
    rng = np.random.default_rng(seed)
    edges = instrument.energy(np.arange(instrument.columns + 1, dtype=np.float64) - 0.5)
    mean = np.array([expected(state, float(e), edges, instrument.resolution) for e in energies])
    photons = rng.poisson(scale * mean * flux / 1e6)
    silent = np.sqrt(instrument.rows) * instrument.read_noise
    counts = photons * instrument.gain + rng.normal(0, silent, photons.shape)
    variance = instrument.gain**2 * photons + silent**2
    emission = instrument.energy(np.arange(instrument.columns, dtype=float))
    per = 1e6 / flux / np.diff(edges)
    dims = ("excitation_energy", "emission_energy")
    points = np.full(len(energies), flux)
    rmap = xr.Dataset(
        {
            "intensity": (dims, counts * per, {"units": "ADU/megacount/eV"}),
            "intensity_errors": (dims, np.sqrt(variance) * per),
        },
        coords={
            "excitation_energy": energies,
            "emission_energy": emission,
            "energy_loss": (dims, energies[:, None] - emission),
            "i0": ("excitation_energy", points, {"units": "count", "long_name": "incident flux monitor"}),
            "repeats": ("excitation_energy", np.ones(len(energies), int)),
        },
        attrs={"simulated": "yes"},
    )
    return model.with_defaults(rmap, "rixs.map")


def true_area(
    state: State,
    energies: Array | None = None,
    spectrograph: Spectrograph | None = None,
    window: tuple[float, float] = WINDOW,
    feature: tuple[float, float] = FEATURE,
) -> float:
    """Return the area of the feature alone, in ADU times eV of excitation per 10⁶ counts of I0.

    Within `window` (excitation) and `feature` (emission), eV, as `rixs.oxidised_oxygen` measures it.
    """
    instrument = spectrograph or Spectrograph()
    energies = excitation_energies(step=0.2) if energies is None else energies
    share = float(_line(np.array(feature), 523.7, 0.7, instrument.resolution)[0])
    strength = [20.0 * state.oxidised * _resonance(float(e)) for e in energies]
    return float(integration_weights(energies, *window) @ strength) * share * instrument.gain


def true_low_loss(
    state: State, energies: Array | None = None, window: tuple[float, float] = WINDOW, gain: float = 118.0
) -> float:
    """Return the area of the low-loss partner in the range `rixs.low_loss` integrates.

    In ADU times eV of excitation per 10⁶ counts of I0.
    """
    energies = excitation_energies(step=0.2) if energies is None else energies
    strength = [6.0 * state.oxidised * _resonance(float(e)) for e in energies]
    share = float(_partner(state, 0.0, -np.array(INTEGRATED[::-1]), Spectrograph().resolution)[0])
    return float(integration_weights(energies, *window) @ strength) * gain * share


def _resonance(excitation: float) -> float:
    return float(np.exp(-0.5 * ((excitation - 531.0) / 0.5) ** 2))


def _partner(state: State, excitation: float, edges: Array, resolution: float) -> Array:
    """Return the low-loss partner of area 1: a band 0.6 eV wide, or a progression below the same envelope."""
    if not state.vibration:
        return _line(edges, excitation - 0.6, 0.6, resolution)
    losses = state.vibration * np.arange(1, 9)
    height = np.exp(-0.5 * ((losses - 0.6) / (0.6 / FWHM)) ** 2)
    lines = [_line(edges, excitation - loss, 0.0, resolution) for loss in losses]
    return np.asarray(height @ np.array(lines) / height.sum())


def _line(edges: Array, center: float, width: float, resolution: float) -> Array:
    """Return the part of a Gaussian line of area 1 between the edges; `width` is its own FWHM, eV."""
    from scipy.special import ndtr

    return np.diff(ndtr((edges - center) / (np.hypot(width, resolution) / FWHM)))
