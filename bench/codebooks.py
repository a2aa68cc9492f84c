#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Codebooks of a product quantiser (8 bits): those of kith's k-means, begun with any rows or by k-means++, beside faiss's, trained on the same rows.

    pip install ./python faiss-cpu threadpoolctl
    python bench/codebooks.py DIR [--metric l2|cosine] [--m 16] [--opq]

Prints the mean squared error of the first 50,000 rows, and recall@10 of a scan of all codes; faiss encodes, decodes and scans for all three, so that nothing but centroids differs.
With --opq, the share of the variance of at most 65,536 rows that codes with a trained rotation lose, by each library's own training on those very rows.
"""
import argparse

import numpy as np

import faiss
import kith
from ann_data import K, Data


def kith_books(sample, m, plus_plus):
    width = sample.shape[1] // m
    parts = (np.ascontiguousarray(sample[:, j * width : (j + 1) * width]) for j in range(m))
    return np.stack([kith.kmeans(part, 256, plus_plus=plus_plus, rows_per_cluster=0, seed=j).centroids for j, part in enumerate(parts)])


def with_rotation(sample, m):
    variance = float(((sample - sample.mean(0)) ** 2).sum(1).mean())
    print("| codes | share of variance lost | x faiss |\n|---|---|---|")
    losses = {}
    for name, factory in (("faiss PQ", f"PQ{m}"), ("faiss OPQ", f"OPQ{m},PQ{m}")):
        index = faiss.index_factory(sample.shape[1], factory)
        index.train(sample)
        losses[name] = float(((sample - index.sa_decode(index.sa_encode(sample))) ** 2).sum(1).mean()) / variance
    for name, opq in (("kith pq", "false"), ("kith pq, opq=true", "true")):
        losses[name] = kith.build(f"pq(m={m},opq={opq})", sample, metric="l2").describe()["codec_loss"]
    for name, loss in losses.items():
        print(f"| {name} | {loss:.5f} | {loss / losses['faiss OPQ' if 'opq' in name.lower() else 'faiss PQ']:.4f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--metric", choices=("l2", "cosine"), default="l2")
    parser.add_argument("--m", type=int, default=16, help="divides the dimensions")
    parser.add_argument("--opq", action="store_true")
    args = parser.parse_args()
    data = Data(args.folder, args.metric, None, 1000)
    sample = np.ascontiguousarray(data.base[np.random.default_rng(0).choice(len(data.base), min(len(data.base), 65536), False)])
    if args.opq:
        return with_rotation(sample, args.m)
    print("| codebooks | mean squared error | x faiss | recall@10 |\n|---|---|---|---|")
    faiss_error = None
    for name in ("faiss", "kith, any rows", "kith, k-means++"):
        index = faiss.IndexPQ(sample.shape[1], args.m, 8)
        if name == "faiss":
            index.train(sample)
        else:
            faiss.copy_array_to_vector(kith_books(sample, args.m, name.endswith("++")).astype(np.float32).ravel(), index.pq.centroids)
            index.is_trained = True
        index.add(data.base)
        some = data.base[:50000]
        error = float(((some - index.pq.decode(index.pq.compute_codes(some))) ** 2).sum(1).mean())
        faiss_error = faiss_error or error
        print(f"| {name} | {error:.6g} | {error / faiss_error:.4f} | {data.recall(index.search(data.queries, K)[1]):.4f} |", flush=True)


if __name__ == "__main__":
    main()
