"""Real patterns beside GSAS-II; `python -m benchmarks.refinement_real` prints all of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gsas2_reference, refinement_real


def off(fit, phase: str, name: str, theirs) -> float:  # type: ignore[no-untyped-def]
    """Return by how many combined errors a parameter of the first pattern differs."""
    one = fit.isel(frame=0).sel(phase=phase)
    return float(abs(one[name] - theirs[0]) / np.hypot(one[f"{name}_errors"], theirs[1]))


def test_lead_sulphate_with_a_doublet(data_dir: Path) -> None:
    reference = json.loads((data_dir.parent / "reference" / "xrd_gsas2_pbso4.json").read_text())
    fit = refinement_real.pbso4_fit(data_dir, "native")
    assert float(fit["rwp"][0]) <= 0.106
    # U, V, W of a bad start make variances negative: no minimum, and the message says of how many.
    assert fit["status"].item() == "rough"
    assert "have the smallest Gaussian width" in fit["message"].item()
    for name in "abc":
        theirs = reference["cell"][f"length_{name}"], reference["esd"][f"length_{name}"]
        assert off(fit, "PbSO4", name, theirs) < 3
        assert off(fit, "PbSO4", name, gsas2_reference.kept()["pbso4"][0][name]) < 1


def test_the_first_stages_of_the_tutorial(data_dir: Path) -> None:
    path = data_dir.parent / "reference" / "xrd_gsas2_seqtut_first9.json"
    reference = json.loads(path.read_text())["stages_first_pattern"]
    for (name, _, fit), theirs in zip(refinement_real._stages(data_dir, "native"), reference, strict=True):
        assert 100 * float(fit["rwp"][0]) <= theirs["Rwp"], name
        assert fit["status"].item() == "converged", name
    tight = gsas2_reference.kept()["seqtut"][0]
    for edge in "abc":
        assert off(fit, "CuCr2O4", edge, tight[edge]) < 1


@pytest.mark.slow
def test_the_splitting_is_followed_to_room_temperature(data_dir: Path) -> None:
    path = data_dir.parent / "reference" / "xrd_gsas2_seqtut_first9.json"
    reference = json.loads(path.read_text())["passes"][-1]["patterns"]
    series = refinement_real.seqtut_fit(data_dir, "native").sel(phase="CuCr2O4")
    assert set(series["status"].values) == {"converged"}
    assert (100 * series["rwp"].values[: len(reference)] <= [entry["Rwp"] for entry in reference]).all()
    split = (series["b"] - series["c"]).values
    errors = np.hypot(series["b_errors"], series["c_errors"]).values
    assert (np.diff(split) < 3 * np.hypot(errors[1:], errors[:-1])).all()
    assert split[0] > 50 * errors[0]
    assert abs(split[-1]) < 3 * errors[-1]
    for frame, entry in enumerate(gsas2_reference.kept()["seqtut"]):
        for edge in "abc":
            value, error = entry[edge]
            combined = np.hypot(float(series[f"{edge}_errors"][frame]), error)
            assert abs(float(series[edge][frame]) - value) < 3 * combined, (frame, edge)
