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
    """Compile a function when it is first called.

    Sums keep their order: were they free to be reordered, the last bit would depend on what else had been
    compiled when, and a series refined by several processes would not be that of one.
    """
    return cast("Callable[P, R]", numba.njit(cache=True, error_model="numpy")(function))
