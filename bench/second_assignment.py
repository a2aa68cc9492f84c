#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Would a second list for each row pay? Rows that a partition has to look at for a recall, with one list a row and with two (SOAR).

    pip install ./python
    python bench/second_assignment.py DIR [--metric l2|cosine] [--nlist N]

DIR holds base.*, query.* and gt_ids.ibin (datasets/README.md). The second list of a row is that with the least |r'|^2 + lambda (r.r' / |r|)^2 among the 31 nearest after its first, r and r' being
its residuals (Sun, Simcha, Dopson, Guo and Kumar 2023, "SOAR: Improved indexing for approximate nearest neighbor search"); lambda 0 is the next nearest. No index is built and nothing is timed: rows are
counted, those that stand in two of the lists asked twice, as a scan would score them twice. Two lists a row take twice the memory of the codes.
"""
import argparse
import pathlib

import numpy as np

import kith
from ann_data import find

RECALLS = (0.9, 0.95, 0.99)
NEAREST = 32


def second_lists(base, centroids, near, squared, weight):
    """The second list of each row."""
    chosen = np.empty(len(base), np.int64)
    for begin in range(0, len(base), 20_000):
        some = slice(begin, begin + 20_000)
        first = base[some] - centroids[near[some, 0]]
        first /= np.linalg.norm(first, axis=1, keepdims=True) + 1e-12
        loss = np.stack([squared[some, t] + weight * np.einsum("ij,ij->i", base[some] - centroids[near[some, t]], first) ** 2 for t in range(1, near.shape[1])], axis=1)
        chosen[some] = near[some][np.arange(len(loss)), 1 + loss.argmin(1)]
    return chosen


def curve(asked, truth, assignments, recalls):
    """{recall: (lists asked, rows looked at)}: asked has all lists for each query, nearest first."""
    lists = asked.shape[1]
    sizes = sum(np.bincount(lists_of, minlength=lists) for lists_of in assignments)
    place = np.empty_like(asked)
    np.put_along_axis(place, asked, np.broadcast_to(np.arange(lists), asked.shape), axis=1)
    found_at = np.min([np.take_along_axis(place, lists_of[truth], axis=1) for lists_of in assignments], axis=0)
    looked_at = np.cumsum(sizes[asked], axis=1).mean(axis=0)
    result = {}
    for recall in recalls:
        nprobe = next((p for p in range(1, lists + 1) if (found_at < p).mean() >= recall), lists)
        result[recall] = nprobe, looked_at[nprobe - 1]
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--metric", choices=("l2", "cosine"), default="l2")
    parser.add_argument("--nlist", type=int, default=None)
    args = parser.parse_args()
    base, queries = (np.asarray(find(args.folder, stem), np.float32) for stem in ("base", "query"))
    queries, truth = queries[:1000], np.asarray(find(args.folder, "gt_ids"))[:1000, :10].astype(np.int64)
    if args.metric == "cosine":
        base, queries = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (base, queries))
    nlist = args.nlist or max(16, 1 << round(np.log2(np.sqrt(len(base)))))
    centroids = kith.kmeans(base, nlist, spherical=args.metric == "cosine", rows_per_cluster=128, plus_plus=False).centroids
    ranks = kith.build("flat", centroids)
    near = ranks.search(base, k=min(NEAREST, nlist))
    asked = ranks.search(queries, k=nlist).ids.astype(np.int64)
    near_ids, squared = near.ids.astype(np.int64), near.distances
    rows = [("one", [near_ids[:, 0]])]
    for weight in (0.0, 0.5, 1.0, 1.5, 2.0):
        rows.append((f"two, lambda {weight:g}", [near_ids[:, 0], second_lists(base, centroids, near_ids, squared, weight)]))
    print(f"{args.folder.name}: {len(base):,} x {base.shape[1]}, {args.metric}, {nlist} lists, {len(queries)} queries, recall@10\n")
    print("| lists a row | " + " | ".join(f"{recall}: lists | rows | to one" for recall in RECALLS) + " |")
    print("|---" * (1 + 3 * len(RECALLS)) + "|")
    alone = curve(asked, truth, rows[0][1], RECALLS)
    for name, assignments in rows:
        found = curve(asked, truth, assignments, RECALLS)
        print(f"| {name} | " + " | ".join(f"{found[r][0]} | {found[r][1]:,.0f} | {found[r][1] / alone[r][1]:.2f}" for r in RECALLS) + " |", flush=True)


if __name__ == "__main__":
    main()
