"""Numbers of the oxygen redox: the oxidised-oxygen feature and its low-loss partner, with stated backgrounds.

An area comes with three errors that add in quadrature: ``counting``, of the photons; ``models``, how far the
background models disagree beyond what their common noise explains; ``calibration``, how far the area moves
with the energy axes. What a model does not know, no error bar of its own can say: therefore several.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError
from rixs.bands import MODELS, Region
from rixs.loss import INTEGRATED, RESOLVED, SPACING, fit_low_loss, loss_window
from rixs.yields import axis_error

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

WINDOW = (530.6, 531.8)
"""Excitation energies (eV) in which oxidised lattice oxygen resonates."""

EMISSION = (522.9, 524.5)
"""Emission (eV) of the feature in that window."""


@dataclass(frozen=True)
class Areas:
    """One feature of one sample above several background models.

    Attributes
    ----------
    models
        Their names.
    values
        Area above each.
    covariance
        Counting errors of the areas, which they share.
    calibration
        How far each moves with one standard deviation of the emission axis, and of the excitation axis:
        (axis, model).
    """

    models: tuple[str, ...]
    values: Array
    covariance: Array
    calibration: Array

    def minus(self, other: Areas) -> Areas:
        """Return the difference of two samples, above the models both have."""
        both = [name for name in self.models if name in other.models]
        a, b = (part.only(both) for part in (self, other))
        moved = np.concatenate([a.calibration, b.calibration])
        return Areas(tuple(both), a.values - b.values, a.covariance + b.covariance, moved)

    def only(self, names: Sequence[str]) -> Areas:
        """Return the areas above some of the models."""
        at = [self.models.index(name) for name in names]
        return Areas(tuple(names), self.values[at], self.covariance[np.ix_(at, at)], self.calibration[:, at])

    @property
    def mean(self) -> float:
        """The mean over the models."""
        return float(self.values.mean())

    @property
    def counting(self) -> float:
        """Its counting error."""
        return float(np.sqrt(self.covariance.mean()))

    @property
    def between_models(self) -> float:
        """How far the models disagree, beyond the noise they do not share: a standard deviation."""
        count = self.values.size
        if count < 2:
            return 0.0
        noise = (np.trace(self.covariance) - count * self.covariance.mean()) / (count - 1)
        return float(np.sqrt(max(0.0, float(self.values.var(ddof=1) - noise))))

    @property
    def of_axes(self) -> float:
        """How far the mean moves with the calibration of the axes."""
        return float(np.sqrt((self.calibration.mean(axis=1) ** 2).sum()))

    @property
    def total(self) -> float:
        """All three in quadrature."""
        return float(np.sqrt(self.counting**2 + self.between_models**2 + self.of_axes**2))


@provenance.step("rixs.oxidised_oxygen", returns="rixs.feature")
def oxidised_oxygen(
    rmap: xr.Dataset,
    reference: xr.Dataset | list[xr.Dataset] | None = None,
    window: tuple[float, float] = WINDOW,
    emission: tuple[float, float] = EMISSION,
    models: tuple[str, ...] | None = None,
) -> xr.Dataset:
    """Measure the oxidised-oxygen intensity above the TM-O bands.

    Parameters
    ----------
    rmap
        Kind ``rixs.map``, with errors.
    reference
        Map or maps of a state without the feature (pristine), for the background model ``reference``.
    window
        Excitation energies integrated, eV.
    emission
        Emission energies integrated, eV.
    models
        Background models (`rixs.bands`); by default ``local``, ``fit`` and, given a reference,
        ``reference``.

    Returns
    -------
    Dataset
        Kind ``rixs.feature``: ``area`` (model) with its counting errors; ``mean_area``, the mean over the
        models, with all errors, whose parts are ``counting``, ``models`` and ``calibration``; the spectrum of
        the window and each ``background`` below it (emission_energy).

    Raises
    ------
    ConfigError
        A model is not known, or asks for a reference; the map does not cover what the models need.
    FitError
        The map has no errors, or gaps in this region.
    """
    import xarray as xr

    references = [] if reference is None else [reference] if isinstance(reference, xr.Dataset) else reference
    areas, region, backgrounds = _above_bands(rmap, references, window, emission, models)
    of_window = _reduced(f"{rmap['intensity'].attrs['units']}*eV")
    result = _dataset(areas, f"{of_window}*eV")
    spectrum = {"units": of_window}
    return result.assign(
        intensity=("emission_energy", region.cut, spectrum),
        intensity_errors=("emission_energy", np.sqrt(region.variance)),
        background=(("model", "emission_energy"), backgrounds, spectrum),
    ).assign_coords(emission_energy=region.emission).assign_attrs(
        feature="oxidised oxygen",
        window_from=float(window[0]),
        window_to=float(window[1]),
        emission_from=float(emission[0]),
        emission_to=float(emission[1]),
    )  # fmt: skip


@provenance.step("rixs.low_loss", returns="rixs.feature")
def low_loss(rmap: xr.Dataset, window: tuple[float, float] = WINDOW) -> xr.Dataset:
    """Measure the low-loss partner of oxidised oxygen, beside the elastic line.

    Parameters
    ----------
    rmap
        Kind ``rixs.map``, with errors.
    window
        Excitation energies integrated, eV.

    Returns
    -------
    Dataset
        Kind ``rixs.feature``: ``area`` above the backgrounds ``linear`` and ``quadratic``, the mean as in
        `oxidised_oxygen`, and ``spacing`` of the progression. Where the elastic line is wider than 0.6 of
        the spacing, the spacing is that of molecular O₂, has no error, and the attribute ``progression``
        says why.

    Raises
    ------
    ConfigError
        The window is not within the map.
    FitError
        The map has no errors, or no elastic line.
    """
    areas, cut, fits = _beside_elastic(rmap, window)
    result = _dataset(areas, f"{cut['intensity'].attrs['units']}*eV")
    fit = fits[0]
    spectrum = {"units": cut["intensity"].attrs["units"]}
    label = {"units": "eV", "long_name": "spacing of the progression"}
    result = result.assign(
        intensity=("energy_loss", cut["intensity"].values, spectrum),
        intensity_errors=("energy_loss", cut["intensity_errors"].values),
        background=(("model", "energy_loss"), np.array([f.rest for f in fits]), spectrum),
        spacing=((), fit.spacing, label),
        fwhm=((), fit.fwhm, {"units": "eV", "long_name": "full width at half maximum of the elastic line"}),
    ).assign_coords(energy_loss=cut["energy_loss"].values)
    if np.isfinite(fit.spacing_error):
        result["spacing_errors"] = ((), fit.spacing_error, {**label, "long_name": "standard deviation of it"})
        said = f"resolved: {fit.spacing:.4f} +- {fit.spacing_error:.4f} eV"
    else:
        said = (
            f"not resolved: a FWHM of {fit.fwhm:.3f} eV is not below {RESOLVED:g} x {SPACING:g} eV; "
            f"the spacing is fixed at {SPACING:g} eV"
        )
    return result.assign_attrs(
        feature="low loss",
        progression=said,
        window_from=float(window[0]),
        window_to=float(window[1]),
        loss_from=INTEGRATED[0],
        loss_to=INTEGRATED[1],
    )


def measure_oxidised_oxygen(
    rmap: xr.Dataset, references: Sequence[xr.Dataset], window: tuple[float, float] = WINDOW
) -> Areas:
    """Return the areas of the oxidised-oxygen feature, as `oxidised_oxygen` does, for `rixs.compare`."""
    return _above_bands(rmap, references, window, EMISSION, None)[0]


def measure_low_loss(
    rmap: xr.Dataset, references: Sequence[xr.Dataset], window: tuple[float, float] = WINDOW
) -> Areas:
    """Return the areas of the low-loss feature, as `low_loss` does, for `rixs.compare`."""
    return _beside_elastic(rmap, window)[0]


FEATURES: dict[str, Callable[..., Areas]] = {
    "oxidised_oxygen": measure_oxidised_oxygen,
    "low_loss": measure_low_loss,
}
"""What `rixs.compare` can compare, by name."""


def _above_bands(
    rmap: xr.Dataset,
    references: Sequence[xr.Dataset],
    window: tuple[float, float],
    emission: tuple[float, float],
    models: Sequence[str] | None,
) -> tuple[Areas, Region, Array]:
    names = tuple(models or (name for name in MODELS if references or name != "reference"))
    for name in names:
        if name not in MODELS:
            raise ConfigError(f"background model {name!r}", "is not known", f"one of {', '.join(MODELS)}")
    if "reference" in names and not references:
        raise ConfigError("background model 'reference'", "needs the map of a reference state")
    region = Region.of(rmap, window, emission)
    others = [Region.of(other, window, emission) for other in references]
    found = [MODELS[name](region, others) for name in names]
    weights = np.array([estimate.weights for estimate in found])
    covariance = np.einsum("aie,bie->ab", weights * region.errors**2, weights)
    if others:
        noise = np.concatenate([other.variance for other in others])
        spread = np.array([e.references if e.references.size else np.zeros(noise.size) for e in found])
        covariance += np.einsum("as,bs->ab", spread * noise, spread)
    # Along the emission axis, and, for the correction of the excitation energies, along both at once.
    along = np.gradient(_smoothed(region.intensity), region.emission, axis=1)
    across = np.gradient(_smoothed(region.intensity), region.excitation, axis=0)
    shift = 0.0
    if "excitation_energy_errors" in rmap.coords:
        shift = float(rmap["excitation_energy_errors"].values.mean())
    own = np.sqrt(max(axis_error(rmap, float(np.mean(emission))) ** 2 - shift**2, 0.0))
    moved = np.array(
        [own * (weights * along).sum(axis=(1, 2)), shift * (weights * (along + across)).sum(axis=(1, 2))]
    )
    areas = Areas(names, np.array([e.area for e in found]), covariance, moved)
    return areas, region, np.array([estimate.background for estimate in found])


def _beside_elastic(rmap: xr.Dataset, window: tuple[float, float]) -> tuple[Areas, xr.Dataset, list[Any]]:
    cut = loss_window(rmap, *window)
    fits = [fit_low_loss(cut, degree) for degree in (1, 2)]
    weights = np.array([fit.weights for fit in fits])
    covariance = (weights * np.nan_to_num(cut["intensity_errors"].values) ** 2) @ weights.T
    # The zero of the loss is fitted with the line: a shift of the axes does not move the area.
    areas = Areas(("linear", "quadratic"), np.array([fit.area for fit in fits]), covariance, np.zeros((2, 2)))
    return areas, cut, fits


def _dataset(areas: Areas, units: str) -> xr.Dataset:
    import xarray as xr

    def number(value: float, long_name: str) -> Any:
        return ((), value, {"units": units, "long_name": long_name})

    return xr.Dataset(
        {
            "area": ("model", areas.values, {"units": units, "long_name": "area above the background"}),
            "area_errors": ("model", np.sqrt(np.diag(areas.covariance))),
            "mean_area": number(areas.mean, "area, mean over the background models"),
            "mean_area_errors": number(areas.total, "standard deviation of it, everything included"),
            "counting": number(areas.counting, "its counting error"),
            "models": number(areas.between_models, "its error from the choice of the background"),
            "calibration": number(areas.of_axes, "its error from the energy axes"),
        },
        coords={"model": list(areas.models)},
        attrs={"models": json.dumps(list(areas.models))},
    )


def _reduced(units: str) -> str:
    """Return units with "per eV times eV" left out."""
    return units.replace("/eV*eV", "", 1)


def _smoothed(values: Array) -> Array:
    """Return intensities smoothed a little, of which a slope can be taken."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(values, 1.0, axis=1, mode="nearest"))
