"""Damaged and hostile absorption files end in one typed sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

import beamline
from beamline.errors import DataFileError

HEAD = b"# Athena project file -- Athena version 0.8.059\n"
GROUP = b"$old_group = 'abcd';\n@args = ('label','a');\n@x = ('1.0','2.0');\n@y = ('1.0','2.0');\n[record]\n"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty.prj", b"", "is empty"),
        ("other.prj", b"nothing of Athena", "no Athena project"),
        ("none.prj", HEAD, "without a group"),
        ("short.prj", HEAD + GROUP, "2 of 2 points"),
        ("cut.prj", gzip.compress(HEAD + GROUP * 500)[:-20], "is damaged"),
        ("list.prj", HEAD + GROUP.replace(b"'2.0');\n@y", b"'2.0'\n@y"), "a list does not end"),
        ("brackets.prj", HEAD + GROUP.replace(b"('1.0','2.0');\n@y", b"('1.0',{'2.0');\n@y"), "brackets"),
        ("code.prj", HEAD + GROUP.replace(b"('1.0','2.0');\n@y", b"system('ls');\n@y"), "code is not run"),
        ("json.prj", b'{"_____header1": "# Athena project file", "a": {', "is damaged"),
        ("words.prj", HEAD + GROUP.replace(b"@x = ('1.0'", b"@x = ('one'"), "not numbers"),
        ("binary.xmu", b"\x00\x01\x02" * 50, "is binary"),
        ("words.xdi", b"# XDI/1.0\n# Column.1: energy eV\n# Column.2: mutrans\n# ---\na b\n", "no number"),
        ("none.xdi", b"# XDI/1.0\n# Column.1: energy eV\n# ---\n", "no columns"),
    ],
)
def test_one_sentence(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataFileError, match=problem) as error:
        beamline.read(file, kind="xas.scans")
    assert error.value.subject.startswith(str(file))
    assert "\n" not in str(error.value)


def test_a_small_file_cannot_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "bomb.prj"
    file.write_bytes(gzip.compress(HEAD + b"#" * 20_000_000))
    with pytest.raises(DataFileError, match="unzips to more than"):
        beamline.read(file)


def test_nothing_of_a_project_is_run(tmp_path: Path) -> None:
    target = tmp_path / "made"
    file = tmp_path / "evil.prj"
    evil = f"@x = (system('touch {target}'));\n".encode()
    file.write_bytes(HEAD + GROUP.replace(b"@x = ('1.0','2.0');\n", evil))
    with pytest.raises(DataFileError, match="code is not run"):
        beamline.read(file)
    assert not target.exists()
