from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import curve_fit

import xrd
from beamline import model
from beamline.errors import ConfigError
from calibration.geometry import Geometry
from xrd import simulate
from xrd.simulate import CEO2, Crystal, Profile, powder_frames

GAUSS = Profile(W=0.15**2, X=0.0)


@pytest.fixture(scope="module")
def detector() -> Geometry:
    """Pixels of 0.046 deg."""
    return Geometry(0.25, 0.018, 0.021, 0.02, -0.03, 0.1, 0.1173, (200e-6, 200e-6), (160, 180), 3)


def test_reflections_of_ceria_are_those_of_an_fcc_lattice(geometry: Geometry) -> None:
    _, truth = powder_frames(geometry, seed=None)
    found = [tuple(int(truth[i][n]) for i in "hkl") for n in range(7)]
    assert found == [(1, 1, 1), (2, 0, 0), (2, 2, 0), (3, 1, 1), (2, 2, 2), (4, 0, 0), (3, 3, 1)]


def test_ring_positions_follow_braggs_law(geometry: Geometry) -> None:
    _, truth = powder_frames(geometry, seed=None)
    square = sum(truth[i] ** 2 for i in "hkl").values
    expected = np.degrees(2 * np.arcsin(0.1173 / 2 / 5.41165 * np.sqrt(square)))
    np.testing.assert_allclose(truth["position"].values[0], expected, rtol=1e-12)


def test_structure_factors_are_those_of_gemmi(monkeypatch: pytest.MonkeyPatch) -> None:
    import gemmi

    atoms = (("Ce", 0.0, 0.0, 0.0, 1.0, 0.2), ("O", 0.25, 0.25, 0.25, 0.8, 0.4))
    crystal = dataclasses.replace(CEO2, atoms=atoms)
    hkl = np.array([[1, 1, 1], [2, 0, 0], [4, 2, 2], [1, 0, 0], [-3, 1, 1]])
    sites = "".join(f"{e} {e} {x} {y} {z} {o} {b}\n" for e, x, y, z, o, b in atoms)
    labels = "label type_symbol fract_x fract_y fract_z occupancy B_iso_or_equiv"
    cif = (
        "data_ceria\n_symmetry_space_group_name_H-M 'F m -3 m'\n"
        + "".join(f"_cell_length_{edge} 5.41165\n" for edge in "abc")
        + "".join(f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma"))
        + "loop_\n"
        + "".join(f"_atom_site_{label}\n" for label in labels.split())
        + sites
    )
    small = gemmi.make_small_structure_from_block(gemmi.cif.read_string(cif).sole_block())
    small.change_occupancies_to_crystallographic()
    calculator = gemmi.StructureFactorCalculatorX(small.cell)
    theirs = [abs(calculator.calculate_sf_from_small_structure(small, list(h))) ** 2 for h in hkl.tolist()]
    inverse_d = simulate._inverse_d(crystal.cell, hkl)
    monkeypatch.setattr("xraydb.f1_chantler", lambda element, energy: 0.0)
    monkeypatch.setattr("xraydb.f2_chantler", lambda element, energy: 0.0)
    ours = simulate._structure_factor_squared(crystal, hkl, inverse_d, 0.1173)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("hkl", "cerium", "oxygen"), [((1, 1, 1), 4, 0), ((2, 0, 0), 4, -8), ((2, 2, 0), 4, 8), ((3, 1, 1), 4, 0)]
)
def test_anomalous_terms_of_ceria_above_the_edge_of_cerium(
    hkl: tuple[int, int, int], cerium: int, oxygen: int
) -> None:
    """F of fluorite by hand: 4 f_Ce, and of the eight O all, none or all with the other sign."""
    import gemmi
    import xraydb

    wavelength = 0.3064  # 40.46 keV, the K edge is at 40.44 keV
    energy = 12398.42 / wavelength
    square = sum(i**2 for i in hkl) / (2 * 5.41165) ** 2
    real = imaginary = without = 0.0
    for element, multiple, b in (("Ce", cerium, 0.2), ("O", oxygen, 0.4)):
        f0 = gemmi.Element(element).it92.calculate_sf(square)
        weight = multiple * math.exp(-b * square)
        real += weight * (f0 + float(xraydb.f1_chantler(element, energy)))
        imaginary += weight * float(xraydb.f2_chantler(element, energy))
        without += weight * f0
    indices = np.array([hkl])
    (found,) = simulate._structure_factor_squared(
        CEO2, indices, simulate._inverse_d(CEO2.cell, indices), wavelength
    )
    assert found == pytest.approx(real**2 + imaginary**2, rel=1e-5)
    # Both terms are seen: neither could be left out.
    assert abs(found / without**2 - 1) > 0.05
    assert imaginary**2 > 1e-3 * found


def test_friedel_pairs_and_multiplicity_come_by_summing(geometry: Geometry) -> None:
    hkl, families = simulate._reflections(CEO2, geometry.wavelength, 12.0)
    assert np.bincount(families)[:4].tolist() == [8, 6, 12, 24]
    assert len(hkl) == len(families)


def test_a_triclinic_metric() -> None:
    import gemmi

    cell = (5.0, 6.0, 7.0, 80.0, 95.0, 110.0)
    hkl = np.array([[1, 0, 0], [1, -2, 3], [4, 1, -1]])
    expected = [1 / gemmi.UnitCell(*cell).calculate_d(list(h)) for h in hkl.tolist()]
    np.testing.assert_allclose(simulate._inverse_d(cell, hkl), expected, rtol=1e-12)
    assert simulate._volume(cell) == pytest.approx(gemmi.UnitCell(*cell).volume, rel=1e-12)


def test_solid_angle_and_polarisation_are_those_of_pyfai(geometry: Geometry) -> None:
    theirs = geometry.to_pyfai()
    expected = theirs.solidAngleArray() * theirs.polarization(factor=0.9)
    np.testing.assert_allclose(simulate.pixel_normalization(geometry, 0.9), expected, rtol=1e-6)
    np.testing.assert_allclose(
        simulate.pixel_normalization(geometry, None), theirs.solidAngleArray(), rtol=1e-6
    )


def test_a_profile_has_unit_area_and_its_width() -> None:
    x = np.linspace(-200, 200, 800_001)
    fwhm, eta = Profile(U=0.02, V=-0.01, W=0.01, X=0.05, Y=0.1).widths(np.array([8.0]))
    y = simulate._pseudo_voigt(x, fwhm, eta)
    assert np.trapezoid(y, x) == pytest.approx(1, abs=1e-3)
    assert np.interp(fwhm[0] / 2, x, y) == pytest.approx(y.max() / 2, rel=1e-4)


def test_an_expected_frame_is_the_pattern_times_the_normalisation(geometry: Geometry) -> None:
    images, truth = powder_frames(geometry, seed=None, profile=GAUSS, counts=500.0)
    angles = np.degrees(geometry.two_theta())
    fwhm, eta = GAUSS.widths(truth["position"].values[0])
    pattern = 20 + 60 * np.exp(-angles / 8.0)
    for row in zip(truth["position"].values[0], truth["area"].values[0], fwhm, eta, strict=True):
        pattern += row[1] * simulate._pseudo_voigt(angles - row[0], row[2], row[3])
    expected = pattern * simulate.pixel_normalization(geometry, 0.99)
    np.testing.assert_allclose(images["counts"].values[0], expected, rtol=1e-5)


def test_the_strongest_ring_has_the_counts_asked_for(geometry: Geometry) -> None:
    _, truth = powder_frames(geometry, seed=None, profile=GAUSS, counts=500.0)
    height = truth["area"] * 2 * math.sqrt(math.log(2) / math.pi) / truth["fwhm"]
    assert float(height.max()) == pytest.approx(500.0)


def test_sub_pixels_lower_the_maximum_as_stated(detector: Geometry) -> None:
    narrow = Profile(W=0.15**2, X=0.0)
    options: dict[str, Any] = {"seed": None, "profile": narrow, "background": (0.0, 0.0, 1.0)}
    centre, _ = powder_frames(detector, **options)
    exact, _ = powder_frames(detector, subpixels=6, **options)
    lost = 1 - float(exact["counts"].max() / centre["counts"].max())
    # Extent of a square pixel in 2θ squared, over any direction: one side squared.
    width = math.degrees(200e-6 / 0.25)
    assert lost == pytest.approx(width**2 * 8 * math.log(2) / 0.15**2 / 24, rel=0.25)


def test_the_same_seed_is_the_same_noise(geometry: Geometry) -> None:
    two = powder_frames(geometry, cells=[CEO2.cell] * 2, seed=5)[0]["counts"].values
    one = powder_frames(geometry, seed=5)[0]["counts"].values
    other = powder_frames(geometry, seed=6)[0]["counts"].values
    np.testing.assert_array_equal(two[0], one[0])
    assert (two[0] != two[1]).any()
    assert (one != other).any()


def test_a_growing_cell_moves_the_rings_inwards(geometry: Geometry) -> None:
    cells = [(a, a, a, 90.0, 90.0, 90.0) for a in (5.41165, 5.45)]
    _, truth = powder_frames(geometry, cells=cells, seed=None)
    assert (np.diff(truth["position"].values, axis=0) < 0).all()
    assert truth["a"].values.tolist() == [5.41165, 5.45]


def test_results_are_of_their_kinds(geometry: Geometry) -> None:
    images, truth = powder_frames(geometry)
    model.validate(images, "images")
    model.validate(truth, "xrd.peaks")


def test_dead_pixels_and_beam_stop(geometry: Geometry) -> None:
    dead = np.zeros((100, 120), bool)
    dead[5:9] = True
    images, _ = powder_frames(geometry, dead=dead, beam_stop=4.0)
    counts = images["counts"].values[0]
    assert (counts[dead] == -1).all()
    shadow = np.degrees(geometry.two_theta()) < 4.0
    assert (counts[shadow & ~dead] == 0).all()
    assert images["counts"].dtype == np.int32


def test_an_integrating_detector_gives_adu(geometry: Geometry) -> None:
    images, _ = powder_frames(geometry, gain=20.0, counts=5000.0)
    assert images["counts"].attrs["units"] == "ADU"
    assert images["counts"].dtype == np.uint16
    assert (images["counts"].values % 20 == 0).mean() > 0.9
    assert images["counts"].values.max() == 65535


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crystal": dataclasses.replace(CEO2, cell=(0.05,) * 3 + (90.0,) * 3)}, "no ring"),
        ({"crystal": Crystal("?", "Q 1", (5.0,) * 3 + (90.0,) * 3, CEO2.atoms)}, "space group"),
        ({"profile": Profile(W=-1.0)}, "profile"),
    ],
)
def test_impossible_simulations_are_refused(options: Any, said: str, geometry: Geometry) -> None:
    with pytest.raises(ConfigError, match=said):
        powder_frames(geometry, **options)


def test_frames_are_written_and_read_again(geometry: Geometry, tmp_path: Path) -> None:
    import beamline

    for units, options in (("int32", {}), ("uint16", {"gain": 20.0})):
        images, truth = powder_frames(geometry, **options)
        folder = tmp_path / units
        path = simulate.write_frames(folder, images, geometry, truth, "# nothing\n")
        assert path == folder / "beamtime.toml"
        read: Any = beamline.read(folder / "raw" / "frame_00001.tif")
        np.testing.assert_array_equal(read["counts"].values, images["counts"].values)
        assert read["counts"].dtype == images["counts"].dtype
        record = json.loads((folder / "truth.json").read_text())
        assert record["two_theta_deg"] == truth["position"].values.tolist()
        assert Geometry.from_poni(folder / "geometry.poni") == geometry


# Statistics of the whole way: simulate, integrate


@pytest.mark.parametrize("splitting", ["none", "bbox"])
def test_pulls_of_bins_are_standard_normal(splitting: Any, detector: Geometry) -> None:
    seeds = 40
    options: dict[str, Any] = {"bins": 150, "splitting": splitting}
    expected = xrd.integrate(powder_frames(detector, seed=None)[0], detector, **options).isel(frame=0)
    noisy = powder_frames(detector, cells=[CEO2.cell] * seeds, seed=7)[0]
    found = xrd.integrate(noisy, detector, **options)
    many = expected["coverage"].values > 20
    pulls = ((found["intensity"] - expected["intensity"]) / expected["intensity_errors"]).values[:, many]
    # Neighbouring bins that share pixels are correlated: count every second one as independent.
    independent = pulls.size if splitting == "none" else pulls.size / 2
    assert abs(pulls.mean()) < 3 / math.sqrt(independent)
    assert abs(pulls.std() - 1) < 3 / math.sqrt(2 * independent)
    variance = (found["intensity_errors"] ** 2 / expected["intensity_errors"] ** 2).values[:, many]
    assert variance.mean() == pytest.approx(1, abs=3 / math.sqrt(independent) * variance.std())


def fitted_positions(pattern: Any, truth: Any, rings: list[int]) -> tuple[list[float], list[float]]:
    """Pulls of Gaussians fitted to single rings, and their offsets in deg."""

    def line(x: Any, height: float, centre: float, width: float, base: float, slope: float) -> Any:
        return height * np.exp(-4 * math.log(2) * ((x - centre) / width) ** 2) + base + slope * (x - centre)

    pulls, offsets = [], []
    for ring in rings:
        position = float(truth["position"][0, ring])
        near = pattern.where(abs(pattern["two_theta"] - position) < 0.25, drop=True)
        best, covariance = curve_fit(
            line,
            near["two_theta"].values,
            near["intensity"].values,
            [float(near["intensity"].max()), position + 0.01, 0.15, 30.0, 0.0],
            sigma=near["intensity_errors"].values,
            absolute_sigma=True,
        )
        offsets.append(best[1] - position)
        pulls.append(offsets[-1] / math.sqrt(covariance[1, 1]))
    return pulls, offsets


def test_fitted_rings_lie_where_they_were_put(detector: Geometry) -> None:
    seeds = 40
    images, truth = powder_frames(detector, cells=[CEO2.cell] * seeds, profile=GAUSS, seed=3)
    # Bins finer than pixels: wide bins shift a ring by up to some hundredth of a pixel (see the test below).
    patterns = xrd.integrate(images, detector, bins=1000)
    pulls: list[float] = []
    for frame in range(seeds):
        pulls += fitted_positions(patterns.isel(frame=frame), truth, [2, 5])[0]
    assert abs(np.mean(pulls)) < 3 / math.sqrt(len(pulls))
    assert abs(np.std(pulls) - 1) < 3 / math.sqrt(2 * len(pulls))


def test_rings_without_noise_lie_within_a_hundredth_of_a_pixel(detector: Geometry) -> None:
    images, truth = powder_frames(detector, profile=GAUSS, seed=None)
    pattern = xrd.integrate(images, detector, bins=200).isel(frame=0)
    _, offsets = fitted_positions(pattern, truth, [2, 5])
    assert max(map(abs, offsets)) < 0.01 * math.degrees(200e-6 / 0.25)
