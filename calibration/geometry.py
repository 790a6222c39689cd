r"""Where every pixel of an area detector is: the detector geometry, as a saved record.

The convention is pyFAI's (G. Ashiotis et al., J. Appl. Cryst. 48 (2015) 510, and its PONI files). The pixel
:math:`(i_1, i_2)`, with axis 1 = y (slow, rows) and axis 2 = x (fast, columns), has its centre at
:math:`((i_1+½)\,s_1, (i_2+½)\,s_2)`. The *point of normal incidence* (poni) is the foot of the perpendicular
from the sample to the detector, :math:`L` long. With :math:`p_1 = y - \mathrm{poni}_1` and
:math:`p_2 = x - \mathrm{poni}_2` a pixel lies at (:math:`t_3` along the beam)

.. math:: t_1 &= p_1 \cos r_2 + p_2 \sin r_1 \sin r_2 - L \cos r_1 \sin r_2 \\
          t_2 &= p_2 \cos r_1 + L \sin r_1 \\
          t_3 &= p_1 \sin r_2 - p_2 \cos r_2 \sin r_1 + L \cos r_1 \cos r_2

turned about the beam by :math:`r_3`, and :math:`2θ = \arctan(\sqrt{t_1^2 + t_2^2} / t_3)`.

The angles are computed in `calibration.flat_detector`, the parameters of other programs in
`calibration.geometry_conversions`; `calibrate` finds a geometry in `calibration.ring_search`.

``orientation`` says from which corner of the image *as stored* the indices are counted: 3 as stored, 2 with
the rows in reverse order, 4 with the columns in reverse, 1 with both. A geometry of orientation 2 for an
image is the geometry of orientation 3 for ``image[::-1]``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline._lazy import attach
from beamline.atomic import write_atomic
from beamline.errors import CalibrationError
from calibration import geometry_conversions, geometry_files
from calibration.records import Calibration, load_record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    from calibration.ring_calibration import calibrate as calibrate
    from calibration.ring_calibration import calibrate_distances as calibrate_distances
    from calibration.ring_calibration import judge as judge

# What looks at images; it needs more than the record does.
__getattr__, __dir__ = attach(
    __name__,
    {name: f"calibration.ring_calibration:{name}" for name in ("calibrate", "calibrate_distances", "judge")},
)


@dataclass(frozen=True)
class Geometry(Calibration):
    """Geometry of a flat detector.

    Attributes
    ----------
    distance
        Distance from the sample to the detector plane, along its normal, in m.
    poni1, poni2
        Point of normal incidence along y and x, in m from the corner `orientation` names.
    rot1, rot2, rot3
        Rotations in rad, as pyFAI defines them.
    wavelength
        Wavelength in angstrom.
    pixel_size
        Size of a pixel along (y, x), in m.
    shape
        Pixels of the image along (y, x); None where the source of the geometry does not say.
    orientation
        Corner the indices are counted from, 1-4 (see the module).
    calibrant
        Name of the calibrant, "" where unknown.
    covariance
        Covariance of (distance, poni1, poni2, rot1, rot2, rot3), in m and rad; None where it is not known.
        The part of the wavelength's uncertainty is in it.
    wavelength_error
        Standard deviation of the wavelength in angstrom, as it was stated for the calibration.
    residual_mdeg
        Mean absolute deviation of the calibrant's rings in sectors (`judge`), in mdeg.
    confidence
        Quality of this geometry minus that of the best at any other distance, 0 to 1: the part of the sectors
        with their ring, times what the deviation leaves of a pixel.

    Raises
    ------
    CalibrationError
        A value is not finite or not possible.
    """

    distance: float
    poni1: float
    poni2: float
    rot1: float
    rot2: float
    rot3: float
    wavelength: float
    pixel_size: tuple[float, float]
    shape: tuple[int, int] | None = None
    orientation: int = 3
    calibrant: str = ""
    covariance: tuple[tuple[float, ...], ...] | None = None
    wavelength_error: float = 0.0
    residual_mdeg: float | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        for name in ("poni1", "poni2", "rot1", "rot2", "rot3"):
            if not math.isfinite(getattr(self, name)):
                raise CalibrationError(f"geometry: {name}", f"is {getattr(self, name)}")
        _inside("distance", self.distance, 0.0, 1000.0, "m")
        _inside("wavelength", self.wavelength, 0.005, 50.0, "angstrom")
        for size in self.pixel_size:
            _inside("pixel size", size, 1e-7, 0.01, "m")
        if self.orientation not in geometry_files.ORIENTATIONS:
            raise CalibrationError("geometry: orientation", f"is {self.orientation}", "it is 1, 2, 3 or 4")
        if self.shape is not None and not all(n > 0 for n in self.shape):
            raise CalibrationError("geometry: shape", f"is {self.shape}", "give the pixels along (y, x)")

    @classmethod
    def from_poni(cls, path: str | os.PathLike[str], orientation: int | None = None) -> Geometry:
        """Read a PONI file of version 1, 2, 2.1 or 3; of an appended file the last entry.

        Parameters
        ----------
        path
            The file.
        orientation
            Which way round the program that wrote it held the image. Files older than version 2.1 do not
            say, and programs differ: it must be given for them.

        Raises
        ------
        CalibrationError
            The file cannot be read, lacks a value, describes a detector without equivalent (distortion,
            parallax), states no orientation while none is given, or states another one.
        """
        return _of_file(path, geometry_files.read_poni(path, orientation))

    @classmethod
    def from_imctrl(
        cls,
        path: str | os.PathLike[str],
        pixel_size: tuple[float, float],
        shape: tuple[int, int] | None = None,
        orientation: int | None = None,
    ) -> Geometry:
        r"""Read GSAS-II image controls.

        GSAS-II gives the point where the beam meets the detector, :math:`(c_x, c_y)`, the perpendicular
        distance :math:`L`, and the tilt τ about an axis at φ. With these

        .. math:: \sin r_2 = \sin τ \cos φ, \quad \sin r_1 = \sin τ \sin φ / \cos r_2, \quad
                  \mathrm{poni}_1 = c_y - L \tan τ \cos φ, \quad \mathrm{poni}_2 = c_x + L \tan τ \sin φ .

        Parameters
        ----------
        path
            The ``.imctrl`` file.
        pixel_size, shape
            Size of a pixel in m and number of pixels along (y, x): the file does not hold them.
        orientation
            Which way round GSAS-II held the image: 3 for TIFF (as stored), 2 for mar345 (rows in reverse).
            The file does not say, so it must be given.

        Raises
        ------
        CalibrationError
            The file cannot be read, lacks a value, or uses a correction without equivalent (penetration
            depth ``DetDepth``, detector arm ``det2theta``); or no orientation is given.
        """
        values = geometry_files.read_imctrl(path)
        if orientation is None:
            raise CalibrationError(
                path,
                "does not say which way round the image was calibrated",
                "give orientation=3 if it was a TIFF, orientation=2 if it was a mar345",
            )
        return _of_file(
            path, {**values, "pixel_size": pixel_size, "shape": shape, "orientation": orientation}
        )

    @classmethod
    def from_pyfai(cls, integrator: AzimuthalIntegrator) -> Geometry:
        """Return the geometry of a pyFAI object.

        Raises
        ------
        CalibrationError
            It has no wavelength, or its detector is not a flat regular grid.
        """
        detector = integrator.detector
        if not (detector.uniform_pixel and detector.IS_FLAT and detector.pixel1):
            raise CalibrationError("pyFAI geometry", "is not that of a flat regular grid of pixels")
        if integrator.wavelength is None:
            raise CalibrationError("pyFAI geometry", "has no wavelength", "set its wavelength in m")
        shape = detector.shape or detector.max_shape
        return cls(
            distance=float(integrator.dist),
            poni1=float(integrator.poni1),
            poni2=float(integrator.poni2),
            rot1=float(integrator.rot1),
            rot2=float(integrator.rot2),
            rot3=float(integrator.rot3),
            wavelength=geometry_files.to_angstrom(float(integrator.wavelength)),
            pixel_size=(float(detector.pixel1), float(detector.pixel2)),
            shape=(int(shape[0]), int(shape[1])) if shape else None,
            orientation=int(detector.orientation),
        )

    @classmethod
    def from_fit2d(cls, values: Mapping[str, float], wavelength: float, **others: Any) -> Geometry:
        """Return the geometry that Fit2D's parameters hold, named as pyFAI's ``getFit2D`` names them.

        Parameters
        ----------
        values
            directDist (mm), centerX, centerY (px), tilt, tiltPlanRotation (deg), pixelX, pixelY (um).
        wavelength
            In angstrom.
        others
            ``shape``, ``orientation``, ``calibrant``.

        Raises
        ------
        CalibrationError
            A value is missing, or not possible.
        """
        try:
            found = geometry_conversions.of_fit2d(values)
        except KeyError as error:
            raise CalibrationError("Fit2D parameters", f"lack {error.args[0]}") from error
        return cls(**found, wavelength=wavelength, **others)

    @classmethod
    def from_hexrd(
        cls, path: str | os.PathLike[str], panel: str | None = None, orientation: int = 3
    ) -> Geometry:
        """Read a panel of HEXRD's instrument (YAML).

        Parameters
        ----------
        path
            The file.
        panel
            Name of the panel; not needed where there is one.
        orientation
            HEXRD holds images as stored (3) unless it was told to flip them.

        Raises
        ------
        CalibrationError
            The file is no instrument, the panel is not there, or it or the beam has no equivalent here.
        """
        return _of_file(path, {**geometry_files.read_hexrd(path, panel), "orientation": orientation})

    @property
    def detector(self) -> NDArray[np.float64]:
        """Array (distance, poni1, poni2, rot1, rot2), m and rad."""
        import numpy as np

        return np.array([self.distance, self.poni1, self.poni2, self.rot1, self.rot2])

    @property
    def center(self) -> tuple[float, float]:
        """Point where the beam meets the detector: (x, y) in px, counted as `orientation` says.

        The first pixel reaches from 0 to 1 (Fit2D's convention, as pyFAI's ``getFit2D``).
        """
        x = self.poni2 - self.distance * math.tan(self.rot1)
        y = self.poni1 + self.distance * math.tan(self.rot2) / math.cos(self.rot1)
        return x / self.pixel_size[1], y / self.pixel_size[0]

    @property
    def tilt(self) -> float:
        """Angle between the beam and the normal of the detector, in deg."""
        # The arc cosine of cos r1 cos r2 would lose half of the digits of a small tilt.
        sine = math.hypot(math.cos(self.rot2) * math.sin(self.rot1), math.sin(self.rot2))
        return math.degrees(math.atan2(sine, math.cos(self.rot1) * math.cos(self.rot2)))

    @property
    def tilt_plane(self) -> float:
        """Direction of the tilt in the detector plane (Fit2D's tilt plane rotation), in deg."""
        return math.degrees(math.atan2(math.sin(self.rot2), -math.cos(self.rot2) * math.sin(self.rot1)))

    @property
    def distance_error(self) -> float:
        """Standard deviation of `distance` in m; NaN without covariance."""
        return self._errors()[0]

    @property
    def center_errors(self) -> tuple[float, float]:
        """Standard deviations of `center` in px; NaN without covariance."""
        return self._errors()[1:3]

    @property
    def tilt_error(self) -> float:
        """Standard deviation of `tilt` in deg; NaN without covariance. A tilt below it has no direction."""
        return self._errors()[3]

    def _errors(self) -> tuple[float, float, float, float]:
        """Return the standard deviations of distance (m), centre (px) and tilt (deg)."""
        from calibration.flat_detector import spread

        if self.covariance is None:
            return (math.nan,) * 4
        distance, y, x, tilt = spread(self.detector, self.covariance)
        return distance, x / self.pixel_size[1], y / self.pixel_size[0], math.degrees(tilt)

    def positions(
        self, shape: tuple[int, int] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return y (rows, 1) and x (1, columns) of the pixel centres of an image as stored, in m.

        Raises
        ------
        CalibrationError
            The shape is neither given nor known, or contradicts the geometry.
        """
        import numpy as np

        rows, columns = self.shape_of(shape)
        y = (np.arange(rows, dtype=np.float64) + 0.5) * self.pixel_size[0]
        x = (np.arange(columns, dtype=np.float64) + 0.5) * self.pixel_size[1]
        if self.orientation in (1, 2):
            y = y[::-1]
        if self.orientation in (1, 4):
            x = x[::-1]
        return y[:, np.newaxis], x[np.newaxis, :]

    def vectors(self, shape: tuple[int, int] | None = None) -> tuple[NDArray[np.float64], ...]:
        """Return t1 (vertical), t2 (horizontal), t3 (along the beam) of every pixel centre, (y, x) in m.

        Raises
        ------
        CalibrationError
            The shape is neither given nor known, or contradicts the geometry.
        """
        from calibration.flat_detector import laboratory

        y, x = self.positions(shape)
        t1, t2, t3 = laboratory(self.detector, y, x)
        sin3, cos3 = math.sin(self.rot3), math.cos(self.rot3)
        return t1 * cos3 - t2 * sin3, t1 * sin3 + t2 * cos3, t3

    def two_theta(self, shape: tuple[int, int] | None = None) -> NDArray[np.float64]:
        """Return the scattering angle of every pixel centre of an image as stored, (y, x) in rad.

        Raises
        ------
        CalibrationError
            The shape is neither given nor known, or contradicts the geometry.
        """
        import numpy as np

        t1, t2, t3 = self.vectors(shape)
        return np.arctan2(np.hypot(t1, t2), t3)

    def shape_of(self, shape: tuple[int, int] | None, subject: str = "image") -> tuple[int, int]:
        """Return `shape`, or the geometry's own where it is None.

        Raises
        ------
        CalibrationError
            Neither is known, or `shape` (that of `subject`) contradicts the geometry.
        """
        if shape is None:
            if self.shape is None:
                raise CalibrationError("geometry", "does not know the number of pixels", "give the shape")
            return self.shape
        rows, columns = shape
        if self.shape is not None and (rows, columns) != tuple(self.shape):
            raise CalibrationError(
                subject,
                f"has {rows} x {columns} pixels, the geometry is that of {self.shape[0]} x {self.shape[1]}",
                "use the geometry of this detector and binning",
            )
        return rows, columns

    def to_pyfai(self, shape: tuple[int, int] | None = None) -> AzimuthalIntegrator:
        """Return pyFAI's integrator of this geometry, for images as stored.

        Raises
        ------
        CalibrationError
            The shape contradicts the geometry; or it is neither given nor known while the orientation is
            not 3, so that the corner the pixels are counted from is not known.
        """
        from pyFAI.detectors import Detector
        from pyFAI.integrator.azimuthal import AzimuthalIntegrator

        unknown = shape is None and self.shape is None and self.orientation == 3
        detector = Detector(
            *self.pixel_size,
            max_shape=None if unknown else self.shape_of(shape),
            orientation=self.orientation,
        )
        return AzimuthalIntegrator(
            dist=self.distance,
            poni1=self.poni1,
            poni2=self.poni2,
            rot1=self.rot1,
            rot2=self.rot2,
            rot3=self.rot3,
            detector=detector,
            wavelength=float(geometry_files.to_metre(self.wavelength)),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the geometry by its suffix: ``.poni`` (2.1), ``.imctrl``, ``.yml`` (HEXRD), else a record.

        Only the record holds the covariance.

        Raises
        ------
        CalibrationError
            The geometry has no equivalent in that program.
        DataFileError
            The file cannot be written.
        """
        text = _WRITERS.get(Path(path).suffix.lower())
        if text is None:
            super().save(path)
        else:
            write_atomic(path, text(self.to_record()).encode())

    def to_fit2d(self) -> dict[str, float]:
        """Return Fit2D's parameters; see `from_fit2d`."""
        return geometry_conversions.to_fit2d(self.to_record())


_WRITERS = {
    ".poni": geometry_files.poni_text,
    ".imctrl": geometry_files.imctrl_text,
    ".yml": geometry_files.hexrd_text,
    ".yaml": geometry_files.hexrd_text,
}


def load(
    path: str | os.PathLike[str],
    orientation: int | None = None,
    pixel_size: tuple[float, float] | None = None,
    shape: tuple[int, int] | None = None,
) -> Geometry:
    """Read a geometry, by suffix: ``.poni``, ``.imctrl`` (GSAS-II), ``.yml`` (HEXRD), else a record.

    Parameters
    ----------
    path
        The file.
    orientation
        As in `Geometry.from_poni` and `Geometry.from_imctrl`.
    pixel_size, shape
        As in `Geometry.from_imctrl`; the other files hold their own.

    Raises
    ------
    CalibrationError
        The file is not a geometry, or something it does not hold was not given.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".poni":
        return Geometry.from_poni(path, orientation)
    if suffix == ".imctrl":
        if pixel_size is None:
            raise CalibrationError(path, "does not hold the pixel size", "give pixel_size=(y, x) in m")
        return Geometry.from_imctrl(path, pixel_size, shape, orientation)
    if suffix in (".yml", ".yaml"):
        return Geometry.from_hexrd(path, orientation=orientation or 3)
    record = load_record(path)
    if not isinstance(record, Geometry):
        raise CalibrationError(path, f"is a {type(record).__name__}, not a geometry")
    if orientation not in (None, record.orientation):
        raise CalibrationError(path, f"states orientation {record.orientation}, {orientation} was given")
    return record


def _of_file(path: str | os.PathLike[str], values: dict[str, Any]) -> Geometry:
    """Make a geometry; what is impossible in it is the file's fault."""
    try:
        return Geometry(**values)
    except CalibrationError as error:
        raise CalibrationError(path, f"{error.subject} {error.problem}", error.remedy) from error


def _inside(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not (math.isfinite(value) and low < value < high):
        raise CalibrationError(
            f"geometry: {name}", f"is {value:g} {unit}", f"it is between {low:g} and {high:g} {unit}"
        )
