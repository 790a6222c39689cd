"""Where stdout is redirected, as --json does, it has no encoding; larch asks for it."""

from __future__ import annotations

import contextlib
import io

import pytest
import xarray as xr

import xas
from tests.xas.test_shells import ROCK_SALT, modelled
from xas import simulate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[xas.Paths, xr.Dataset]:
    folder = tmp_path_factory.mktemp("redirected")
    file = folder / "oxide.cif"
    file.write_text(ROCK_SALT)
    with contextlib.redirect_stdout(io.StringIO()):
        paths = xas.feff(file, absorber="Ni", radius=4.5)
    return paths, modelled(paths, folder)


def test_feff_runs(made: tuple[xas.Paths, xr.Dataset]) -> None:
    assert made[0].paths[0].atoms == ("O",)


def test_the_fit_is_the_same(made: tuple[xas.Paths, xr.Dataset]) -> None:
    paths, chi = made
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        inside = xas.fit(chi, paths)
    assert not printed.getvalue()
    xr.testing.assert_identical(inside, xas.fit(chi, paths))


def test_the_background_is_removed() -> None:
    scan = xas.normalize(simulate.scan(0), e0=8346.0)
    with contextlib.redirect_stdout(io.StringIO()):
        inside = xas.exafs(scan)
    xr.testing.assert_identical(inside, xas.exafs(scan))
