"""larch, where it is needed: background, FEFF and the fit of shells."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
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


@contextlib.contextmanager
def calling_larch() -> Iterator[None]:
    """Surround imports and calls of larch; what it prints goes to stdout afterwards.

    larch encodes text with ``sys.stdout.encoding``, which is None where stdout is redirected to memory and
    may be ASCII in a shell without a locale: it is given a stdout that has UTF-8.

    Raises
    ------
    ConfigError
        larch is not installed.
    """
    need_larch()
    if str(getattr(sys.stdout, "encoding", None)).lower() == "utf-8":
        yield
        return
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        text = printed.buffer.getvalue().decode("utf-8")
        if text and sys.stdout is not None:
            sys.stdout.write(text)
