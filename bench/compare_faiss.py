#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Flat beside faiss-cpu's IndexFlat: same data, threads and recall, in one run.

    pip install ./python faiss-cpu threadpoolctl
    python bench/compare_faiss.py DIR [--threads 1] [--rows 1000000] [--repetitions 5]

DIR holds base and query files (.u8bin, .fbin, .f16bin, ...), e.g. what datasets/make_photos_sift.py writes. Both libraries answer the same
queries, in turn, and the median of the repetitions counts. OpenBLAS, which faiss calls, is held to the same number of threads.
Prints QPS and recall@10 for each, and their ratio; a ratio without its recall would mean nothing.
"""
import argparse
import json
import pathlib
import statistics
import sys
import time

import numpy as np
from threadpoolctl import threadpool_limits

import faiss
import kith


def find(folder, stem):
    found = sorted(p for p in pathlib.Path(folder).iterdir() if p.stem == stem)
    if not found:
        sys.exit(f"no {stem}.* in {folder}")
    return kith.read_vectors(found[0])


def recall(distances, truth):
    """Share of returned rows no further than the true 10th (ties counted as right)."""
    return float((distances <= truth[:, -1:] * (1 + 1e-6)).mean())


def measure(repetitions, runs):
    """Median seconds of each run, taken in turn so that a slow spell hits all alike."""
    times = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    raw, raw_queries = find(args.folder, "base")[: args.rows], find(args.folder, "query")[: args.batch]
    base = np.ascontiguousarray(raw, np.float32)
    queries = np.ascontiguousarray(raw_queries, np.float32)
    faiss.omp_set_num_threads(args.threads)

    theirs = faiss.IndexFlatL2(base.shape[1])
    theirs.add(base)
    ours = {"kith f32": (kith.build("flat", base), queries)}
    if raw.dtype in (np.uint8, np.int8):
        raw, raw_queries = np.ascontiguousarray(raw), np.ascontiguousarray(raw_queries)
        ours[f"kith {raw.dtype}"] = (kith.build("flat", raw), raw_queries)

    with threadpool_limits(args.threads):
        truth = ours["kith f32"][0].search(queries, k=10).distances
        found = {"faiss f32": theirs.search(queries, 10)[0]}
        batch = {"faiss f32": lambda: theirs.search(queries, 10)}
        single = {"faiss f32": lambda: [theirs.search(queries[i : i + 1], 10) for i in range(20)]}
        for name, (index, q) in ours.items():
            found[name] = index.search(q, k=10, threads=args.threads).distances
            batch[name] = lambda index=index, q=q: index.search(q, k=10, threads=args.threads)
            single[name] = lambda index=index, q=q: [index.search(q[i], k=10) for i in range(20)]
        many = measure(args.repetitions, batch)
        one = measure(args.repetitions, single)

    rows = [{"library": name, "recall@10": recall(found[name], truth), "batch_qps": len(queries) / many[name],
             "batch_ratio": many["faiss f32"] / many[name], "single_qps": 20 / one[name],
             "single_ratio": one["faiss f32"] / one[name]} for name in batch]
    if args.json:
        print(json.dumps({"rows": base.shape[0], "dim": base.shape[1], "threads": args.threads,
                          "faiss": faiss.__version__, "results": rows}))
        return
    print(f"{base.shape[0]:,} x {base.shape[1]}, batch of {len(queries)}, {args.threads} thread(s), faiss {faiss.__version__}")
    print(f"{'':12} {'recall@10':>10} {'batch QPS':>10} {'x faiss':>8} {'single QPS':>11} {'x faiss':>8}")
    for r in rows:
        print(f"{r['library']:12} {r['recall@10']:10.4f} {r['batch_qps']:10.0f} {r['batch_ratio']:8.2f} "
              f"{r['single_qps']:11.1f} {r['single_ratio']:8.2f}")


if __name__ == "__main__":
    main()
