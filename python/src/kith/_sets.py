# SPDX-License-Identifier: Apache-2.0
"""kith.sketch_sets: sets of words or numbers as rows of bits that any index of metric hamming takes."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np

from . import _core
from ._api import checked_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

Item = Union[int, str, bytes]


def _number(item: Any) -> int:
    """The same on every machine and in every process, as Python's own hashes of strings are not."""
    if isinstance(item, str):
        item = item.encode()
    if isinstance(item, bytes):
        return int.from_bytes(hashlib.blake2b(item, digest_size=8).digest(), "little")
    try:
        return operator.index(item) & (2**64 - 1)
    except TypeError:
        raise _core.TypeMismatchError(
            f"items of sets must be integers, strings or bytes, not {item!r}"
        ) from None


def sketch_sets(
    sets: Iterable[Iterable[Item]], bits: int = 256, seed: int = 0, threads: Optional[int] = 1
) -> NDArray[np.uint8]:
    """Rows of bits (n, bits / 8), uint8, that are near under hamming where sets are near under
    Jaccard: (1 - J) / 2 of their bits differ, give or take 1 / (2 sqrt(bits)).

    sets    iterables of integers, strings or bytes; items that are there twice count once
    bits    a multiple of 8
    seed    queries must be sketched with the rows' seed and bits

    1-bit minwise hashing (Li and Koenig 2010). Search them with metric "hamming", e.g. the spec
    "lsh" or "hnsw(m=16)", or find near duplicates: index.near_duplicates((1 - J) / 2 * bits).
    """
    if not hasattr(bits, "__index__"):
        raise _core.TypeMismatchError(f"bits must be an integer, not {bits!r}")
    numbers: list[int] = []
    offsets = [0]
    for one in sets:
        if isinstance(one, (str, bytes)):
            raise _core.TypeMismatchError(f"a set must be an iterable of items, not {one!r}")
        numbers.extend(map(_number, one))
        offsets.append(len(numbers))
    rows = _core.sketch_sets(
        np.array(numbers, np.uint64).tobytes(),
        np.array(offsets, np.uint64).tobytes(),
        max(operator.index(bits), 0),
        checked_seed(seed),
        threads,
    )
    return np.frombuffer(rows, np.uint8).reshape(len(offsets) - 1, operator.index(bits) // 8)
