"""Random text and mutated files: nothing but errors of redoxlight comes out of a text parser.

The quick set is small; the same properties run with a thousand examples a parser in the slow one.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import beamline
from beamline import config, journal
from beamline.errors import RedoxlightError
from beamline.readers import sidecars
from beamline.readers.stamps import parse
from tests.beamline.readers import files
from tests.corrupt.specimens import EXPOSURE, SPECIMENS, Specimen

QUICK, SLOW = 50, 1000

PARSERS = (
    *(specimen for specimen in SPECIMENS if specimen.first >= 0),
    *(specimen for specimen in SPECIMENS if specimen.name in ("project.prj", "one.edf")),
    Specimen("scan-00001-1D.txt", "als_irixs:EXPOSURE", "rixs.spectra", EXPOSURE),
)

_WORDS = [
    *("nan", "inf", "-1", "0", "1e999", "1e-999", "9" * 30, "1,5", "1.5.2", "0x1F", "1_0", "٣", "--", ""),
    *(
        "\t",
        " ",
        ";",
        ",",
        "\n",
        "\r",
        "\x1a",
        "\x00",
        "\ufeff",
        "é",
        "°C",
        "%s",
        "{}",
        "../",
        "\\",
        "'",
        '"',
    ),
    *(
        "# ",
        "BANK 1 3 1 CONST 1 1 0 0 STD\n",
        "BANK 1 2 1 CONS 1 1 0 0 ESD\n",
        "energy mu\n",
        "# energy i0\n",
    ),
    *("Column.1: energy eV", "Mono.d_spacing: 0", "Scan.start_time: 2020", "E0: 8.333", "D= 3.1 A", "KEK-PF"),
    *(
        "@x = (",
        "@args = ('bkg_eshift','x');\n",
        "[record]\n",
        "{'a'",
        "undef",
        "#S 1\n",
        "Data:\n",
        "Mode 1 2\n",
    ),
    *(
        "Nb header lines : 3\n",
        "time/s",
        "Ewe/V",
        "2022-13-45T99:99:99",
        "31/12/9999 23:59:60",
        "Offset a b\n",
    ),
]


def mutations(content: bytes) -> st.SearchStrategy[bytes]:
    """Return valid files in which a few places are overwritten, doubled, lost or filled with other words."""
    piece = st.one_of(st.sampled_from(_WORDS).map(str.encode), st.binary(max_size=8))
    place = st.integers(0, len(content))
    change = st.tuples(place, st.integers(0, 60), piece, st.booleans())

    def apply(changes: list[tuple[int, int, bytes, bool]]) -> bytes:
        out = content
        for at, length, new, double in changes:
            out = out[:at] + new + (out[at:] if double else out[at + length :])
        return out

    return st.lists(change, min_size=1, max_size=6).map(apply)


def texts(content: bytes) -> st.SearchStrategy[bytes]:
    """Return random texts, with the first line of a valid file before half of them."""
    words = st.lists(st.one_of(st.sampled_from(_WORDS), st.text(max_size=12)), max_size=40)
    first = st.sampled_from([b"", content[: content.find(b"\n") + 1], content[: len(content) // 2]])
    return st.tuples(first, words).map(lambda pair: pair[0] + " ".join(pair[1]).encode())


def _fuzz(specimen: Specimen, folder: Path, examples: int) -> None:
    @settings(
        deadline=None,
        max_examples=examples,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(content=st.one_of(mutations(specimen.content), texts(specimen.content)))
    def holds(content: bytes) -> None:
        path = files.write(folder / specimen.name, content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sentence = _sentence(path, specimen)
        assert sentence is None or specimen.name in sentence

    specimen.write(folder)
    holds()


def _sentence(path: Path, specimen: Specimen) -> str | None:
    """Return the error reading ends in; None where it does not."""
    try:
        beamline.read(path, kind=specimen.kind, **specimen.options)
    except RedoxlightError as error:
        return str(error)
    return None


@pytest.mark.parametrize("specimen", PARSERS, ids=lambda s: s.name)
def test_parsers_let_nothing_but_their_errors_out(specimen: Specimen, tmp_path: Path) -> None:
    _fuzz(specimen, tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("specimen", PARSERS, ids=lambda s: s.name)
def test_parsers_let_nothing_but_their_errors_out_a_thousand_times(
    specimen: Specimen, tmp_path: Path
) -> None:
    _fuzz(specimen, tmp_path, SLOW)


BEAMTIME = b"""[beamtime]
name = "test"
timezone = "Europe/Paris"
output = "out"
[xrd.cell]
files = ["raw/*.tif"]
geometry = "ceo2.poni"
"""
METADATA = (
    b"[metadata]\nexposureTime=0.5\nsummedExposures=10\ntimeStamp=1600000000.5\ndetectorXPixelSize=200\n"
)
ENTRY = (
    json.dumps({"beamtime": "test"}).encode() + b'\n{"measurement": "xrd/a", "key": "k", "frames": [0, 2]}\n'
)


def _load_journal(path: Path) -> None:
    journal.Journal(path.parent, "test")


OTHERS = {
    "beamtime.toml": (BEAMTIME, config.load),
    "image.tif.metadata": (METADATA, sidecars.read_metadata),
    "image.imctrl": (b"distance:300.5\ncenter:[200.1, 201.2]\ntype:PWDR\n", sidecars.read_imctrl),
    "journal.jsonl": (ENTRY, _load_journal),
}


def _fuzz_other(name: str, folder: Path, examples: int) -> None:
    content, load = OTHERS[name]

    @settings(
        deadline=None,
        max_examples=examples,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged=st.one_of(mutations(content), texts(content)))
    def holds(damaged: bytes) -> None:
        with contextlib.suppress(RedoxlightError):
            load(files.write(folder / name, damaged))

    holds()


@pytest.mark.parametrize("name", OTHERS)
def test_our_own_texts_too(name: str, tmp_path: Path) -> None:
    _fuzz_other(name, tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", OTHERS)
def test_our_own_texts_too_a_thousand_times(name: str, tmp_path: Path) -> None:
    _fuzz_other(name, tmp_path, SLOW)


@settings(deadline=None, max_examples=QUICK)
@given(stamps=st.lists(st.one_of(st.text(max_size=30), st.sampled_from(_WORDS)), min_size=1, max_size=3))
def test_any_stamp_is_a_time_or_refused(stamps: list[str]) -> None:
    with contextlib.suppress(RedoxlightError):
        parse(stamps, "a file", None)
