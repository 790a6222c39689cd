"""What the samples of the simulator emit: plausible, not physics.

An elastic line, the broad band of oxygen hybridised with the metal, and the sharp feature of oxidised lattice
oxygen (531.0 eV excitation, 523.7 eV emission) with its low-loss partner at the elastic line. How strong the
feature is in which state is chosen (`STATES`), not measured. docs/theory/simulation.md has the numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rixs.simulated_spectrograph import Spectrograph

Array = np.ndarray[Any, np.dtype[np.float64]]

FWHM = 2 * np.sqrt(2 * np.log(2))

STATES = {"pristine": 0.0, "charged": 1.0, "discharged": 0.05, "cycle50": 0.6, "cycle100": 1.3}
"""Strength of the oxidised-oxygen feature in each state."""

WINDOW = (530.6, 531.8)
"""Excitation energies (eV) that are integrated to see the feature."""

FEATURE = (522.9, 524.5)
"""Emission energies (eV) of the feature in the window."""


def spectrum(excitation: float, edges: Array, oxidised: float, resolution: float) -> Array:
    """Return the photons per 10⁶ counts of I0 expected between emission energies `edges` (eV)."""
    from scipy.special import expit, ndtr

    def line(center: float, width: float) -> Array:
        sigma = np.hypot(width, resolution) / FWHM
        return np.diff(ndtr((edges - center) / sigma))

    absorption = float(expit((excitation - 528.8) / 0.35))
    resonance = float(np.exp(-0.5 * ((excitation - 531.0) / 0.5) ** 2))
    return np.asarray(
        12.0 * line(excitation, 0.0)
        + 60.0 * absorption * line(525.0, 3.0)
        + 15.0 * absorption * line(526.8, 1.5)
        + oxidised * resonance * (20.0 * line(523.7, 0.7) + 6.0 * line(excitation - 0.6, 0.6))
    )


def tio2_spectrum(excitation: float, edges: Array, resolution: float) -> Array:
    """Return the same as `spectrum` of TiO2: an elastic line, and a band as strong as it absorbs."""
    from scipy.special import ndtr

    def line(center: float, width: float) -> Array:
        return np.diff(ndtr((edges - center) / (np.hypot(width, resolution) / FWHM)))

    absorbed = float(tio2_absorption(np.array([excitation]))[0])
    return np.asarray(30.0 * line(excitation, 0.0) + 60.0 * absorbed * line(526.2, 2.6))


def tio2_absorption(energy: Array) -> Array:
    """Return the O K absorption of TiO2 over its pre-edge, 1 at the top of the first peak (531 eV)."""
    total = 0.25 / (1 + np.exp(-(energy - 534.5) / 1.5))
    for center, width, height in ((531.0, 0.9, 1.0), (533.7, 1.3, 0.9), (539.0, 3.0, 0.5)):
        total += height * np.exp(-0.5 * ((energy - center) / (width / FWHM)) ** 2)
    return np.asarray(total)


def expected_photons(
    oxidised: float | None, energies: Array, spectrograph: Spectrograph, moved: Array | None = None
) -> Array:
    """Return the photons expected per 10⁶ counts of I0 in every pixel: (frame, y, x).

    `oxidised` is the strength of the feature, None for TiO2; `moved` says how far (px) the lines of each
    frame have moved.
    """
    borders = np.arange(spectrograph.columns + 1) - 0.5 - spectrograph.shift()[:, None]
    places = np.zeros(len(energies)) if moved is None else moved
    margin = np.abs(places).max() + 1
    ends = spectrograph.energy(np.array([borders.min() - margin, borders.max() + margin]))
    # Lines are no sharper than the resolution: between steps of a fiftieth of it, photons add up linearly.
    grid = np.linspace(ends[0], ends[1], int(np.ptp(ends) / (spectrograph.resolution / 50)) + 2)

    def emitted(energy: float, place: float) -> Array:
        if oxidised is None:
            photons = tio2_spectrum(energy, grid, spectrograph.resolution)
        else:
            photons = spectrum(energy, grid, oxidised, spectrograph.resolution)
        summed = np.concatenate([[0.0], np.cumsum(photons)])
        return np.diff(np.interp(spectrograph.energy(borders - place), grid, summed))

    frames = [emitted(float(energy), float(place)) for energy, place in zip(energies, places, strict=True)]
    return np.array(frames) / spectrograph.rows
