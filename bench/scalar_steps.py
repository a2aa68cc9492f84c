#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What would a step for each dimension gain over one step for all? Recall of codes alone, of 4 and of 8 bits a dimension.

    pip install ./python
    python bench/scalar_steps.py DIR [--metric l2|cosine] [--rows 100000]

DIR holds base.* and query.* (datasets/README.md). One step: kith's own codes (`flat over sq4`, `sq8`), whose distances are sums of whole numbers. A step for each dimension: of some windows that leave out 0 to 5%
of a dimension's values the one with the least squared error, rows decoded to floats and searched exactly, queries not quantised at all; kith has no such codes. Prints recall@10, and for data whose dimensions differ, the
same with every other dimension made ten times as large.
"""
import argparse
import pathlib

import numpy as np

import kith
from ann_data import find

K = 10
LEFT_OUT = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)


def step_for_each_dimension(rows, bits):
    """The rows as they would be decoded."""
    levels = (1 << bits) - 1
    best, least = np.empty_like(rows), np.full(rows.shape[1], np.inf)
    for share in LEFT_OUT:
        low, high = np.quantile(rows[:: max(1, len(rows) // 20_000)], (share / 2, 1 - share / 2), axis=0).astype(np.float32)
        step = np.maximum((high - low) / levels, 1e-12)
        decoded = np.clip(np.rint((rows - low) / step), 0, levels) * step + low
        error = ((decoded - rows) ** 2).sum(0, dtype=np.float64)
        better = error < least
        best[:, better], least[better] = decoded[:, better], error[better]
    return best


def recall(ids, distances, bound):
    """Rows no farther than the true tenth."""
    near = np.take_along_axis(distances, ids, axis=1) <= bound[:, None] * (1 + 1e-5) + 1e-6
    return near.mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--metric", choices=("l2", "cosine"), default="l2")
    parser.add_argument("--rows", type=int, default=100_000)
    args = parser.parse_args()
    base, queries = (np.asarray(find(args.folder, stem), np.float32) for stem in ("base", "query"))
    base, queries = base[: args.rows], queries[:500]
    if args.metric == "cosine":
        base, queries = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (base, queries))
    print(f"{args.folder.name}: {len(base):,} x {base.shape[1]}, {args.metric}\n\n| | bits | one step | a step for each dimension |\n|---|---|---|---|")
    for name, scale in (("as they are", None), ("every other dimension x 10", np.where(np.arange(base.shape[1]) % 2, 10, 1).astype(np.float32))):
        rows, asked = (base, queries) if scale is None else (base * scale, queries * scale)
        exact = kith.build("flat", rows)
        distances = np.empty((len(asked), len(rows)), np.float32)
        everything = exact.search(asked, k=len(rows), threads=None)
        np.put_along_axis(distances, everything.ids, everything.distances, axis=1)
        bound = everything.distances[:, K - 1]
        for bits in (4, 8):
            one = kith.build(f"flat over sq{bits}", rows).search(asked, k=K, threads=None).ids
            each = kith.build("flat", step_for_each_dimension(rows, bits)).search(asked, k=K, threads=None).ids
            print(f"| {name} | {bits} | {recall(one, distances, bound):.4f} | {recall(each, distances, bound):.4f} |", flush=True)


if __name__ == "__main__":
    main()
