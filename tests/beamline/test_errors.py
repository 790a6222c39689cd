"""Errors read as one sentence and travel between processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from beamline import errors

ALL = [
    errors.RedoxlightError,
    errors.DataFileError,
    errors.SchemaError,
    errors.CalibrationError,
    errors.FitError,
    errors.JoinError,
    errors.ReplayError,
    errors.ConfigError,
]


@pytest.mark.parametrize("kind", ALL)
def test_error_survives_pickling(kind: type[errors.RedoxlightError]) -> None:
    back = pickle.loads(pickle.dumps(kind("x.tif", "is truncated", "copy it again")))  # noqa: S301
    assert type(back) is kind
    assert (back.subject, back.problem, back.remedy) == ("x.tif", "is truncated", "copy it again")


@pytest.mark.parametrize("kind", ALL[1:])
def test_every_error_is_a_redoxlight_error(kind: type[errors.RedoxlightError]) -> None:
    assert issubclass(kind, errors.RedoxlightError)


def test_sentence_with_and_without_remedy() -> None:
    assert str(errors.FitError("x", "diverged", "fix the cell")) == "x: diverged; fix the cell"
    assert str(errors.FitError("x", "diverged")) == "x: diverged"


def test_subject_may_be_a_path() -> None:
    assert errors.DataFileError(Path("a") / "b", "is empty").subject == "a/b"


def test_every_error_of_the_module_is_tested() -> None:
    defined = {e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)}
    assert defined == set(ALL)
