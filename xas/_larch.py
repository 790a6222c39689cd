"""larch, where it is needed: background, FEFF and the fit of shells."""

from __future__ import annotations

from importlib.util import find_spec

from beamline.errors import ConfigError


def need_larch() -> None:
    """Refuse in one sentence what larch would do where it is not installed.

    Raises
    ------
    ConfigError
        larch is not installed.
    """
    if find_spec("larch") is None:
        raise ConfigError("larch", "is not installed", "pip install 'redoxlight[exafs]'")
