"""Calibrate a detector with the image of a calibrant, and judge a geometry by one.

Wavelength and distance are never refined together from one image: to first order only their product with the
spacings shows, and a fit of both ends where noise and distortion send it (by 3 % in two published cases). The
wavelength is taken as given, and its uncertainty is carried into the covariance.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import xarray as xr

from beamline import model
from beamline.errors import CalibrationError
from calibration.calibrants import Calibrant, find_calibrant
from calibration.flat_detector import Array
from calibration.frames import Frame, frame_of
from calibration.geometry import Geometry, load
from calibration.ring_judge import Judgement, judge_rings
from calibration.ring_refinement import Fit, refine
from calibration.ring_search import Found, search

LIMIT = 0.5
"""A geometry whose rings are off by more than so many pixels is refused."""

FOUND = 0.4
"""A geometry by which less than this part of the visible sectors has its ring is refused."""

QUALITY = 0.3
"""So is one of less `Judgement.quality`: by chance, rings are found here and there and not far off."""

CONFIDENT = 0.2
"""Without a guess, a geometry whose quality is not better by this than at any other distance is refused."""

CLEARLY = 2.0
"""Another orientation is named when the rings are off by so many times less in it."""


def calibrate(
    image: Any,
    calibrant: str | os.PathLike[str] = "CeO2",
    wavelength: float | None = None,
    pixel_size: float | tuple[float, float] | None = None,
    mask: Any = None,
    guess: Geometry | str | os.PathLike[str] | None = None,
    wavelength_error: float = 0.0,
    orientation: int = 3,
    polarization: float = 0.99,
) -> Geometry:
    """Find the geometry of a detector from one image of a calibrant.

    Parameters
    ----------
    image
        Dataset of kind ``images``, or an array (y, x). Several frames are summed.
    calibrant
        A name pyFAI knows ("CeO2", "LaB6_SRM660c"), or a CIF.
    wavelength
        In angstrom. It is not refined.
    pixel_size
        In m, one number or (y, x); not needed where the Dataset says it.
    mask
        Array (y, x), nonzero = masked, or an image file of it.
    guess
        A geometry that is about right, or a file of it. None is needed; where there is one, only distances
        within 30 % of its are tried, which settles what the rings alone leave open.
    wavelength_error
        Standard deviation of the wavelength in angstrom.
    orientation
        Which way round the geometry is to hold the image (see `calibration.geometry`). It is a choice: an
        image and its mirror image have the same rings.
    polarization
        Polarisation factor of the beam, 1 for an electric field along x.

    Returns
    -------
    Geometry
        With ``covariance``, ``residual_mdeg`` and ``confidence``; rot3, which no ring shows, is 0.

    Raises
    ------
    CalibrationError
        The input makes no sense, the rings do not determine a geometry, or the best one is worse than `LIMIT`
        pixels, shows less than `FOUND` of its rings, has less `QUALITY`, or is not the only one
        (`CONFIDENT`).
    """
    wavelength = _wavelength(wavelength)
    frame = frame_of(image, pixel_size, mask, orientation, polarization)
    powder = find_calibrant(calibrant, wavelength)
    angles = _angles(powder, wavelength)
    start = None if guess is None else _guess(guess, orientation, frame)
    found = search(frame, angles, start)
    _accept(found, powder, 0.0 if start is not None else CONFIDENT)
    return _geometry(found, frame, powder, wavelength, wavelength_error, orientation)


def calibrate_distances(
    images: Any,
    increments: Any,
    calibrant: str | os.PathLike[str] = "CeO2",
    wavelength: float | None = None,
    pixel_size: float | tuple[float, float] | None = None,
    mask: Any = None,
    refine_wavelength: bool = False,
    wavelength_error: float = 0.0,
    orientation: int = 3,
    polarization: float = 0.99,
) -> tuple[Geometry, ...]:
    """Find the geometries of a detector that was moved along a straight stage by known steps.

    Tilt, wavelength and the direction of the stage are common to all images, so that the first distance and
    the wavelength no longer stand for each other: the steps are the scale.

    Parameters
    ----------
    images
        Two images or more; each as `calibrate` takes it.
    increments
        How far the detector stood from its first place in m, positive away from the sample; 0 for the first.
    refine_wavelength
        Whether the wavelength is found too. Its uncertainty is then that of the fit.
    calibrant, wavelength, pixel_size, mask, wavelength_error, orientation, polarization
        As in `calibrate`.

    Returns
    -------
    tuple of Geometry
        One for each image, with the covariance of its own parameters.

    Raises
    ------
    CalibrationError
        As `calibrate`; there are fewer than two different distances; or the steps contradict the images.
    """
    from calibration.ring_distances import fit_distances

    steps = np.asarray(increments, dtype=float)
    if len(images) != steps.size or np.unique(steps).size < 2 or not np.isfinite(steps).all():
        raise CalibrationError(
            "increments", f"are {steps.tolist()} for {len(images)} images", "give one of each, in m"
        )
    wavelength = _wavelength(wavelength)
    powder = find_calibrant(calibrant, wavelength)
    angles = _angles(powder, wavelength)
    frames = [frame_of(image, pixel_size, mask, orientation, polarization) for image in images]
    founds = []
    for frame in frames:
        founds.append(search(frame, angles, None))
        _accept(founds[-1], powder)
    fits, factor, factor_error = fit_distances(
        [found.fit.detector for found in founds],
        [found.cells for found in founds],
        [found.rings for found in founds],
        steps,
        frames[0].pixel,
        refine_wavelength,
    )
    if refine_wavelength:
        wavelength, wavelength_error = wavelength * factor, wavelength * factor_error
        angles = _angles(powder, wavelength)
    result = []
    for found, frame, fit in zip(founds, frames, fits, strict=True):
        judged = found._replace(fit=fit, judgement=judge_rings(frame, fit.detector, angles))
        _accept(judged, powder)
        # The wavelength's part is in the covariance of the common fit where it was refined.
        stated = 0.0 if refine_wavelength else wavelength_error
        geometry = _geometry(judged, frame, powder, wavelength, stated, orientation)
        result.append(dataclasses.replace(geometry, wavelength_error=wavelength_error))
    return tuple(result)


def judge(
    image: Any,
    geometry: Geometry | str | os.PathLike[str],
    calibrant: str | os.PathLike[str] | None = None,
    mask: Any = None,
    polarization: float = 0.99,
    limit: float | None = LIMIT,
) -> xr.Dataset:
    """Measure how far the rings of an image are from where a geometry puts them.

    Parameters
    ----------
    image, mask, polarization
        As in `calibrate`.
    geometry
        A geometry or a file of one that states its orientation.
    calibrant
        As in `calibrate`; by default the geometry's.
    limit
        Largest mean deviation in pixels; None: whatever it is, it is only returned.

    Returns
    -------
    Dataset of kind ``calibration.sectors``
        ``deviation`` (azimuth, ring) in deg with ``deviation_errors``, NaN where no ring was found; the
        coordinates ``azimuth`` (deg) and ``two_theta`` (ring). The attributes ``residual_mdeg`` and
        ``residual_px`` are the means of the absolute deviations, ``found`` is the part of the visible sectors
        in which the ring was found.

    Raises
    ------
    CalibrationError
        The rings are farther off than `limit`, or not there. If the geometry fits in another orientation,
        that is said.
    """
    ours = geometry if isinstance(geometry, Geometry) else load(geometry)
    powder = find_calibrant(calibrant or ours.calibrant or "CeO2", ours.wavelength)
    angles = _angles(powder, ours.wavelength)

    def of_orientation(orientation: int) -> Judgement:
        frame = frame_of(image, ours.pixel_size, mask, orientation, polarization)
        ours.shape_of((frame.signal.shape[0], frame.signal.shape[1]))
        return judge_rings(frame, ours.detector, angles)

    judgement = of_orientation(ours.orientation)
    if limit is not None and (judgement.residual_px > limit or judgement.found < FOUND):
        others = {o: of_orientation(o) for o in (1, 2, 3, 4) if o != ours.orientation}
        best = min(others, key=lambda o: others[o].residual_px if others[o].found >= FOUND else np.inf)
        fits = others[best].found >= FOUND and others[best].residual_px * CLEARLY < judgement.residual_px
        raise CalibrationError(
            "geometry",
            f"puts the rings of {powder.name} {_misfit(judgement)} in orientation {ours.orientation}",
            f"in orientation {best} they are {_misfit(others[best])}: that is how it was calibrated"
            if fits
            else "it fits the image in no orientation; calibrate again",
        )
    return _sectors(judgement)


def _accept(found: Found, powder: Calibrant, confident: float = CONFIDENT) -> None:
    """Refuse a geometry that the rings do not bear out, or not by `confident` better than another."""
    judgement = found.judgement
    if judgement.residual_px > LIMIT or judgement.found < FOUND or judgement.quality < QUALITY:
        raise CalibrationError(
            "calibration image",
            f"fits no geometry: the rings of {powder.name} are {_misfit(judgement)}",
            "check calibrant and wavelength; is the detector flat, is a ring of another powder in the image?",
        )
    if found.confidence < confident:
        raise CalibrationError(
            "calibration image",
            f"fits about as well at another distance ({judgement.quality:.2f} and {found.second:.2f} of 1)",
            "give a guess of the distance, or bring more rings onto the detector",
        )


def _misfit(judgement: Judgement) -> str:
    if not judgement.rings.size or not np.isfinite(judgement.residual):
        return "not there"
    mdeg = 1e3 * np.degrees(judgement.residual)
    return (
        f"off by {mdeg:.1f} mdeg ({judgement.residual_px:.2f} px) on average, "
        f"found in {judgement.found:.0%} of the sectors"
    )


def _geometry(
    found: Found,
    frame: Frame,
    powder: Calibrant,
    wavelength: float,
    wavelength_error: float,
    orientation: int,
) -> Geometry:
    if not (np.isfinite(wavelength_error) and 0 <= wavelength_error < 0.1 * wavelength):
        raise CalibrationError(
            "wavelength_error", f"is {wavelength_error} angstrom", "it is a small part of it"
        )
    covariance = np.zeros((6, 6))
    covariance[:5, :5] = found.fit.covariance
    if wavelength_error:
        slope = _of_wavelength(found, frame.pixel, powder, wavelength) * wavelength_error
        covariance[:5, :5] += np.outer(slope, slope)
    distance, poni1, poni2, rot1, rot2 = map(float, found.fit.detector)
    rows, columns = frame.signal.shape
    return Geometry(
        distance,
        poni1,
        poni2,
        rot1,
        rot2,
        0.0,
        wavelength,
        frame.pixel_size,
        (rows, columns),
        orientation,
        powder.name,
        tuple(tuple(map(float, row)) for row in covariance),
        wavelength_error,
        1e3 * float(np.degrees(found.judgement.residual)),
        float(found.confidence),
    )


def _of_wavelength(found: Found, pixel: float, powder: Calibrant, wavelength: float) -> Array:
    """Return how the parameters move with the wavelength, per angstrom."""
    step = 1e-4 * wavelength
    # The rings used, among all: by their angles, which are those of the table.
    index = np.searchsorted(_angles(powder, wavelength), found.rings - 1e-12)
    fits: list[Fit] = []
    for moved in (wavelength + step, wavelength - step):
        fit = refine(found.fit.detector, found.cells, _angles(powder, moved)[index], pixel)
        if fit is None:
            raise CalibrationError("calibration image", "does not determine the geometry")
        fits.append(fit)
    return np.asarray((fits[0].detector - fits[1].detector) / (2 * step))


def _sectors(judgement: Judgement) -> xr.Dataset:
    order = np.argsort(judgement.azimuth % (2 * np.pi))
    ds = xr.Dataset(
        {
            "deviation": (("azimuth", "ring"), np.degrees(judgement.offset[order])),
            "deviation_errors": (("azimuth", "ring"), np.degrees(judgement.error[order])),
        },
        {
            "azimuth": np.degrees(judgement.azimuth[order]) % 360.0,
            "two_theta": ("ring", np.degrees(judgement.rings)),
        },
        {
            "residual_mdeg": 1e3 * float(np.degrees(judgement.residual)),
            "residual_px": judgement.residual_px,
            "found": judgement.found,
        },
    )
    return model.with_defaults(ds, "calibration.sectors")


def _angles(powder: Calibrant, wavelength: float) -> Array:
    angles = np.array(powder.two_theta(wavelength))
    if angles.size < 2:
        raise CalibrationError(
            f"calibrant {powder.name}",
            f"has {angles.size} rings at {wavelength:g} angstrom",
            "check the wavelength",
        )
    return angles


def _wavelength(wavelength: float | None) -> float:
    if wavelength is None:
        raise CalibrationError("calibration", "needs the wavelength", "give wavelength in angstrom")
    if not (np.isfinite(wavelength) and 0.005 < wavelength < 50):
        raise CalibrationError(
            "wavelength", f"is {wavelength} angstrom", "it is between 0.005 and 50 angstrom"
        )
    return float(wavelength)


def _guess(guess: Geometry | str | os.PathLike[str], orientation: int, frame: Frame) -> Array:
    """Return the parameters of a guess, as the image is held in `orientation`."""
    ours = guess if isinstance(guess, Geometry) else load(guess, orientation)
    detector = ours.detector
    height, width = (n * size for n, size in zip(frame.signal.shape, frame.pixel_size, strict=True))
    if (ours.orientation in (1, 2)) != (orientation in (1, 2)):
        detector[[1, 4]] = height - detector[1], -detector[4]
    if (ours.orientation in (1, 4)) != (orientation in (1, 4)):
        detector[[2, 3]] = width - detector[2], -detector[3]
    return detector
