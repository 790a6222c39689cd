"""A recipe: an ordered list of plain functions with their parameters, and who runs them.

A recipe has two parts. The steps of `each` go over every chunk of the input on their own (read a frame,
integrate it); what they give is put together by `gather`, and the steps of `then` see the whole (refine the
series). Chunks are fixed by the recipe and the files, never by the number of workers, so that every
scheduler gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from beamline.errors import ConfigError

if TYPE_CHECKING:
    import xarray as xr

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Step:
    """A function with its parameters; the data come first: ``function(data, **parameters)``."""

    function: Callable[..., Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, data: Any) -> Any:
        """Apply the step to `data`."""
        return self.function(data, **self.parameters)


@dataclass(frozen=True)
class Recipe:
    """What is to be done with one measurement.

    Attributes
    ----------
    name
        Place of the result in the tree of results ("xrd/bccfe").
    files
        Raw files in the order of the measurement.
    read
        Keyword arguments of `beamline.read`.
    each
        Steps for every chunk: a file, or a range of `frames_per_chunk` frames of a file that holds many.
    gather
        Puts the chunks together, in order. None where the measurement is one chunk.
    then
        Steps for the whole.
    """

    name: str
    files: tuple[Path, ...]
    read: Mapping[str, Any] = field(default_factory=dict)
    each: tuple[Step, ...] = ()
    gather: Callable[[Sequence[Any]], xr.Dataset] | None = None
    then: tuple[Step, ...] = ()
    frames_per_chunk: int = 64


class Scheduler(Protocol):
    """Runs a function over many inputs; results may come in any order, with the input's index."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yield ``(index, function(items[index]))`` for every item, as they get done."""


class Serial:
    """One after the other, in this thread."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yield results in order."""
        return ((index, function(item)) for index, item in enumerate(items))
