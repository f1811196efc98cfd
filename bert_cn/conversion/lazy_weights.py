"""Weights by name, each read when it is asked for, so that few are in memory."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class LazyWeight:
    """One weight in a file or a model.

    Attributes:
        shape: what `load` returns.
        load: reads it from its source at each call; an array of any float type.
    """

    shape: tuple[int, ...]
    load: Callable[[], np.ndarray]

    def map(
        self, shape: tuple[int, ...], change: Callable[[np.ndarray], np.ndarray]
    ) -> "LazyWeight":
        """Return this weight with a change made to it when it is read."""
        return LazyWeight(shape, lambda: change(self.load()))


class LazyWeights(Mapping[str, np.ndarray]):
    """Name -> contiguous float32 array, read at each access.

    Arrays that are in memory already are taken as they are. A damaged file may be
    noticed only when a weight is read: `LazyWeight.load` then raises ValueError.
    """

    def __init__(self, weights: Mapping[str, LazyWeight | np.ndarray]):
        self._entries = (
            weights._entries
            if isinstance(weights, LazyWeights)
            else {name: _as_lazy(weight) for name, weight in weights.items()}
        )

    def __getitem__(self, name: str) -> np.ndarray:
        return np.ascontiguousarray(self._entries[name].load(), np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, without reading anything."""
        return {name: entry.shape for name, entry in self._entries.items()}

    def select(self, names: Mapping[str, str]) -> "LazyWeights":
        """Return some of the weights under new names: new name -> name here."""
        return LazyWeights({new: self._entries[old] for new, old in names.items()})

    def replace(self, weights: Mapping[str, LazyWeight | np.ndarray]) -> "LazyWeights":
        """Return the weights with some of them replaced or added."""
        return LazyWeights({**self._entries, **weights})


def _as_lazy(weight: LazyWeight | np.ndarray) -> LazyWeight:
    if isinstance(weight, LazyWeight):
        return weight
    return LazyWeight(tuple(weight.shape), lambda: weight)
