from __future__ import annotations

import numpy as np
import pytest

import xas
from beamline.errors import ConfigError
from xas import simulate

E0 = 8346.0


def test_half_height_moves_with_the_edge() -> None:
    edges = [
        float(xas.edge(xas.normalize(simulate.scan(0, noise=1e-6, e0=e0), e0=e0))["edge_energy"])
        for e0 in (8345.0, 8347.5)
    ]
    assert edges[1] - edges[0] == pytest.approx(2.5, abs=1e-3)


def test_half_height_is_where_norm_is_one_half() -> None:
    out = xas.edge(xas.normalize(simulate.scan(0, noise=1e-5), e0=E0))
    at = np.interp(float(out["edge_energy"]), out["energy"], out["norm"])
    assert at == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("noise", [2e-4, 4e-3])
def test_its_error_is_right(noise: float) -> None:
    truth = float(xas.edge(xas.normalize(simulate.scan(0, noise=1e-9), e0=E0))["edge_energy"])
    pulls = []
    for seed in range(150):
        out = xas.edge(xas.normalize(simulate.scan(seed, noise=noise), e0=E0))
        pulls.append((float(out["edge_energy"]) - truth) / float(out["edge_energy_errors"]))
    assert abs(np.mean(pulls)) < 3 / np.sqrt(len(pulls))
    assert np.std(pulls) == pytest.approx(1.0, abs=0.25)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError, match="known: half_height"):
        xas.edge(xas.normalize(simulate.scan(0)), method="centroid of gravity")
