"""Random numbers from raw Philox bits only, so that a seed means the same scene in every release of numpy."""

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Floats = NDArray[np.floating[Any]]

# One stream per purpose: what one domain draws never moves the geometry or another domain.
STREAMS = {"geometry": 1, "clear": 2, "night": 3, "snow": 4, "rain": 5, "fog": 6, "game": 7, "tiles": 8}
_BLOCK = 512


class Stream:
    """A named sequence of random numbers: `Philox(key=(seed, name))`, 53 high bits of each word as a float in 0..1."""

    def __init__(self, seed: int, name: str) -> None:
        self._bits = np.random.Philox(key=np.array([seed, STREAMS[name]], dtype=np.uint64))
        self._pool: list[int] = []

    def words(self, count: int) -> NDArray[np.uint64]:
        """`count` raw 64-bit words, drawn past those that single draws have taken."""
        raw: Any = self._bits.random_raw(count)
        return np.asarray(raw, dtype=np.uint64)

    def floats(self, *shape: int) -> Floats:
        """Floats in 0 <= x < 1."""
        count = 1
        for side in shape:
            count *= side
        return ((self.words(count) >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def bell(self, *shape: int) -> Floats:
        """Nearly normal noise, mean 0, standard deviation 1: the sum of four bytes, an integer until the last step."""
        count = 1
        for side in shape:
            count *= side
        bits = self.words((count + 1) // 2).view(np.uint32)[:count]
        low = (bits & np.uint32(0x00FF00FF)) + ((bits >> np.uint32(8)) & np.uint32(0x00FF00FF))
        total = (low & np.uint32(0xFFFF)) + (low >> np.uint32(16))
        return ((total.astype(np.float32) - np.float32(510.0)) * np.float32(1 / 147.8)).reshape(shape)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """One float in low <= x < high."""
        if not self._pool:
            self._pool = self.words(_BLOCK).tolist()
        return low + (high - low) * ((self._pool.pop() >> 11) * 2.0**-53)

    def integer(self, low: int, high: int) -> int:
        """One integer in low <= n <= high."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def choice(self, items: Sequence[T]) -> T:
        """One of the items, all equally likely."""
        return items[int(self.uniform() * len(items))]

    def tint(self, colour: tuple[float, float, float], spread: float) -> tuple[float, float, float]:
        """A colour near the given one: common brightness and one own shift per channel, each within +-spread."""
        level = self.uniform(-spread, spread)
        red, green, blue = colour
        own = spread * 0.4
        return (
            min(max(red + level + self.uniform(-own, own), 0.02), 1.0),
            min(max(green + level + self.uniform(-own, own), 0.02), 1.0),
            min(max(blue + level + self.uniform(-own, own), 0.02), 1.0),
        )


@lru_cache(maxsize=4)
def noise_tile(smallest: int) -> Floats:
    """A seamless tile (256, 256) of value noise in about -1..1, octaves from 64 texels down to `smallest` texels."""
    stream = Stream(smallest, "tiles")
    total = np.zeros((256, 256))
    cell, weight, weights = 64, 1.0, 0.0
    while cell >= smallest:
        count = 256 // cell
        grid = stream.floats(count, count) * 2.0 - 1.0
        place = np.arange(256) / cell
        low = place.astype(np.int64)
        part = place - low
        part = part * part * (3.0 - 2.0 * part)
        high = (low + 1) % count
        rows = grid[low] * (1.0 - part)[:, None] + grid[high] * part[:, None]
        total += weight * (rows[:, low] * (1.0 - part) + rows[:, high] * part)
        weights += weight * weight
        cell //= 2
        weight *= 0.75
    return (total * (1.6 / sqrt(weights))).astype(np.float32)


@lru_cache(maxsize=1)
def hash_table() -> Floats:
    """1024 floats in 0..1 that give cells of a texture (a window, a brick) a value of their own."""
    return Stream(0, "tiles").floats(1024).astype(np.float32)
