from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beamline import config, globs
from beamline.errors import ConfigError
from tests.beamline import fake

HEAD = '[beamtime]\nname = "b"\ntimezone = "Europe/Paris"\n'


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake.install(monkeypatch)


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "beamtime.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def sentence(folder: Path, text: str | bytes) -> str:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert caught.value.subject == str(path)
    assert "\n" not in str(caught.value).replace(str(folder), "")
    return str(caught.value)


def test_a_right_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + '[fake.a]\nfiles = ["x"]\nfactor = 3\nwindow = [1, 2.5]\n')
    beamtime = config.load(path)
    assert (beamtime.name, beamtime.timezone) == ("b", "Europe/Paris")
    assert beamtime.output == tmp_path / "processed"
    (measurement,) = beamtime.measurements
    assert (measurement.place, measurement.key) == ("fake/a", "fake.a")
    assert isinstance(measurement.config, fake.FakeMeasurement)
    assert measurement.config.factor == 3.0
    assert measurement.config.window == (1.0, 2.5)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("bims = 3", "fake.a.bims is not a key of this table (did you mean 'bins'?"),
        ('bins = "3"', "fake.a.bins is '3' but must be a valid integer"),
        ("bins = true", "fake.a.bins is True but must be a valid integer"),
        ("bins = 0", "fake.a.bins is 0 but must be greater than 0"),
        ("factor = nan", "fake.a.factor is nan but must be a finite number"),
        ('mode = "men"', "fake.a.mode is 'men' but must be 'mean' or 'median'"),
        ("window = [1, 2, 3]", "fake.a.window"),
        ('window = [1, "x"]', "fake.a.window[1] is 'x' but must be a valid number"),
        ('reference = "no.txt"', "fake.a.reference names "),
        ('reference = "."', "which is a folder, not a file"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, body: str, expected: str) -> None:
    assert expected in sentence(tmp_path, HEAD + f'[fake.a]\nfiles = ["x"]\n{body}\n')


def test_every_problem_is_listed(tmp_path: Path) -> None:
    said = sentence(tmp_path, '[beamtime]\nname = "b"\nzone = 1\n[fake.a]\nbins = -1\n[fkae.b]\nfiles = []\n')
    for part in (
        "beamtime.timezone is missing",
        "beamtime.zone is not a key",
        "fake.a.files is missing",
        "fake.a.bins is -1",
        "fkae is not a technique (did you mean 'fake'?",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "[beamtime] is missing"),
        (HEAD, "has no measurement; add a table [fake.<name>]"),
        (HEAD + "[fake]\nfiles = 3\n", "fake.files is not a table"),
        ("fake = 3\n" + HEAD, "fake is not a table; write [fake.<name of the measurement>]"),
        (HEAD + '[fake."a/b"]\nfiles = ["x"]\n', "fake.a/b: the name of a measurement"),
        (HEAD + "[fake.a]\nfiles = []\n", "fake.a.files"),
        (HEAD.replace("Paris", "Pariss"), "beamtime.timezone 'Europe/Pariss' is not a time zone"),
        (HEAD.replace("Europe/Paris", "../etc"), "is not a time zone"),
        (HEAD.replace("Europe/Paris", ""), "is not a time zone"),
        (HEAD + 'output = "."\n[fake.a]\nfiles = ["x"]\n', "beamtime.output holds this file"),
        ("[beamtime]\nname = \n", "is not TOML: Invalid value (at line 2"),
        ("a = " + "[" * 5000, "is nested too deeply"),
        ((HEAD + "# Zürich").encode("latin-1"), "is not in UTF-8 (line 4); save it as UTF-8"),
        (HEAD.encode("utf-16"), "is in UTF-16; save it as UTF-8"),
        (HEAD + "\0", "is not TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert expected in sentence(tmp_path, text)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    text = (HEAD + '[fake.a]\nfiles = ["x"]\n').replace("\n", "\r\n")
    assert config.load(write(tmp_path, b"\xef\xbb\xbf" + text.encode())).name == "b"


@pytest.mark.parametrize(
    ("name", "expected"), [("none.toml", "is missing"), (".", "is a folder, not a file")]
)
def test_what_is_no_file_is_said(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        config.load(tmp_path / name)


def test_a_relative_path_does_not_depend_on_where_we_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, HEAD + '[fake.a]\nfiles = ["x"]\n')
    monkeypatch.chdir(tmp_path)
    assert config.load("beamtime.toml").path == tmp_path / "beamtime.toml"


def test_files_come_in_natural_order_pattern_by_pattern(tmp_path: Path) -> None:
    for name in ("b10.x", "b2.x", "a1.x", "b07.x", "b7.x"):
        (tmp_path / name).touch()
    (tmp_path / "b3.x").mkdir()
    found = globs.find_files(["b*.x", "*.x"], tmp_path)
    assert [file.name for file in found] == ["b2.x", "b07.x", "b7.x", "b10.x", "a1.x"]


def test_a_name_with_brackets_is_taken_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "scan[1].x").touch()
    assert globs.find_files(["scan[1].x"], tmp_path) == [tmp_path / "scan[1].x"]


def test_all_patterns_without_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(ConfigError, match=r"fake\.a\.files: 'b\*' and 'c' matches no file") as caught:
        globs.find_files(["b*", "a", "c"], tmp_path, "fake.a.files")
    assert caught.value.remedy


def test_excluded_files_and_our_own_results_are_no_raw_files(tmp_path: Path) -> None:
    for name in ("a.x", "bad.x", "processed/results.x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    beamtime = config.load(write(tmp_path, HEAD + '[fake.a]\nfiles = ["**/*.x"]\nexclude = ["bad.*"]\n'))
    assert beamtime.files(beamtime.measurements[0]) == [tmp_path / "a.x"]


@given(st.lists(st.integers(0, 10**12), unique=True, max_size=8))
@settings(deadline=None)
def test_natural_order_is_that_of_the_numbers(numbers: list[int]) -> None:
    names = sorted((f"f_{number}.tif" for number in numbers), key=globs.natural)
    assert names == [f"f_{number}.tif" for number in sorted(numbers)]


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_end_as_one_error(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(ConfigError):
        config.load(write(tmp_path, raw))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list(fake.FakeMeasurement.model_fields)), VALUES))
@settings(deadline=None, max_examples=100)
def test_any_table_is_right_or_says_what_is_wrong(table: dict[str, object]) -> None:
    problems: list[str] = []
    found = config._validated(fake.FakeMeasurement, table, "fake.a", {"folder": Path("/none")}, problems)
    assert (found is None) == bool(problems)
    assert all(problem.startswith("fake.a") for problem in problems)


def test_the_schema_names_the_techniques_and_their_keys(tmp_path: Path) -> None:
    schema = config.schema()
    json.dumps(schema, allow_nan=False)
    assert set(schema["properties"]) == {"beamtime", "fake"}
    assert "factor" in schema["$defs"]["FakeMeasurement"]["properties"]
    assert schema["properties"]["fake"]["additionalProperties"] == {"$ref": "#/$defs/FakeMeasurement"}


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("raw/*.x", "raw/a.x", True),
        ("raw/*.x", "raw/b/a.x", False),
        ("raw/**/*.x", "raw/a.x", True),
        ("raw/**/*.x", "raw/b/c/a.x", True),
        ("raw/**", "raw/b/a.x", True),
        ("./raw/../raw/a.x", "raw/a.x", True),
        ("scan[1].x", "scan[1].x", True),
        ("scan[1].x", "scan1.x", True),
        ("*.x", "a.y", False),
    ],
)
def test_a_pattern_matches_names_as_it_finds_files(
    tmp_path: Path, pattern: str, name: str, expected: bool
) -> None:
    assert (globs.rank(tmp_path / name, [pattern], tmp_path) is not None) == expected
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert bool(globs.find_files([pattern], tmp_path, known=True)) == expected
