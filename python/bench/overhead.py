# SPDX-License-Identifier: Apache-2.0
"""What one search call costs around the C++ search: an index of one row leaves little else to pay.

python python/bench/overhead.py
"""

from __future__ import annotations

import timeit

import numpy as np

import kith


def nanoseconds(call, number: int = 50_000) -> float:
    return min(timeit.repeat(call, number=number, repeat=9)) / number * 1e9


def main() -> None:
    index = kith.build("flat", np.zeros((1, 128), np.float32), threads=1)
    vector = np.ones(128, np.float32)
    matrix = vector[None]
    print(
        f"instruction set {kith.instruction_set()}, d = 128, one row; nanoseconds a call, the search itself included"
    )
    for name, call in {
        "search(vector, k=10)": lambda: index.search(vector, k=10),
        "search(matrix, k=10)": lambda: index.search(matrix, k=10),
        "ids, distances = search(vector)": lambda: tuple(index.search(vector)),
        "len(index)": lambda: len(index),
        "an empty function": lambda: None,
    }.items():
        print(f"{nanoseconds(call):8.0f}  {name}")


if __name__ == "__main__":
    main()
