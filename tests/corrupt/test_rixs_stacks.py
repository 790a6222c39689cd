"""Damage only files of RIXS beamlines can have: each ends in one sentence that names the file."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import beamline
from beamline.errors import ConfigError, DataFileError
from tests.beamline.readers import files, rixs_files
from tests.beamline.readers.rixs_files import SETTINGS, adress_events, adress_image, fits, hdf5

FRAME = files.image("int32", (24, 32))
STACK = np.array([FRAME, FRAME])
NAN = float("nan")


def _settings(old: str, new: str) -> bytes:
    return adress_image(FRAME, SETTINGS.replace(old, new))


def _pointer(value: int) -> bytes:
    return adress_image(FRAME)[:-5] + value.to_bytes(4, "little") + b"w"


IMAGE: dict[str, tuple[bytes, str]] = {
    "no energy": (_settings("MonoEnergy = 529.83\n", ""), "does not state its excitation energy"),
    "energy a word": (_settings("529.83", "shut"), "which is no number"),
    "energy NaN": (_settings("529.83", "nan"), "which is no number"),
    "energy of digits elsewhere": (_settings("529.83", "529.83 eV"), "which is no number"),
    "energy zero": (_settings("529.83", "0.0"), "has the energy 0.0 eV"),
    "energy negative": (_settings("529.83", "-529.83"), "has the energy -529.83 eV"),
    "energy infinite": (_settings("529.83", "1e999"), "has the energy inf eV"),
    "energy twice": (_settings("[ccd]", "[ccd]\nMonoEnergy = 640.0"), "several times"),
    "exposure a word": (_settings("exposure = 300.4", "exposure = long"), "which is no number"),
    "junk among the settings": (_settings("[ccd]", "[ccd]\n\x00\x01\x02"), "among its settings"),
    "pointer lost": (adress_image(FRAME)[:-5], "cut off"),
    "last byte lost": (adress_image(FRAME)[:-1], "cut off"),
    "settings cut": (adress_image(FRAME)[:-60], "cut off"),
    "pointer beyond the end": (_pointer(10**6), "cut off"),
    "pointer into the pixels": (_pointer(100), "among its settings"),
    "pixels lost": (b"II*\0" + adress_image(FRAME)[3000:], ""),
}


@pytest.mark.parametrize("name", IMAGE)
def test_a_damaged_image_of_adress(name: str, tmp_path: Path) -> None:
    content, reason = IMAGE[name]
    path = files.write(tmp_path / "Cu_0001.TIF", content)
    with pytest.raises(DataFileError) as refusal:
        beamline.read(path)
    assert reason in str(refusal.value)
    assert path.name in str(refusal.value)


SPECTRUM = "entry/analysis/spectrum"
EVENTS = "entry/analysis/events"


def _link(kind: str) -> bytes:
    """Return events whose spectrum is a link."""
    buffer = io.BytesIO(adress_events())
    with h5py.File(buffer, "r+") as file:
        del file[SPECTRUM]
        target = {
            "outside": h5py.ExternalLink("../../secret.h5", "/x"),
            "missing": h5py.ExternalLink("lost.h5", "/x"),
            "itself": h5py.SoftLink(f"/{SPECTRUM}"),
        }
        file[SPECTRUM] = target[kind]
    return buffer.getvalue()


def _bomb() -> bytes:
    """Return events that unpack to gigabytes of zeros."""
    buffer = io.BytesIO(adress_events())
    with h5py.File(buffer, "r+") as file:
        del file[EVENTS]
        stack = file.create_dataset(EVENTS, (10**8, 2), "f8", chunks=(10**6, 2), compression="gzip")
        chunk = zlib.compress(bytes(16 * 10**6))
        for first in range(0, 10**8, 10**6):
            stack.id.write_direct_chunk((first, 0), chunk)
    return buffer.getvalue()


def _unwritten() -> bytes:
    buffer = io.BytesIO(adress_events())
    with h5py.File(buffer, "r+") as file:
        del file[SPECTRUM]
        file.create_dataset(SPECTRUM, (160,), "f8", chunks=(16,))
    return buffer.getvalue()


EVENT_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "energies NaN": (lambda: adress_events(PhotonEnergy=np.full(6, NAN)), "has the energy nan eV"),
    "energies zero": (lambda: adress_events(PhotonEnergy=np.zeros(6)), "has the energy 0.0 eV"),
    "energies of a scan": (lambda: adress_events(PhotonEnergy=np.linspace(529, 531, 6)), "in one spectrum"),
    "energies missing": (lambda: adress_events(PhotonEnergy=None), "has no numbers at"),
    "energies of text": (lambda: adress_events(PhotonEnergy=[b"x"] * 6), "has no numbers at"),
    "energies of two axes": (lambda: adress_events(PhotonEnergy=np.ones((2, 3))), "has shape (2, 3)"),
    "energies empty": (lambda: adress_events(PhotonEnergy=np.zeros(0)), "has shape (0,)"),
    "spectrum missing": (lambda: adress_events(**{SPECTRUM: None}), "has no numbers at"),
    "spectrum negative": (lambda: adress_events(**{SPECTRUM: -np.ones(160)}), "no number of events"),
    "spectrum NaN": (lambda: adress_events(**{SPECTRUM: np.full(160, NAN)}), "no number of events"),
    "spectrum of fractions": (lambda: adress_events(**{SPECTRUM: np.full(160, 0.5)}), "no number of events"),
    "spectrum too full": (
        lambda: adress_events(**{SPECTRUM: np.full(160, 9.0)}),
        "1440 events in its spectrum",
    ),
    "spectrum of two axes": (lambda: adress_events(**{SPECTRUM: np.ones((4, 40))}), "has shape (4, 40)"),
    "events of three numbers": (lambda: adress_events(**{EVENTS: np.ones((200, 3))}), "not x and y"),
    "events NaN": (lambda: adress_events(**{EVENTS: np.full((200, 2), NAN)}), "not x and y"),
    "a link outside": (lambda: _link("outside"), "outside its folder"),
    "a link to nothing": (lambda: _link("missing"), "which is not there"),
    "a link to itself": (lambda: _link("itself"), "lead nowhere"),
    "a bomb": (_bomb, "has shape (100000000, 2)"),
    "not written": (_unwritten, "is not written"),
}


@pytest.mark.parametrize("name", EVENT_FILES)
def test_a_damaged_file_of_events(name: str, tmp_path: Path) -> None:
    make, reason = EVENT_FILES[name]
    path = files.write(tmp_path / "Cu_0001_d1.h5", make())
    with pytest.raises(DataFileError) as refusal:
        beamline.read(path)
    assert reason in str(refusal.value)
    assert path.name in str(refusal.value)


def _fits(change: Callable[[bytes], bytes], *arguments: Any, **options: Any) -> Callable[[], bytes]:
    return lambda: change(fits(*arguments, **options))


def _card(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        assert content.count(old) >= 1
        return content.replace(old, new.ljust(len(old))[: len(old)], 1)

    return change


def _parts(*shapes: tuple[int, ...]) -> bytes:
    from astropy.io import fits as library

    buffer = io.BytesIO()
    parts = [library.PrimaryHDU(), *(library.ImageHDU(np.zeros(shape, "i4")) for shape in shapes)]
    library.HDUList(parts).writeto(buffer)
    return buffer.getvalue()


def _compressed() -> bytes:
    from astropy.io import fits as library

    buffer = io.BytesIO()
    library.HDUList([library.PrimaryHDU(), library.CompImageHDU(FRAME)]).writeto(buffer)
    return buffer.getvalue()


FITS_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a block lost": (_fits(lambda c: c[:-2880], STACK, [1.0, 2.0]), ""),
    "half a block lost": (_fits(lambda c: c[:-1000], STACK), "is truncated"),
    "claims more rows": (
        _fits(_card(b"NAXIS2  =                   24", b"NAXIS2  =               240000"), FRAME),
        "",
    ),
    "claims no axis": (
        _fits(_card(b"NAXIS   =                    2", b"NAXIS   =                    0"), FRAME),
        "",
    ),
    "a strange BITPIX": (
        _fits(_card(b"BITPIX  =                   32", b"BITPIX  =                   31"), FRAME),
        "",
    ),
    "a negative axis": (
        _fits(_card(b"NAXIS1  =                   32", b"NAXIS1  =                  -32"), FRAME),
        "",
    ),
    "the axis a word": (
        _fits(_card(b"NAXIS1  =                   32", b"NAXIS1  =                  'a'"), FRAME),
        "",
    ),
    "no END": (_fits(_card(b"END".ljust(80), b"AND"), FRAME), ""),
    "no image": (lambda: _parts(), "has no image"),
    "images of two sizes": (lambda: _parts((24, 32), (24, 30)), "different size"),
    "an image of four axes": (lambda: _parts((2, 2, 8, 8)), "has no image"),
    "compressed": (_compressed, "compressed image"),
    "energies NaN": (_fits(bytes, STACK, [530.0, NAN]), "has the energy nan eV"),
    "energies negative": (_fits(bytes, STACK, [530.0, -1.0]), "has the energy -1.0 eV"),
    "energies too few": (_fits(bytes, STACK, [530.0]), "has 1 energies for 2 frames"),
    "energies too many": (_fits(bytes, STACK, [530.0, 531.0, 532.0]), "has 3 energies for 2 frames"),
}


@pytest.mark.parametrize("name", FITS_FILES)
def test_a_damaged_fits_file(name: str, tmp_path: Path) -> None:
    make, reason = FITS_FILES[name]
    path = files.write(tmp_path / "scan.fits", make())
    with pytest.raises(DataFileError) as refusal:
        beamline.read(path)
    assert reason in str(refusal.value)
    assert path.name in str(refusal.value)
    assert "\n" not in str(refusal.value)


TABLES: dict[str, tuple[str, str]] = {
    "empty": ("", ""),
    "no titles": ("530 1\n531 1\n", "no line of titles"),
    "no energy": ("i0 exposure\n1 300\n1 300\n", "no column energy"),
    "a line too few": ("energy i0\n530 1\n", "has 1 lines, scan.tif has 2 frames"),
    "a line too many": ("energy\n530\n531\n532\n", "has 3 lines, scan.tif has 2 frames"),
    "a title too few": ("energy\n530 1\n531 1\n", "titles above 2 columns"),
    "NaN": ("energy i0\nnan 1\n531 1\n", ""),
    "zero": ("energy i0\n0 1\n531 1\n", "has the energy 0.0 eV"),
    "infinite": ("energy i0\n1e999 1\n531 1\n", ""),
    "energy twice": ("energy energy\n530 530\n531 531\n", "two columns excitation_energy"),
    "energy in metres": ("energy (m) i0\n530 1\n531 1\n", "has excitation_energy in 'm'"),
    "flux in ampere": ("energy i0 (A)\n530 1\n531 1\n", "has i0 in 'A'"),
    "half a repeat": ("energy repeat\n530 1\n531 1.5\n", "not a whole number"),
    "cut in a number": ("energy i0\n530 1\n531 1", "ends within a line"),
    "binary": ("energy\n\x00\x01\x02530\n531\n", ""),
    "words": ("energy\nblue\nred\n", ""),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_of_energies(name: str, tmp_path: Path) -> None:
    content, reason = TABLES[name]
    path = files.write(tmp_path / "scan.tif", files.tiff([FRAME, FRAME]))
    table = rixs_files.table(tmp_path, "scan", content)
    with pytest.raises(DataFileError) as refusal:
        beamline.read(path)
    assert reason in str(refusal.value)
    assert table.name in str(refusal.value)


STACKS: dict[str, tuple[bytes, dict[str, str], str]] = {
    "energies NaN": (hdf5(STACK, [530.0, NAN]), {}, "has the energy nan eV"),
    "energies in metres": (hdf5(STACK, [530.0, 531.0], units="m"), {}, "has energies in 'm'"),
    "energies of text": (hdf5(STACK, [b"a", b"b"], "E"), {"energies": "entry/E"}, "has no 2 energies"),
    "energies too few": (hdf5(STACK, [530.0], "E"), {"energies": "entry/E"}, "has no 2 energies"),
    "energies nowhere": (hdf5(STACK), {"energies": "entry/E"}, "has no 2 energies"),
    "a group": (hdf5(STACK), {"energies": "entry"}, "has no 2 energies"),
}


@pytest.mark.parametrize("name", STACKS)
def test_damaged_energies_in_hdf5(name: str, tmp_path: Path) -> None:
    content, options, reason = STACKS[name]
    path = files.write(tmp_path / "scan.h5", content)
    with pytest.raises(DataFileError) as refusal:
        beamline.read(path, **options)
    assert reason in str(refusal.value)
    assert path.name in str(refusal.value)


def test_energies_that_do_not_fit_are_not_taken_unasked(tmp_path: Path) -> None:
    path = files.write(tmp_path / "scan.h5", hdf5(STACK, [530.0, 531.0, 532.0]))
    assert "excitation_energy" not in beamline.read(path).coords
    with pytest.raises(ConfigError, match="is not one of"):
        beamline.read(path, energy="entry/photon_energy")
