"""Every shared absorption file is read right or refused in one sentence."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import xarray as xr

import beamline
from beamline.errors import DataFileError

# NiO.prj holds one scan twice, which the reader says
pytestmark = pytest.mark.filterwarnings("ignore:.*of the same measurement the first is kept")

# where the energies come from, where that is not a column of eV
UNITS = {
    "corrupt/xas_foreign/PF9A_2022.dat": "column 'Angle(o)', Bragg angle with d = 3.13551 angstrom",
    "xas/beamlines/PFBL12C_2005.dat": "column 'Angle(o)', Bragg angle with d = 3.13551 angstrom",
}

# file: (element, edge, points, where mu comes from, whether there is a reference)
READ = {
    "xas/foils/Ni_metal_rt_01.xdi": ("Ni", "K", 418, "ln(i0/itrans)", False),
    "xas/foils/co_metal_rt.xdi": ("Co", "K", 417, "ln(i0/itrans)", False),
    "xas/foils/cu_10k.xmu": ("Cu", "K", 612, "column 'mu'", False),
    "xas/foils/cu_150k.xmu": ("Cu", "K", 618, "column 'mu'", False),
    "xas/foils/cu_50k.xmu": ("Cu", "K", 620, "column 'mu'", False),
    "xas/foils/cu_metal_rt.xdi": ("Cu", "K", 408, "column 'mutrans'", False),
    "xas/foils/ni_metal_rt.xdi": ("Ni", "K", 418, "column 'mutrans'", False),
    "xas/foils/v_foil.xdi": ("V", "K", 463, "ln(i0/i1)", False),
    # the reference of these is "Mn filter": no foil, but the same for all scans
    "xas/oxides/Mn2O3_rt_01.xdi": ("Mn", "K", 217, "ln(i0/itrans)", True),
    "xas/oxides/Mn2O3_rt_02.xdi": ("Mn", "K", 217, "ln(i0/itrans)", True),
    "xas/oxides/Mn2O3_rt_03.xdi": ("Mn", "K", 217, "ln(i0/itrans)", True),
    "xas/oxides/MnO2_rt_01.xdi": ("Mn", "K", 217, "ln(i0/itrans)", True),
    "xas/oxides/MnO2_rt_02.xdi": ("Mn", "K", 217, "ln(i0/itrans)", True),
    "xas/oxides/MnO2_rt_03.xdi": ("Mn", "K", 217, "ln(i0/itrans)", True),
    "xas/oxides/MnO_rt_01.xdi": ("Mn", "K", 217, "ln(i0/itrans)", True),
    "xas/oxides/MnO_rt_02.xdi": ("Mn", "K", 217, "ln(i0/itrans)", True),
    "xas/oxides/MnO_rt_03.xdi": ("Mn", "K", 217, "ln(i0/itrans)", True),
    # these have a column irefer, but say that there was no reference
    "xas/oxides/Ni2O3_rt_01.xdi": ("Ni", "K", 435, "ln(i0/itrans)", False),
    "xas/oxides/Ni2O3_rt_02.xdi": ("Ni", "K", 435, "ln(i0/itrans)", False),
    "xas/oxides/Ni2O3_rt_03.xdi": ("Ni", "K", 435, "ln(i0/itrans)", False),
    "xas/oxides/NiOH2_rt_01.xdi": ("Ni", "K", 435, "ln(i0/itrans)", False),
    "xas/oxides/NiOH2_rt_02.xdi": ("Ni", "K", 435, "ln(i0/itrans)", False),
    "xas/oxides/NiOH2_rt_03.xdi": ("Ni", "K", 435, "ln(i0/itrans)", False),
    "xas/oxides/fe2o3_rt1.xmu": ("Fe", "K", 412, "column 'mu'", False),
    "xas/oxides/fe3c_rt.xdi": ("Fe", "K", 348, "column 'mutrans'", False),
    "xas/oxides/feo_rt1.xdi": ("Fe", "K", 412, "column 'mutrans'", False),
    "xas/oxides/feo_xafs.dat": ("Fe", "K", 412, "column 'mu'", False),
    "xas/oxides/znse_zn_xafs.001": ("Zn", "K", 469, "ln(I0/I1)", False),
    # a continuous scan, whose energies jitter back and forth
    "xas/beamlines/APS10BM_2019.dat": ("Mn", "K", 3462, "ln(Io/It)", True),
    "xas/beamlines/APS20BM_2001.dat": ("Fe", "K", 412, "ln(I0/I1)", False),
    # nothing is transmitted in the next two: fluorescence
    "xas/beamlines/APS20ID_2018.dat": ("As", "K", 379, "(XMAP4:AsKa_Sum)/XMAP4:DT Corr I0", False),
    "xas/series_quick/fexanes_a.001": ("Fe", "K", 449, "(Sum_Fe_Ka)/I0", False),
    "xas/series_quick/fexanes_b.001": ("Fe", "K", 449, "(Sum_Fe_Ka)/I0", False),
    "xas/series_quick/fexanes_c.001": ("Fe", "K", 449, "(Sum_Fe_Ka)/I0", False),
    "xas/beamlines/APS9BM_2019.dat": ("Mn", "K", 442, "ln(I0-32/It-32)", True),
    "xas/beamlines/CLSHXMA.dat": ("As", "K", 414, "ln(I0/I1)", True),
    "xas/beamlines/NSLS6BM_2019.dat": ("V", "K", 352, "column 'xmu'", False),
    "xas/beamlines/NSLS8ID_2019.dat": ("As", "K", 647, "ln(i0/it)", True),
    "xas/beamlines/PFBL12C_2005.dat": ("Hg", "L3", 818, "ln(i0/it)", False),
    "xas/beamlines/SSRL1_2006.dat": ("Ag", "K", 455, "ln(I0/I1)", True),
    "xas/series_FeFoil_miscalibrated/fe.060": ("Fe", "K", 511, "ln(I0/It)", False),
    "xas/series_FeFoil_miscalibrated/fe.061": ("Fe", "K", 511, "ln(I0/It)", False),
    "xas/series_FeFoil_miscalibrated/fe.062": ("Fe", "K", 511, "ln(I0/It)", False),
    "corrupt/xas_foreign/EMG003.txt": ("Fe", "K", 1128, "column 'mu'", False),
    "corrupt/xas_foreign/ORP5.000": ("Zn", "K", 586, "ln(I0/I1)", True),
    # six pairs of points at one angle
    "corrupt/xas_foreign/PF9A_2022.dat": ("Fe", "K", 1420, "(if)/i0", False),
    "corrupt/xas_foreign/kev.dat": ("Fe", "K", 511, "ln(I0/It)", False),
    **{
        f"corrupt/xas_foreign/non-ascii/{name}.060": ("Fe", "K", 511, "ln(I0/It)", False)
        for name in (
            "Calibração", "groß", "muñeco", "χρονος", "Здравствуйте", "السلام", "みせる", "Ｈｅｌｌｏ",
        )
    },
}  # fmt: skip

REFUSED = {
    # the sample absorbs everything above the edge
    "xas/beamlines/APS12BM_2019.dat": "finite μ at 426 of 492",
    "corrupt/xas_foreign/generic_columns_no_header.dat": "does not name its 7 columns",
    "corrupt/xas_foreign/nonuniform.chi": "holds χ\\(k\\)",
    "corrupt/xas_foreign/notdata.0": "no table of numbers",
    "corrupt/xas_foreign/notdata.1": "at 1 of 1 points",
}

# project: labels of its leaves, element and edge
PROJECTS = {
    "xas/athena/FeO.prj": (1, "Fe", "K"),
    "xas/athena/LaCoO3.prj": (2, "La", "L3"),
    "xas/athena/Mn.prj": (14, "Mn", "K"),
    "xas/athena/MnO_bv.prj": (1, "Mn", "K"),
    "xas/athena/NiO.prj": (11, "Ni", "K"),
    "xas/athena/align_merge.prj": (3, "Fe", "K"),
    "xas/athena/cu.prj": (3, "Cu", "K"),
    "xas/athena/json_unzipped.prj": (4, "Fe", "K"),
    # asks Perl to start a program; nothing is run
    "corrupt/xas_foreign/danger.prj": (1, "Fe", "K"),
}

WARNED = {
    "corrupt/xas_foreign/zbroken.dat": "1 point",
    "corrupt/xas_foreign/dispersive.prj": "left out 10 group",
    "xas/athena/NiO.prj": r"first is kept: 'NiO.000' \(cymnj\) is 'NiO.000' \(naqow\)$",
}


@pytest.mark.parametrize("name", READ)
def test_a_scan_is_read_right(data_dir: Path, name: str) -> None:
    element, edge, points, mu_from, reference = READ[name]
    ds = beamline.read(data_dir / name, kind="xas.scans")
    assert isinstance(ds, xr.Dataset)
    assert (ds.attrs["element"], ds.attrs["edge"]) == (element, edge)
    assert ds.sizes["energy"] == points
    assert ds.attrs["mu_from"] == mu_from
    assert ("mu_ref" in ds) is reference
    assert ds["energy"].attrs["units"] == "eV"
    if name in UNITS:
        assert ds.attrs["energy_from"] == UNITS[name]
    else:
        assert ds.attrs["energy_from"].startswith("column '")
        assert not ds.attrs["energy_from"].endswith(("keV", "angstrom"))


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_scan_is_refused(data_dir: Path, name: str) -> None:
    with pytest.raises(DataFileError, match=REFUSED[name]) as error:
        beamline.read(data_dir / name, kind="xas.scans")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", PROJECTS)
def test_a_project_is_read_right(data_dir: Path, name: str) -> None:
    count, element, edge = PROJECTS[name]
    tree = beamline.read(data_dir / name)
    assert isinstance(tree, xr.DataTree)
    leaves = [leaf.to_dataset() for leaf in tree.leaves]
    assert len(leaves) == count
    assert {(ds.attrs["element"], ds.attrs["edge"]) for ds in leaves} == {(element, edge)}


@pytest.mark.parametrize("name", WARNED)
def test_what_is_left_out_is_said(data_dir: Path, name: str) -> None:
    with pytest.warns(UserWarning, match=WARNED[name]):
        beamline.read(data_dir / name)


def test_what_feff_writes_is_no_scan(data_dir: Path) -> None:
    files = [path for path in (data_dir / "xas/feff").rglob("*") if path.is_file()]
    assert len(files) == 80
    for path in files:
        is_path = path.name.startswith("feff") and path.suffix == ".dat"
        problem = "is a scattering path of FEFF, not a scan" if is_path else "no table|not a file of kind"
        with pytest.raises(DataFileError, match=problem) as error:
            beamline.read(path, kind="xas.scans")
        assert "\n" not in str(error.value)


def test_every_file_is_in_the_table(data_dir: Path) -> None:
    known = {*READ, *REFUSED, *PROJECTS, *WARNED}
    folders = ("foils", "oxides", "beamlines", "athena", "series_quick", "series_FeFoil_miscalibrated")
    there = [
        path.relative_to(data_dir).as_posix()
        for folder in (*(data_dir / "xas" / f for f in folders), data_dir / "corrupt/xas_foreign")
        for path in folder.rglob("*")
        if path.is_file()
    ]
    assert sorted(set(there) - known) == []


def test_the_photon_factory_gives_angles(data_dir: Path) -> None:
    ds = beamline.read(data_dir / "xas/beamlines/PFBL12C_2005.dat")
    assert float(ds["energy"][0]) == pytest.approx(12049.08, abs=0.01)
    assert "d = 3.13551" in ds.attrs["energy_from"]
    assert "not subtracted" in ds.attrs["dark_offsets"]


def test_kilovolts_become_volts(data_dir: Path) -> None:
    columns = ["other", "energy_kev", "i0", "it"]
    ds = beamline.read(data_dir / "corrupt/xas_foreign/kev.dat", kind="xas.scans", columns=columns)
    assert float(ds["energy"][0]) == pytest.approx(6911.98862)


def test_unnamed_columns_can_be_named(data_dir: Path) -> None:
    file = data_dir / "corrupt/xas_foreign/generic_columns_no_header.dat"
    ds = beamline.read(file, kind="xas.scans", columns=["energy", "i0", "it"])
    assert (ds.attrs["element"], ds.attrs["edge"]) == ("Ge", "K")


def test_a_reference_that_is_none_is_explained(data_dir: Path) -> None:
    ds = beamline.read(data_dir / "xas/oxides/Ni2O3_rt_01.xdi")
    assert "says there was no reference" in ds.attrs["mu_ref_from"]


def test_a_wrong_element_is_refused(data_dir: Path) -> None:
    with pytest.raises(DataFileError, match="not Co but La L3"):
        beamline.read(data_dir / "xas/athena/LaCoO3.prj", element="Co", groups=["LaCoO3 sample 1"])


def test_the_stored_shift_is_applied_and_reversible(data_dir: Path) -> None:
    ds = beamline.read(data_dir / "xas/athena/NiO.prj")["NiO_001"].to_dataset()
    assert float(ds["energy_shift"]) == 4.911
    assert float(ds["energy"][0] - ds["energy_shift"]) == pytest.approx(8133.0, abs=0.01)


def test_words_for_clamps_become_numbers(data_dir: Path) -> None:
    ds = beamline.read(data_dir / "xas/athena/FeO.prj")["FeO"].to_dataset()
    assert (ds.attrs["athena_clamp1"], ds.attrs["athena_clamp2"]) == (0.0, 24.0)


def test_a_project_reads_the_same_with_redirected_output(data_dir: Path) -> None:
    import contextlib
    import io

    file = data_dir / "xas/athena/cu.prj"
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert beamline.read(file)["cu010k_dat"].to_dataset().sizes["energy"] == 612
