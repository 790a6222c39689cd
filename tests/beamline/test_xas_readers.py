"""Readers of absorption scans on tiny files, one fact each."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import beamline
from beamline.errors import ConfigError, DataFileError
from beamline.readers import absorption, athena, xas_columns

ENERGY = np.arange(8200.0, 8500.0, 5.0)
MU = 0.2 + 1.0 / (1 + np.exp(-(ENERGY - 8340) / 2))
I0 = np.full(ENERGY.size, 1e5)


def table(*columns: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:.8g}" for value in row) for row in zip(*columns, strict=True)) + "\n"


def xdi(folder: Path, fields: str = "", columns: str = "energy eV|i0|itrans", *data: np.ndarray) -> Path:
    names = [f"# Column.{n}: {c}" for n, c in enumerate(columns.split("|"), 1)]
    head = ["# XDI/1.0", *names, *(f"# {f}" for f in fields.split("|") if f), "# ///", "# a remark", "# ---"]
    file = folder / "scan.xdi"
    body = table(*(data or (ENERGY, I0, I0 * np.exp(-MU))))
    file.write_text(
        "\n".join([*head, "# " + " ".join(c.split()[0] for c in columns.split("|"))]) + "\n" + body
    )
    return file


def columns(folder: Path, header: str, *data: np.ndarray, name: str = "scan.dat") -> Path:
    file = folder / name
    file.write_text(header + "\n" + table(*data))
    return file


def project(
    folder: Path, *groups: tuple[str, dict[str, str], dict[str, np.ndarray]], zipped: bool = True
) -> Path:
    lines = ["# Athena project file -- Demeter version 0.9.26"]
    for name, args, arrays in groups:
        text = ",".join(f"'{k}','{v}'" for k, v in args.items())
        lines += [f"$old_group = '{name}';", f"@args = ({text});"]
        lines += [f"@{k} = ({','.join(repr(str(float(v))) for v in a)});" for k, a in arrays.items()]
        lines += ["[record]", ""]
    data = "\n".join(lines).encode()
    file = folder / "project.prj"
    file.write_bytes(gzip.compress(data) if zipped else data)
    return file


def read(file: Path, **options: object) -> xr.Dataset:
    ds = beamline.read(file, kind="xas.scans", **options)
    assert isinstance(ds, xr.Dataset)
    return ds


def test_transmission_is_the_logarithm(tmp_path: Path) -> None:
    ds = read(xdi(tmp_path, "Element.symbol: Ni|Element.edge: K"))
    np.testing.assert_allclose(ds["mu"], MU, rtol=1e-6)
    assert (ds.attrs["mu_from"], ds.attrs["edge_from"]) == ("ln(i0/itrans)", "file")
    assert ds.attrs["comments"] == "a remark"


def test_descending_energies_are_turned_round(tmp_path: Path) -> None:
    down = slice(None, None, -1)
    ds = read(xdi(tmp_path, "", "energy eV|mutrans", ENERGY[down], MU[down]))
    np.testing.assert_allclose(ds["mu"], MU, rtol=1e-6)


def test_repeated_energies_are_averaged(tmp_path: Path) -> None:
    energy, mu = np.append(ENERGY, ENERGY[10]), np.append(MU, MU[10] + 0.2)
    ds = read(xdi(tmp_path, "", "energy eV|mutrans", energy, mu))
    assert ds.attrs["merged_points"] == 1
    assert float(ds["mu"][10]) == pytest.approx(MU[10] + 0.1)


def test_kev_is_converted(tmp_path: Path) -> None:
    ds = read(xdi(tmp_path, "", "energy keV|mutrans", ENERGY / 1000, MU))
    np.testing.assert_allclose(ds["energy"], ENERGY)


def test_an_angle_needs_a_lattice_spacing(tmp_path: Path) -> None:
    angle = np.rad2deg(np.arcsin(absorption.HC / (2 * 3.1356 * ENERGY)))
    file = xdi(tmp_path, "", "angle deg|mutrans", angle, MU)
    with pytest.raises(DataFileError, match="d_spacing"):
        read(file)
    np.testing.assert_allclose(read(file, d_spacing=3.1356)["energy"], ENERGY, atol=0.01)


def test_an_angle_may_be_in_radian(tmp_path: Path) -> None:
    angle = np.arcsin(absorption.HC / (2 * 3.1356 * ENERGY))
    ds = read(xdi(tmp_path, "Mono.d_spacing: 3.1356 Å", "angle radian|mutrans", angle, MU))
    np.testing.assert_allclose(ds["energy"], ENERGY, atol=0.01)


@pytest.mark.parametrize(
    ("column", "problem"), [("energy pixel", "energy in 'pixel'"), ("angle step", "'step'")]
)
def test_an_axis_in_an_unknown_unit_is_refused(tmp_path: Path, column: str, problem: str) -> None:
    with pytest.raises(DataFileError, match=problem):
        read(xdi(tmp_path, "Mono.d_spacing: 3.1356 Å", f"{column}|mutrans", ENERGY, MU))


def test_the_header_may_give_the_lattice_spacing(tmp_path: Path) -> None:
    angle = np.rad2deg(np.arcsin(absorption.HC / (2 * 3.1356 * ENERGY)))
    ds = read(xdi(tmp_path, "Mono.d_spacing: 3.1356 Å", "angle deg|mutrans", angle, MU))
    np.testing.assert_allclose(ds["energy"], ENERGY, atol=0.01)


def test_a_wrong_label_gives_way_to_the_energy(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="says Co K, but μ rises at 83"):
        ds = read(xdi(tmp_path, "Element.symbol: Co|Element.edge: K"))
    assert (ds.attrs["element"], ds.attrs["edge"]) == ("Ni", "K")


def test_a_wrong_element_of_the_user_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="not Co but Ni K"):
        read(xdi(tmp_path), element="Co")


def test_the_foil_is_read(tmp_path: Path) -> None:
    it = I0 * np.exp(-MU)
    file = xdi(tmp_path, "Sample.reference: Ni foil", "energy eV|i0|it|irefer", ENERGY, I0, it, it / 3)
    ds = read(file)
    np.testing.assert_allclose(ds["mu_ref"], np.log(3), rtol=1e-5)
    assert ds.attrs["reference"] == "Ni foil"


def test_no_foil_is_no_foil(tmp_path: Path) -> None:
    it = I0 * np.exp(-MU)
    file = xdi(tmp_path, "Sample.reference: none", "energy eV|i0|it|irefer", ENERGY, I0, it, it / 3)
    assert "mu_ref" not in read(file)


def test_the_middle_of_the_scan_is_its_time(tmp_path: Path) -> None:
    fields = "Scan.start_time: 2020-07-01T10:00:00|Scan.end_time: 2020-07-01T10:20:00"
    ds = read(xdi(tmp_path, fields), timezone="America/Chicago")
    assert ds["time"].values == np.datetime64("2020-07-01T15:10:00")


def test_a_scan_without_end_has_no_time(tmp_path: Path) -> None:
    file = xdi(tmp_path, "Scan.start_time: 2020-07-01T10:00:00")
    assert "time" not in read(file, timezone="UTC").coords


def test_an_unknown_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataFileError), match="not a time zone"):
        read(xdi(tmp_path), timezone="Chicago/America")


def test_fluorescence_can_be_asked_for(tmp_path: Path) -> None:
    fluo = I0 * MU
    file = xdi(tmp_path, "", "energy eV|i0|itrans|ifluor", ENERGY, I0, I0 * np.exp(-MU), fluo)
    np.testing.assert_allclose(read(file, mode="fluorescence")["mu"], MU, rtol=1e-5)
    assert read(file).attrs["mu_from"] == "ln(i0/itrans)"


def test_points_without_intensity_are_dropped_and_counted(tmp_path: Path) -> None:
    it = I0 * np.exp(-MU)
    it[7] = 0.0
    with pytest.warns(UserWarning, match=r"1 point.*dropped at 8235"):
        ds = read(xdi(tmp_path, "", "energy eV|i0|it", ENERGY, I0, it))
    assert ds.attrs["dropped_points"] == 1
    assert ENERGY[7] not in ds["energy"].values


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    ds = read(columns(tmp_path, "# Energy, I0, It", ENERGY, I0, I0 * np.exp(-MU)))
    assert ds.attrs["columns"] == "Energy | I0 | It"
    np.testing.assert_allclose(ds["mu"], MU, rtol=1e-6)


def test_decimal_commas_are_points(tmp_path: Path) -> None:
    file = tmp_path / "scan.txt"
    rows = [f"{e:.3f}\t{m:.6f}".replace(".", ",") for e, m in zip(ENERGY, MU, strict=True)]
    assert rows[0].startswith("8200,000\t0,2")
    file.write_text("# energy\tmu\n" + "\n".join(rows) + "\n")
    ds = beamline.read(file)  # recognised, too
    np.testing.assert_allclose(ds["energy"], ENERGY)
    np.testing.assert_allclose(ds["mu"], MU, atol=1e-6)


def test_commas_between_columns_are_none(tmp_path: Path) -> None:
    file = tmp_path / "scan.csv"
    file.write_text("# energy,mu\n" + table(ENERGY, MU).replace(" ", ","))
    np.testing.assert_allclose(read(file)["mu"], MU, rtol=1e-6)


def test_commas_that_could_be_either_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "scan.csv"
    file.write_text("# energy,mu\n" + "".join(f"{e:.0f},{n}\n" for n, e in enumerate(ENERGY)))
    with pytest.raises(DataFileError, match="decimal signs or separators"):
        read(file)


def test_an_empty_column_is_not_skipped(tmp_path: Path) -> None:
    file = tmp_path / "scan.csv"
    file.write_text("# energy,i0,mu\n" + table(ENERGY, MU).replace(" ", ",,"))
    with pytest.raises(DataFileError, match="no table of numbers"):
        xas_columns.read(file)


def test_two_unnamed_columns_are_energy_and_mu(tmp_path: Path) -> None:
    np.testing.assert_allclose(read(columns(tmp_path, "# no names", ENERGY, MU))["mu"], MU, rtol=1e-6)


def test_more_unnamed_columns_are_not_guessed(tmp_path: Path) -> None:
    file = columns(tmp_path, "# no names here at all", ENERGY, I0, I0 * np.exp(-MU))
    with pytest.raises(DataFileError, match="does not name its 3 columns"):
        read(file)
    assert read(file, columns=["energy", "i0", "it"]).attrs["mu_from"] == "ln(i0/it)"


def test_chi_is_not_mu(tmp_path: Path) -> None:
    k = np.arange(0.0, 14.0, 0.05)
    with pytest.raises(DataFileError, match="holds χ"):
        read(columns(tmp_path, "# k chi", k, np.sin(k)))


def test_unnamed_k_is_not_energy(tmp_path: Path) -> None:
    k = np.arange(0.0, 14.0, 0.05)
    with pytest.raises(DataFileError, match="does not name"):
        read(columns(tmp_path, "# something", k, np.sin(k)))


def test_scans_one_after_the_other_become_leaves(tmp_path: Path) -> None:
    two = np.concatenate([ENERGY, ENERGY]), np.concatenate([MU, MU + 1])
    tree = beamline.read(columns(tmp_path, "# energy mu", *two), kind="xas.scans")
    assert isinstance(tree, xr.DataTree)
    assert [leaf.name for leaf in tree.leaves] == ["scan_1", "scan_2"]


def test_scans_under_their_own_headers_become_leaves(tmp_path: Path) -> None:
    file = tmp_path / "two.dat"
    file.write_text(f"#S 1\n# energy mu\n{table(ENERGY, MU)}#S 2\n# energy mu\n{table(ENERGY, MU)}")
    assert len(list(beamline.read(file, kind="xas.scans").leaves)) == 2  # type: ignore[union-attr]


def test_a_remark_between_rows_does_not_split_a_scan(tmp_path: Path) -> None:
    file = tmp_path / "one.dat"
    head, tail = table(ENERGY[:30], MU[:30]), table(ENERGY[30:], MU[30:])
    file.write_text(f"# energy mu\n{head}# beam lost and back\n{tail}")
    assert read(file).sizes["energy"] == ENERGY.size


def test_a_project_in_perl_or_json_is_the_same(tmp_path: Path) -> None:
    args = {"label": "my scan", "bkg_eshift": "1.5", "bkg_z": "Ni", "fft_edge": "k", "bkg_e0": "8341.5"}
    perl = beamline.read(project(tmp_path, ("abcd", args, {"x": ENERGY, "y": MU})))["my_scan"].to_dataset()
    file = tmp_path / "json.prj"
    file.write_text(
        json.dumps(
            {
                "_____header1": "# Athena project file",
                "abcd": {"args": args, "x": ENERGY.astype(str).tolist(), "y": MU.astype(str).tolist()},
                "_____order": ["abcd"],
            }
        )
    )
    xr.testing.assert_allclose(perl.drop_attrs(), beamline.read(file)["my_scan"].to_dataset().drop_attrs())
    np.testing.assert_allclose(perl["energy"], ENERGY + 1.5)
    assert perl.attrs["athena_e0"] == 8341.5


def test_the_reference_of_a_group_is_no_scan(tmp_path: Path) -> None:
    arrays = {"x": ENERGY, "y": MU}
    tree = beamline.read(
        project(
            tmp_path,
            ("aaaa", {"label": "scan", "referencegroup": "bbbb"}, arrays),
            ("bbbb", {"label": "  Ref scan", "referencegroup": "aaaa"}, {"x": ENERGY, "y": MU + 1}),
        )
    )
    assert [leaf.name for leaf in tree.leaves] == ["scan"]
    np.testing.assert_allclose(tree["scan"]["mu_ref"], MU + 1)


def test_of_two_tied_groups_without_a_mark_the_later_is_the_reference(tmp_path: Path) -> None:
    tree = beamline.read(
        project(
            tmp_path,
            ("aaaa", {"label": "scan", "referencegroup": "bbbb"}, {"x": ENERGY, "y": MU}),
            ("bbbb", {"label": "foil", "referencegroup": "aaaa"}, {"x": ENERGY, "y": MU + 1}),
        )
    )
    assert [leaf.name for leaf in tree.leaves] == ["scan"]
    np.testing.assert_allclose(tree["scan"]["mu_ref"], MU + 1)


def test_copies_of_a_group_are_read_once(tmp_path: Path) -> None:
    arrays = {"x": ENERGY, "y": MU}
    groups = ("aaaa", {"label": "one"}, arrays), ("bbbb", {"label": "copy", "bkg_e0": "8341"}, arrays)
    other = ("cccc", {"label": "other"}, {"x": ENERGY, "y": MU + 1e-6})
    with pytest.warns(UserWarning, match=r"first is kept: 'copy' \(bbbb\) is 'one' \(aaaa\)$"):
        tree = beamline.read(project(tmp_path, *groups, other))
    assert [leaf.name for leaf in tree.leaves] == ["one", "other"]  # type: ignore[union-attr]


def test_files_of_angles_are_recognised(tmp_path: Path) -> None:
    angle = np.rad2deg(np.arcsin(absorption.HC / (2 * 3.1356 * ENERGY)))
    file = columns(tmp_path, "# angle i0 it", angle, I0, I0 * np.exp(-MU))
    ds = beamline.read(file, d_spacing=3.1356)
    np.testing.assert_allclose(ds["energy"], ENERGY, atol=0.01)
    assert not xas_columns.sniff(b"# theta monitor detector\n1.0 2 3\n1.1 2 3\n", Path("x"))


def test_groups_can_be_chosen(tmp_path: Path) -> None:
    arrays = {"x": ENERGY, "y": MU}
    file = project(tmp_path, ("aaaa", {"label": "one"}, arrays), ("bbbb", {"label": "two"}, arrays))
    assert [leaf.name for leaf in beamline.read(file, groups=["two"]).leaves] == ["two"]  # type: ignore[union-attr]
    with pytest.raises(DataFileError, match="has no group 'three'"):
        beamline.read(file, groups=["three"])


def test_leaf_names_are_plain_and_differ() -> None:
    assert absorption.leaf_names(["a.b", "a b", "ü", ""]) == ["a_b", "a_b_2", "scan", "scan_2"]


@given(st.text(alphabet="'\"\\(){}[],;=> abc019.-+e\n", max_size=60))
@settings(deadline=None, max_examples=150)
def test_any_literal_is_read_or_refused(text: str) -> None:
    try:
        values = athena._literal(text, Path("x"))
    except DataFileError:
        return
    assert isinstance(values, list)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=8))
@settings(deadline=None, max_examples=50)
def test_numbers_survive_a_literal(numbers: list[float]) -> None:
    text = "(" + ",".join(f"'{n!r}'" for n in numbers) + ");"
    assert [float(v) for v in athena._literal(text, Path("x"))] == numbers


@given(st.text(max_size=400))
@settings(deadline=None, max_examples=60)
def test_any_text_is_sniffed_without_error(text: str) -> None:
    assert xas_columns.sniff(text.encode(), Path("x")) in (True, False)


@pytest.mark.parametrize("rates", [True, False])
def test_single_detectors_are_kept(tmp_path: Path, rates: bool) -> None:
    rise = 1 + MU
    columns = {"energy eV": ENERGY, "i0": np.full(ENERGY.size, 1e6)}
    for n in (1, 2, 3):
        columns[f"Ni_Ka_mca{n}"] = 1e4 * n * rise
        if rates:
            columns[f"ICR_mca{n}"] = np.full(ENERGY.size, 1.1e5)
            columns[f"OCR_mca{n}"] = np.full(ENERGY.size, 1e5)
    head = ["# XDI/1.0", "# Element.symbol: Ni", "# Element.edge: K"]
    head += [f"# Column.{n}: {name}" for n, name in enumerate(columns, 1)]
    rows = zip(*columns.values(), strict=True)
    file = tmp_path / "detectors.xdi"
    file.write_text("\n".join([*head, "# ---", *(" ".join(f"{v:.8g}" for v in row) for row in rows)]) + "\n")
    ds = beamline.read(file)
    assert isinstance(ds, xr.Dataset)
    assert ds["detector"].values.tolist() == ["mca1", "mca2", "mca3"]
    np.testing.assert_allclose(ds["detector_counts"][2], 3e4 * rise, rtol=1e-6)
    assert ("dead_time_factor" in ds) is rates
    if rates:
        np.testing.assert_allclose(ds["dead_time_factor"], 1.1)
