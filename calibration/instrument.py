r"""What the diffractometer does to a reflection: wavelength, zero, polarisation, and the shape of its peaks.

The conventions are those of GSAS-II (B. H. Toby, R. B. Von Dreele, J. Appl. Cryst. 46 (2013) 544), so that an
``.instprm`` means the same here and there. With θ half the measured 2θ, widths in centidegrees:

.. math:: σ^2 = U \tan^2θ + V \tanθ + W \qquad \text{variance of the Gaussian part, centideg}^2

.. math:: γ = X / \cosθ + Y \tanθ + Z \qquad \text{FWHM of the Lorentzian part, centideg}

and SH/L = (S + H)/L, sample and detector aperture over the distance, for axial divergence with S = H
(L. W. Finger, D. E. Cox, A. P. Jephcoat, J. Appl. Cryst. 27 (1994) 892); see `calibration.profiles`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from beamline._lazy import attach
from beamline.errors import CalibrationError
from calibration import instrument_files
from calibration.records import Calibration

if TYPE_CHECKING:
    from calibration.instrument_calibration import calibrate as calibrate

__getattr__, __dir__ = attach(__name__, {"calibrate": "calibration.instrument_calibration:calibrate"})

Floats = np.ndarray[Any, np.dtype[np.float64]]
Axial = Literal["gsas2", "exact"]
Arrangement = Literal["debye-scherrer", "bragg-brentano"]

PROFILE = ("U", "V", "W", "X", "Y", "Z", "SHL")
"""The parameters of the peak shape."""

SMALLEST_WIDTH = 0.001
"""Floor of variance (centideg²) and Lorentzian width (centideg), as in GSAS-II."""


@dataclass(frozen=True)
class Instrument(Calibration):
    """A diffractometer of constant wavelength, with the names and units of an ``.instprm``.

    Attributes
    ----------
    wavelength
        Of the beam, or of K-alpha 1, angstrom.
    wavelength2, ratio
        Of K-alpha 2 (angstrom), and its intensity over that of K-alpha 1; None and 0 for one wavelength.
    zero
        2θ of the direct beam, deg.
    polarization, azimuth
        Part of the intensity with the electric field in the plane of ``azimuth`` 0 deg: about 0.99 at a
        synchrotron, 0.5 in the laboratory. (``.instprm``: Polariz., Azimuth.)
    U, V, W
        Gaussian variance, centideg².
    X, Y, Z
        Lorentzian FWHM, centideg.
    SHL
        Axial divergence (S + H)/L; below 0.002 it counts as 0.002, as in GSAS-II, unless `axial` is "exact":
        rings of an area detector have none, and 0.002 shifts them near the beam (by 0.8 mdeg at 1.4 deg).
    geometry
        ``"debye-scherrer"`` (transmission, area detectors) or ``"bragg-brentano"``.
    radius
        Distance from sample to detector in mm; it only scales displacements. (GSAS-II: Gonio. radius.)
    axial
        How axial divergence is integrated: ``"gsas2"`` as that program does, with which the SH/L of an
        ``.instprm`` was found; ``"exact"`` to convergence. See docs/decisions/0016.
    varied, covariance
        Names of the parameters a calibration refined, and their covariance matrix in that order.
    two_theta_range
        Range in deg in which the profile was calibrated, where known.
    """

    wavelength: float
    wavelength2: float | None = None
    ratio: float = 0.0
    zero: float = 0.0
    polarization: float = 0.99
    azimuth: float = 0.0
    U: float = 2.0
    V: float = -2.0
    W: float = 5.0
    X: float = 0.0
    Y: float = 0.0
    Z: float = 0.0
    SHL: float = 0.002
    geometry: Arrangement = "debye-scherrer"
    radius: float = 200.0
    axial: Axial = "gsas2"
    varied: tuple[str, ...] = ()
    covariance: tuple[tuple[float, ...], ...] = ()
    two_theta_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        named = ("wavelength", "zero", "polarization", "azimuth", "radius", *PROFILE)
        numbers = {name: getattr(self, name) for name in named}
        bad = [name for name, value in numbers.items() if not math.isfinite(value)]
        if bad:
            raise CalibrationError("instrument", f"has {', '.join(bad)} that are no numbers")
        if not self.wavelength > 0 or not self.radius > 0:
            raise CalibrationError(
                "instrument", "has no positive wavelength and radius", "give them in angstrom and mm"
            )
        if not 0 <= self.polarization <= 1:
            raise CalibrationError(
                "instrument", f"has a polarization of {self.polarization:g}", "it is a part, from 0 to 1"
            )
        for name, allowed in (("geometry", get_args(Arrangement)), ("axial", get_args(Axial))):
            if getattr(self, name) not in allowed:
                raise CalibrationError(
                    "instrument", f"has {name}={getattr(self, name)!r}", f"it is {' or '.join(allowed)}"
                )
        if self.ratio and not self.wavelength2:
            raise CalibrationError("instrument", "has a ratio without a second wavelength")
        size = len(self.varied)
        if np.shape(self.covariance) not in ((size, size), (0,)) or (size and not self.covariance):
            raise CalibrationError(
                "instrument", f"has a covariance that is not that of {', '.join(self.varied) or 'nothing'}"
            )

    @classmethod
    def from_instprm(cls, path: str | os.PathLike[str], bank: int | None = None) -> Self:
        """Read an ``.instprm`` of GSAS-II, or a ``.prm`` of GSAS.

        Parameters
        ----------
        path
            The file.
        bank
            Number of the bank to take of a file with several.

        Raises
        ------
        CalibrationError
            The file is none, is not one of X-rays of constant wavelength, lacks a value, or has several
            banks of which none was asked for.
        """
        try:
            return cls(**instrument_files.read(path, bank))
        except CalibrationError as error:
            if error.subject == "instrument":
                raise CalibrationError(path, error.problem, error.remedy) from error
            raise

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an ``.instprm`` where the name ends so, else the record as JSON.

        An ``.instprm`` holds no covariance; the record beside it should be kept for that.
        """
        if Path(path).suffix == ".instprm":
            instrument_files.write(path, self)
        else:
            super().save(path)

    def errors(self) -> dict[str, float]:
        """Return the standard deviations of the varied parameters."""
        return {name: math.sqrt(self.covariance[i][i]) for i, name in enumerate(self.varied)}

    def widths(self, two_theta: Any) -> tuple[Floats, Floats]:
        """Return Gaussian variance (centideg²) and Lorentzian FWHM (centideg) at `two_theta` (deg).

        Raises
        ------
        CalibrationError
            The profile has no width there, so that it cannot be meant for this range.
        """
        theta = np.radians(np.asarray(two_theta, dtype=float)) / 2
        tan = np.tan(theta)
        variance = self.U * tan**2 + self.V * tan + self.W
        lorentz = self.X / np.cos(theta) + self.Y * tan + self.Z
        if bool(((variance <= 0) & (lorentz <= 0)).any()):
            raise CalibrationError(
                "instrument",
                f"has no width at {float(np.min(two_theta)):g} to {float(np.max(two_theta)):g} deg",
                "take the instrument file of this beamline and wavelength",
            )
        return np.maximum(variance, SMALLEST_WIDTH), np.maximum(lorentz, SMALLEST_WIDTH)

    def check_range(self, limits: Sequence[float]) -> None:
        """See that the profile holds between two angles (deg).

        Raises
        ------
        CalibrationError
            They reach beyond what was calibrated, or what the wavelength can reflect into.
        """
        low, high = limits
        if self.two_theta_range is not None:
            first, last = self.two_theta_range
            margin = 0.05 * (last - first)
            if low < first - margin or high > last + margin:
                raise CalibrationError(
                    "instrument",
                    f"is calibrated from {first:g} to {last:g} deg, not from {low:g} to {high:g} deg",
                    "narrow the limits or calibrate the whole range",
                )
        self.widths(np.linspace(max(low, 1e-3), min(high, 179.0), 50))
