r"""Powder frames with known truth: the forward model of what a flat detector sees.

Of a powder of unit cells of volume :math:`V` the detector receives per solid angle (B. E. Warren, X-ray
Diffraction (1969), chapter 4; the number of crystals that reflect and the circumference of the ring give
:math:`1/\sin^2θ\cosθ`)

.. math:: I(2θ) \propto \sum_{\mathbf h} \frac{|F_{\mathbf h}|^2}{V^2 \sin^2 θ_h \cos θ_h}\, p(2θ - 2θ_h),
          \qquad F_{\mathbf h} = \sum_a o_a (f_0 + f' + i f'')_a e^{-B_a s^2 + 2πi\,\mathbf h·\mathbf x_a}

with :math:`s = \sinθ/λ`, f0 from International Tables (1992) table 6.1.1.4, f' and f'' from Chantler, the sum
over all :math:`\mathbf h` (so that no multiplicity is needed), and :math:`p` a pseudo-Voigt of unit area
(P. Thompson, D. E. Cox, J. B. Hastings, J. Appl. Cryst. 20 (1987) 79). A pixel sees
:math:`Ω P\,(I + \text{background})` with the solid angle and polarisation of `xrd.integration`, evaluated at
the pixel's centre, or averaged over sub-pixels. Photons are drawn from Poisson's law.

Pixel centres leave out that a pixel averages over its extent :math:`w` in 2θ: the maximum of a ring comes out
too high by about :math:`w^2 |I''| / 24 I`, 2 % for w = 0.3 FWHM; its position is not affected.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from beamline import model, tiff_files
from beamline.atomic import write_atomic
from beamline.errors import ConfigError
from calibration.geometry import Geometry

HC = 12398.419843320026
"""Planck's constant times the speed of light in eV angstrom (exact in the SI)."""

_INVISIBLE = 1e-9
"""Reflections weaker than this, relative to the strongest, are extinct."""


@dataclass(frozen=True)
class Crystal:
    """A crystal structure to simulate.

    Attributes
    ----------
    name
        Name of the phase.
    space_group
        Hermann-Mauguin symbol.
    cell
        a, b, c in angstrom and α, β, γ in deg.
    atoms
        Of each atom of the asymmetric unit: element, fractional x, y, z, occupancy, B in angstrom².
    """

    name: str
    space_group: str
    cell: tuple[float, ...]
    atoms: tuple[tuple[str, float, float, float, float, float], ...]


CEO2 = Crystal(
    "CeO2",
    "F m -3 m",
    (5.41165, 5.41165, 5.41165, 90.0, 90.0, 90.0),
    (("Ce", 0.0, 0.0, 0.0, 1.0, 0.2), ("O", 0.25, 0.25, 0.25, 1.0, 0.4)),
)
"""Ceria as NIST sells it for calibration: the cell is that of the certificate of SRM 674b (0.541165 nm)."""


@dataclass(frozen=True)
class Profile:
    """Width of the rings: Γ_G² = U tan²θ + V tanθ + W (deg²), Γ_L = X / cosθ + Y tanθ (deg), FWHM both."""

    U: float = 0.0
    V: float = 0.0
    W: float = 0.04**2
    X: float = 0.01
    Y: float = 0.0

    def widths(self, two_theta: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return FWHM in deg and Lorentzian fraction of the pseudo-Voigt at `two_theta` in deg.

        Raises
        ------
        ConfigError
            A width is not above 0.
        """
        tan = np.tan(np.radians(two_theta) / 2)
        squared = self.U * tan**2 + self.V * tan + self.W
        lorentz = self.X * np.sqrt(1 + tan**2) + self.Y * tan
        if (squared < 0).any() or (lorentz < 0).any() or (squared + lorentz <= 0).any():
            raise ConfigError("profile", "has a width that is not above 0", "change U, V, W, X, Y")
        gauss = np.sqrt(squared)
        coefficients = (1.0, 2.69269, 2.42843, 4.47163, 0.07842, 1.0)
        fwhm = sum(c * gauss ** (5 - i) * lorentz**i for i, c in enumerate(coefficients)) ** 0.2
        ratio = lorentz / fwhm
        return np.asarray(fwhm), 1.36603 * ratio - 0.47719 * ratio**2 + 0.11116 * ratio**3


@dataclass(frozen=True)
class Phase:
    """A powder that is in the beam with others.

    Attributes
    ----------
    crystals
        The crystal as it is in every frame: with the cell, the occupancies and the name it has then.
    volumes
        How much of it there is in every frame, in any unit common to all phases; 1 where not given.
    profile
        Width of its rings.
    """

    crystals: tuple[Crystal, ...]
    volumes: tuple[float, ...] = ()
    profile: Profile = Profile()


@dataclass(frozen=True)
class Spots:
    """Reflections of single crystals that lie still on the rings of a powder.

    Attributes
    ----------
    crystal
        What they are crystals of.
    number
        How many spots.
    photons
        Of a spot, the median; they are distributed lognormally with a standard deviation of 1 in ln.
    width
        Standard deviation of a spot, px.
    seed
        Seed of where they are.
    """

    crystal: Crystal
    number: int = 40
    photons: float = 2e5
    width: float = 1.5
    seed: int = 0


def powder_frames(
    geometry: Geometry,
    crystal: Crystal = CEO2,
    cells: Sequence[Sequence[float]] | None = None,
    profile: Profile | None = None,
    counts: float = 1000.0,
    background: tuple[float, float, float] = (20.0, 60.0, 8.0),
    polarization: float = 0.99,
    beam_stop: float = 0.0,
    dead: NDArray[np.bool_] | None = None,
    gain: float | None = None,
    seed: int | None = 0,
    subpixels: int = 1,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Simulate frames of a powder.

    Parameters
    ----------
    geometry
        The detector; its shape must be known.
    crystal
        The powder.
    cells
        Cell (a, b, c, α, β, γ) of every frame; one frame of the crystal's own cell by default.
    profile
        Width of the rings.
    counts
        Photons per pixel at normal incidence at the top of the strongest ring of the first frame.
    background
        (constant, amplitude, decay in deg): photons per pixel, constant + amplitude exp(-2θ / decay).
    polarization
        Polarisation factor of the beam, 1 for a horizontal electric field.
    beam_stop
        2θ in deg below which no photon arrives.
    dead
        Pixels (y, x) that do not measure: -1 in counts, 0 in ADU.
    gain
        ADU per photon of an integrating detector with 16 bits. None: a photon counter.
    seed
        Seed of the Poisson noise, of which every frame has its own; None: no noise, the expected signal.
    subpixels
        A pixel is the mean over this number squared of points.

    Returns
    -------
    images : Dataset of kind ``images``
        ``counts`` (frame, y, x) in count (int32) or ADU (uint16); float without noise.
    truth : Dataset of kind ``xrd.peaks``
        Of every frame and visible ring ``position`` and ``fwhm`` (deg), ``area`` (photons per pixel times
        deg), and the cell edges ``a``, ``b``, ``c``. Where rings coincide, they are one.

    Raises
    ------
    CalibrationError
        The shape of the detector is not known.
    ConfigError
        No ring falls on the detector, or a parameter is not possible.
    """
    cells = [crystal.cell] if cells is None else cells
    crystals = tuple(dataclasses.replace(crystal, cell=tuple(cell)) for cell in cells)
    sample = [Phase(crystals, profile=profile or Profile())]
    series = Series(geometry, sample, counts, background, polarization, beam_stop, subpixels)
    frames = [detect(frame, dead, gain, seed, number) for number, frame in enumerate(series.expected())]
    images = xr.Dataset(
        {"counts": (("frame", "y", "x"), np.stack(frames), {"units": "count" if gain is None else "ADU"})}
    )
    edges = np.array([cell[:3] for cell in cells], dtype=float)
    truth = series.truth().assign({edge: ("frame", edges[:, i]) for i, edge in enumerate("abc")})
    return model.with_defaults(images, "images"), model.with_defaults(truth, "xrd.peaks")


class Series:
    """Frames of a mixture of powders: what the detector is expected to see, one frame at a time.

    Parameters
    ----------
    geometry
        The detector; its shape must be known.
    phases
        The powders, each with a crystal for every frame.
    counts
        Photons per pixel at normal incidence at the top of the strongest ring of the first frame.
    background, polarization, beam_stop, subpixels
        As in `powder_frames`.
    spots
        Spots of single crystals.

    Raises
    ------
    CalibrationError
        The shape of the detector is not known.
    ConfigError
        Phases differ in their numbers of frames, no ring falls on the detector, or a parameter is impossible.
    """

    def __init__(
        self,
        geometry: Geometry,
        phases: Sequence[Phase],
        counts: float = 1000.0,
        background: tuple[float, float, float] = (20.0, 60.0, 8.0),
        polarization: float = 0.99,
        beam_stop: float = 0.0,
        subpixels: int = 1,
        spots: Spots | None = None,
    ) -> None:
        height, width = geometry.shape_of(None)
        fine = dataclasses.replace(
            geometry,
            pixel_size=(geometry.pixel_size[0] / subpixels, geometry.pixel_size[1] / subpixels),
            shape=(height * subpixels, width * subpixels),
        )
        self.background, self.subpixels = background, subpixels
        self.two_theta = np.degrees(fine.two_theta())
        self.weight = pixel_normalization(fine, polarization)
        self.weight[self.two_theta < beam_stop] = 0.0
        self.highest = float(self.two_theta.max())
        if len({len(phase.crystals) for phase in phases}) != 1:
            raise ConfigError("phases", "differ in their numbers of frames")
        rings = [_phase_rings(phase, geometry.wavelength, self.highest) for phase in phases]
        top = max(float((r.area[0] * _pseudo_voigt(0 * r.fwhm[0], r.fwhm[0], r.eta[0])).max()) for r in rings)
        if not top > 0:
            raise ConfigError("volumes", "are all 0 in the first frame", "its strongest ring sets the counts")
        self.rings = [dataclasses.replace(r, area=r.area * counts / top) for r in rings]
        self.spots = None
        if spots is not None:
            self.spots = spot_image(geometry, spots)

    def expected(self) -> Iterator[NDArray[np.float64]]:
        """Yield the photons expected in every pixel (y, x), frame by frame."""
        for frame in range(len(self.rings[0].position)):
            position, fwhm, eta, area = (
                np.concatenate([getattr(r, name)[frame] for r in self.rings]) for name in _RING_COLUMNS
            )
            pattern = _pattern(position, fwhm, eta, area, self.background, self.highest)
            image = _binned(self.weight * pattern(self.two_theta), self.subpixels)
            yield image if self.spots is None else image + self.spots

    def truth(self) -> xr.Dataset:
        """Return what the frames are made of: kind ``xrd.peaks``, `powder_frames` says which variables.

        Cells are not in it, because they belong to a phase and not to a frame.
        """
        dims = ("frame", "reflection")
        position, fwhm, _, area = (
            np.concatenate([getattr(r, name) for r in self.rings], axis=1) for name in _RING_COLUMNS
        )
        names = np.concatenate([r.names for r in self.rings])
        truth = xr.Dataset(
            {
                "position": (dims, position),
                "fwhm": (dims, fwhm, {"units": "deg"}),
                "area": (dims, area, {"units": "deg"}),
            },
            coords={
                **{index: ("reflection", names[:, i]) for i, index in enumerate("hkl")},
                "phase": (
                    "reflection",
                    np.repeat([r.name for r in self.rings], [len(r.names) for r in self.rings]),
                ),
            },
        )
        return model.with_defaults(truth, "xrd.peaks")


def detect(
    expected: NDArray[np.float64],
    dead: NDArray[np.bool_] | None = None,
    gain: float | None = None,
    seed: int | None = 0,
    number: int = 0,
) -> NDArray[Any]:
    """Return what the detector gives for the photons expected in a frame.

    Parameters are those of `powder_frames`; `number` is that of the frame, which has a seed of its own: it is
    the same, however many frames follow.
    """
    signal: NDArray[Any] = expected
    if seed is not None:
        signal = np.random.default_rng([seed, number]).poisson(expected)
    if gain is not None:
        signal = signal * gain
        if seed is not None:
            signal = np.minimum(np.rint(signal), np.iinfo(np.uint16).max).astype(np.uint16)
    elif seed is not None:
        signal = signal.astype(np.int32)
    if dead is not None:
        signal = signal.copy()
        signal[dead] = -1 if gain is None else 0
    return signal


def spot_image(geometry: Geometry, spots: Spots) -> NDArray[np.float64]:
    """Return the photons of spots in every pixel (y, x): Gaussians on rings of the crystal.

    A ring is drawn by its strength and by how much of it is on the detector, a place on it at random.
    """
    two_theta = np.degrees(geometry.two_theta())
    rings = _phase_rings(Phase((spots.crystal,)), geometry.wavelength, float(two_theta.max()))
    rng = np.random.default_rng(spots.seed)
    height, width = two_theta.shape
    # A pixel's width in 2θ, seen from the sample.
    tolerance = math.degrees(geometry.pixel_size[0] / geometry.distance)
    image = np.zeros(two_theta.shape)
    reach = math.ceil(5 * spots.width)
    flat = np.sort(two_theta, axis=None)
    position = rings.position[0]
    pixels = np.searchsorted(flat, position + tolerance) - np.searchsorted(flat, position - tolerance)
    # The part of a ring that is on the panel is its pixels over its circumference.
    chance = rings.area[0] * pixels / np.tan(np.radians(position))
    for ring in rng.choice(len(chance), spots.number, p=chance / chance.sum()):
        places = np.flatnonzero(np.abs(two_theta - position[ring]) < tolerance)
        photons = spots.photons * rng.lognormal()
        row, column = divmod(int(rng.choice(places)), width)
        y = np.arange(max(row - reach, 0), min(row + reach + 1, height))
        x = np.arange(max(column - reach, 0), min(column + reach + 1, width))
        across = np.exp(-0.5 * ((x - column) / spots.width) ** 2)
        along = np.exp(-0.5 * ((y - row) / spots.width) ** 2)
        image[np.ix_(y, x)] += photons / (2 * math.pi * spots.width**2) * np.outer(along, across)
    return image


def pixel_normalization(geometry: Geometry, polarization: float | None) -> NDArray[np.float64]:
    r"""Return Ω P of every pixel (y, x): cos³α times ½ (1 + cos²2θ - p cos 2χ sin²2θ).

    α is the angle of incidence, χ the azimuth from the horizontal (x) axis of the laboratory.
    """
    y, x = geometry.positions()
    p1, p2 = y - geometry.poni1, x - geometry.poni2
    solid_angle = (geometry.distance / np.sqrt(p1**2 + p2**2 + geometry.distance**2)) ** 3
    if polarization is None:
        return np.asarray(solid_angle)
    t1, t2, t3 = geometry.vectors()
    sine_squared = (t1**2 + t2**2) / (t1**2 + t2**2 + t3**2)
    # cos 2χ sin²2θ = (t2² - t1²) / r²: no azimuth is needed, and none is undefined in the beam.
    across = (t2**2 - t1**2) / (t1**2 + t2**2 + t3**2)
    return np.asarray(solid_angle * 0.5 * (2.0 - sine_squared - polarization * across))


def write_frames(
    folder: str | os.PathLike[str],
    images: xr.Dataset,
    geometry: Geometry,
    truth: xr.Dataset,
    configuration: str,
    stem: str = "frame",
) -> Path:
    """Write frames as a beamline leaves them: TIFF files in ``raw/``, geometry, truth and configuration.

    Parameters
    ----------
    folder
        Made where it is not there.
    images, geometry, truth
        As `powder_frames` has and gives them.
    configuration
        Text of ``beamtime.toml``.
    stem
        Start of the names of the frames.

    Returns
    -------
    Path
        The file ``beamtime.toml``.

    Raises
    ------
    CalibrationError, DataFileError
        A file cannot be written.
    """
    folder = Path(folder)
    for number, frame in enumerate(images["counts"].values, start=1):
        write_atomic(folder / "raw" / f"{stem}_{number:05d}.tif", tiff_files.encode(frame))
    geometry.save(folder / "geometry.poni")
    record = {
        "crystal": str(truth["phase"].values[0]),
        "wavelength_angstrom": geometry.wavelength,
        "a_angstrom": truth["a"].values.tolist(),
        "hkl": np.stack([truth[index].values for index in "hkl"], axis=1).tolist(),
        "two_theta_deg": truth["position"].values.tolist(),
    }
    write_atomic(folder / "truth.json", (json.dumps(record, indent=1) + "\n").encode())
    path = folder / "beamtime.toml"
    write_atomic(path, configuration.encode())
    return path


def _reflections(
    crystal: Crystal, wavelength: float, two_theta_max: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all hkl up to an angle and, of each, the number of its ring (in order of rising angle)."""
    import gemmi

    # A little further, so that the ring stays in the list when the cell grows or shrinks.
    d_min = wavelength / 2 / math.sin(min(math.radians(two_theta_max) * 1.02, math.pi) / 2)
    cell = gemmi.UnitCell(*crystal.cell)
    limits = [int(edge / d_min) + 1 for edge in (cell.a, cell.b, cell.c)]
    ranges = (np.arange(-n, n + 1) for n in limits)
    hkl = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    hkl = hkl[(hkl != 0).any(axis=1)]
    inverse_d = _inverse_d(crystal.cell, hkl)
    strength = _structure_factor_squared(crystal, hkl, inverse_d, wavelength)
    seen = (inverse_d <= 1 / d_min) & (strength > _INVISIBLE * strength.max())
    hkl, inverse_d = hkl[seen], inverse_d[seen]
    if not len(hkl):
        raise ConfigError(f"simulation of {crystal.name}", "has no ring on the detector")
    order = np.argsort(inverse_d, kind="stable")
    hkl, inverse_d = hkl[order], inverse_d[order]
    new = np.concatenate([[False], np.diff(inverse_d) > 1e-9 * inverse_d[1:]])
    ring: NDArray[np.int64] = np.cumsum(new, dtype=np.int64)
    return hkl, ring


_RING_COLUMNS = ("position", "fwhm", "eta", "area")


@dataclass(frozen=True)
class _Rings:
    """Rings of a phase: names (ring, hkl), and for every frame and ring 2θ, width, shape and area."""

    name: str
    names: NDArray[np.int64]
    position: NDArray[np.float64]
    fwhm: NDArray[np.float64]
    eta: NDArray[np.float64]
    area: NDArray[np.float64]


def _phase_rings(phase: Phase, wavelength: float, highest: float) -> _Rings:
    """Return the rings of a phase up to an angle (deg); areas are in a unit common to all phases."""
    first = phase.crystals[0]
    volumes = phase.volumes or (1.0,) * len(phase.crystals)
    if len(volumes) != len(phase.crystals):
        raise ConfigError(f"volumes of {first.name}", "are not one for every frame")
    hkl, families = _reflections(first, wavelength, highest)
    rows = [_rings(crystal, wavelength, hkl, families) for crystal in phase.crystals]
    position = np.stack([row[0] for row in rows])
    area = np.stack([volume * row[1] for volume, row in zip(volumes, rows, strict=True)])
    widths = [phase.profile.widths(row) for row in position]
    # Indices without a minus name a family, the largest of them, as the field writes them: 311, not 1-13.
    families_hkl = (hkl[families == i] for i in range(families[-1] + 1))
    names = np.array([max(map(tuple, f), key=lambda i: (min(i) >= 0, i)) for f in families_hkl])
    fwhm, eta = (np.stack(column) for column in zip(*widths, strict=True))
    return _Rings(first.name, names, position, fwhm, eta, area)


def _rings(
    crystal: Crystal, wavelength: float, hkl: NDArray[np.int64], families: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 2θ in deg and area (arbitrary units) of every ring."""
    inverse_d = _inverse_d(crystal.cell, hkl)
    first = np.searchsorted(families, np.arange(families[-1] + 1))
    sine = wavelength * inverse_d / 2
    if (sine >= 1).any():
        raise ConfigError("cells", f"{crystal.cell} cannot reflect this wavelength")
    strength = _structure_factor_squared(crystal, hkl, inverse_d, wavelength)
    area = strength / (sine**2 * np.sqrt(1 - sine**2)) / _volume(crystal.cell) ** 2
    summed = np.asarray(np.bincount(families, weights=area), dtype=np.float64)
    return np.asarray(np.degrees(2 * np.arcsin(sine[first]))), summed


def _structure_factor_squared(
    crystal: Crystal, hkl: NDArray[np.int64], inverse_d: NDArray[np.float64], wavelength: float
) -> NDArray[np.float64]:
    import gemmi
    import xraydb

    group = gemmi.find_spacegroup_by_name(crystal.space_group)
    if group is None:
        raise ConfigError("space group", f"{crystal.space_group!r} is not known")
    s_squared = (inverse_d / 2) ** 2
    total = np.zeros(len(hkl), dtype=complex)
    for element, *position, occupancy, b in crystal.atoms:
        images = {
            tuple(round(x % 1.0, 6) % 1.0 for x in operation.apply_to_xyz(position))
            for operation in group.operations()
        }
        phases = np.exp(2j * np.pi * hkl @ np.array(sorted(images)).T).sum(axis=1)
        coefficients = gemmi.Element(element).it92
        f0 = np.array([coefficients.calculate_sf(value) for value in np.unique(s_squared)])
        energy = HC / wavelength
        anomalous = complex(xraydb.f1_chantler(element, energy), xraydb.f2_chantler(element, energy))
        factor = f0[np.unique(s_squared, return_inverse=True)[1]] + anomalous
        total += occupancy * factor * np.exp(-b * s_squared) * phases
    return np.abs(total) ** 2


def _inverse_d(cell: Sequence[float], hkl: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 1/d in 1/angstrom, from the metric of the direct cell."""
    reciprocal = np.linalg.inv(_metric(cell))
    return np.asarray(np.sqrt(np.einsum("ni,ij,nj->n", hkl, reciprocal, hkl)))


def _volume(cell: Sequence[float]) -> float:
    return float(np.sqrt(np.linalg.det(_metric(cell))))


def _metric(cell: Sequence[float]) -> NDArray[np.float64]:
    edges = np.array(cell[:3])
    cosines = np.eye(3)
    for i, j, angle in ((1, 2, cell[3]), (0, 2, cell[4]), (0, 1, cell[5])):
        cosines[i, j] = cosines[j, i] = math.cos(math.radians(angle)) if angle != 90 else 0.0
    return np.asarray(np.outer(edges, edges) * cosines)


def _pseudo_voigt(
    offset: NDArray[np.float64], fwhm: NDArray[np.float64], eta: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the profile of unit area at a distance from its centre."""
    u = (2 * offset / fwhm) ** 2
    gauss = np.exp(-math.log(2) * u) * 2 * math.sqrt(math.log(2) / math.pi)
    lorentz = 2 / math.pi / (1 + u)
    return np.asarray((eta * lorentz + (1 - eta) * gauss) / fwhm)


def _pattern(
    position: NDArray[np.float64],
    fwhm: NDArray[np.float64],
    eta: NDArray[np.float64],
    area: NDArray[np.float64],
    background: tuple[float, float, float],
    highest: float,
) -> Any:
    """Return intensity against 2θ as a function: a spline, true to 1e-6 of a ring, through exact values."""
    from scipy.interpolate import CubicSpline

    constant, amplitude, decay = background
    grid = np.linspace(0.0, highest * 1.001, math.ceil(50 * highest / float(fwhm.min())))
    values = constant + amplitude * np.exp(-grid / decay)
    for ring in zip(position, area, fwhm, eta, strict=True):
        values += ring[1] * _pseudo_voigt(grid - ring[0], ring[2], ring[3])
    return CubicSpline(grid, values)


def _binned(fine: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    rows, columns = fine.shape
    blocks = fine.reshape(rows // factor, factor, columns // factor, factor)
    return np.asarray(blocks.mean(axis=(1, 3)))
