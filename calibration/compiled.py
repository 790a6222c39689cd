"""Compiled functions: numba's decorator with the settings of the house, typed for those who call them.

Kernels are cached on disk beside their source and run on one thread. ``function.py_func`` is the plain Python
that tests compare with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function when it is first called; sums may be reordered, so NaN must be kept out."""
    return cast("Callable[P, R]", numba.njit(cache=True, fastmath=True, error_model="numpy")(function))
