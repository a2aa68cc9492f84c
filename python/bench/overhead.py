# SPDX-License-Identifier: Apache-2.0
"""What one search call costs around the C++ search.

python python/bench/overhead.py                                     an index of one row leaves little else to pay
python python/bench/overhead.py --index FILE --query FILE [--ef N]  a loop in Python over the queries, beside the same loop in C++ (one batch, one thread)
"""

from __future__ import annotations

import argparse
import timeit

import numpy as np

import kith


def nanoseconds(call, number: int = 50_000) -> float:
    return min(timeit.repeat(call, number=number, repeat=9)) / number * 1e9


def of_one_row() -> None:
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


def beside_cpp(path: str, query_path: str, ef: int, repetitions: int = 9) -> None:
    index = kith.load(path, mmap=False)
    queries = np.ascontiguousarray(kith.io.read_vectors(query_path))
    rows = list(queries)

    def one_by_one() -> None:
        for row in rows:
            index.search(row, k=10, ef=ef)

    def batch() -> None:
        index.search(queries, k=10, ef=ef, threads=1)

    best = {"Python": float("inf"), "C++": float("inf")}
    for _ in range(repetitions):  # in turn: a noisy machine is noisy to both
        for name, call in (("Python", one_by_one), ("C++", batch)):
            best[name] = min(best[name], timeit.timeit(call, number=1))
    qps = {name: len(rows) / seconds for name, seconds in best.items()}
    print(f"{index.spec}, {index.size:,} rows, ef={ef}, one thread, best of {repetitions}")
    print(f"{qps['Python']:8.0f} queries a second, one call each from Python")
    print(f"{qps['C++']:8.0f} in one call: Python reaches {qps['Python'] / qps['C++']:.3f} of it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", help="an index file")
    parser.add_argument("--query", help="a file of queries for it")
    parser.add_argument("--ef", type=int, default=64)
    options = parser.parse_args()
    if options.index:
        beside_cpp(options.index, options.query, options.ef)
    else:
        of_one_row()


if __name__ == "__main__":
    main()
