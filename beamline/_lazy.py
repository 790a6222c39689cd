"""Public names that load their module on first use.

`import xrd` must cost milliseconds: the command answers `--help`, and a beamtime script starts, without
pyFAI, larch or matplotlib. A package names its public surface as ``{name: module}`` and the module is
imported when the name is first asked for (PEP 562).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of `package`.

    Parameters
    ----------
    package
        The package's ``__name__``.
    names
        Public name to ``"module:attribute"``, or to ``"module"`` for a whole module. A public name must not
        be the name of a submodule unless it is that submodule: importing the submodule would shadow it.
    """

    def load(name: str) -> Any:
        try:
            target = names[name]
        except KeyError:
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        value = resolve(target)
        setattr(sys.modules[package], name, value)
        return value

    def public() -> list[str]:
        return sorted(names)

    return load, public


def resolve(target: str) -> Any:
    """Import ``"module:attribute"`` (or a whole ``"module"``) and return it."""
    module_name, _, attribute = target.partition(":")
    module = importlib.import_module(module_name)
    return getattr(module, attribute) if attribute else module
