from __future__ import annotations

import importlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import precision, precision_xrd
from benchmarks.measures import fit_gaussian, gaussian, pulls

ROOT = Path(__file__).parents[1]


def test_the_table_of_a_quick_quantity(capsys: pytest.CaptureFixture[str]) -> None:
    precision.main(["single_pixels"])
    head, rule, *lines = capsys.readouterr().out.splitlines()
    assert head.count("|") == rule.count("|") == 5
    assert len(lines) == 4
    assert float(lines[1].split("|")[2].split("±")[0]) == pytest.approx(1.0, abs=0.06)


def test_without_measurements_a_sentence_says_what_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDOXLIGHT_DATA", raising=False)
    precision.main(["nio", "ceria"])
    said = capsys.readouterr().out
    assert "Left out, since they need real measurements: nio, ceria." in said
    assert "REDOXLIGHT_DATA" in said


def test_an_unknown_quantity_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.precision", "beauty"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "beauty: not known" in done.stderr


def test_quantities_have_names_of_their_own() -> None:
    modules = [importlib.import_module(f"benchmarks.{name}") for name in precision.MODULES]
    assert len(precision.quantities()) == sum(len(module.QUANTITIES) for module in modules)


def test_pulls_are_told_with_their_errors() -> None:
    line = pulls("x", np.tile([-1.0, 1.0], 50))
    assert line.value == "mean +0.00 ± 0.10, standard deviation 1.00 ± 0.07"


def test_a_gaussian_is_found() -> None:
    x = np.linspace(-3, 3, 61)
    fit = fit_gaussian(x, gaussian(x, 5.0, 0.3, 0.4, 1.0, 0.1), 0.0, 2.0, 0.5)
    assert fit is not None
    assert fit[0][1] == pytest.approx(0.3, abs=1e-6)


def test_the_limit_of_a_position_is_that_of_more_light() -> None:
    # Four times the area at least halves the error, over a background more than that.
    one, four = (precision_xrd._ring_limit(5.0, area) for area in (50.0, 200.0))
    assert 2.0 <= one / four < 4.0
    assert not math.isnan(one)
