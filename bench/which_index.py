#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What each kind of index costs on one data set: the table of docs/choosing.md.

    pip install ./python
    python bench/which_index.py DIR [--metric l2|cosine] [--rows N] [--threads 2]

DIR holds base.*, query.* and gt_dist.fbin (.u8bin, .f16bin, .fbin: datasets/README.md). Prints, for each spec, seconds to build with --threads, bytes a row of the file, and for recall@10 of
0.95 and 0.99 queries a second, one call a query on one thread, at the fastest setting that reaches it; the best of --repetitions, which contenders take in turn.
"""
import argparse
import json
import pathlib
import time

import numpy as np

import kith
from ann_data import K, Data

EF = (10, 14, 20, 28, 40, 56, 80, 112, 160, 226, 320, 452, 640)
NPROBE = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256)
REFINE = (2, 4, 8, 16, 32, 64)


def contenders(data):
    """(spec, rows, settings in rising order of what they cost)"""
    d = data.base.shape[1]
    exact = [{}]
    walks = [{"ef": ef} for ef in EF]
    lists = [{"nprobe": nprobe} for nprobe in NPROBE if nprobe <= data.nlist]
    again = [{"refine": refine} for refine in REFINE]
    walks_again = [{**walk, "refine": refine} for walk in walks for refine in (1.5, 3)]
    lists_again = [{**probe, "refine": refine} for probe in lists for refine in REFINE]
    kept, f32 = (data.raw, data.raw_queries), (data.base, data.queries)
    if data.metric == "l2" and data.raw.dtype == np.float16:
        kept = f32
    yield "flat", kept, exact
    yield "hnsw(m=16)", kept, walks
    yield "vamana(r=32)", kept, walks
    yield f"ivf(nlist={data.nlist})", kept, lists
    refine = "f16" if kept[0].dtype == np.float16 else "f32"
    over = kept if refine == "f16" else f32
    yield f"hnsw(m=16) over sq8, refine {refine}", over, walks_again
    yield f"ivf(nlist={data.nlist}) over sq8, refine f32", f32, [{**probe, "refine": 2} for probe in lists]
    yield f"flat over pq(m={d // 4},bits=4), refine f32", f32, again
    yield f"ivf_pq(nlist={data.nlist},m={d // 2},bits=4), refine f32", f32, lists_again
    yield f"ivf(nlist={data.nlist}) over rabitq(bits=4), refine f32", f32, [{**probe, "refine": 2} for probe in lists]
    yield f"ivf(nlist={data.nlist}) over rabitq(bits=7)", f32, lists
    yield f"hnsw(m=16,exact_links=true) over pq(m={d // 4}), refine f32", f32, walks_again


def search(index, queries, setting, count):
    for q in queries[:count]:
        index.search(q, k=K, **setting)


def fastest(data, index, queries, settings, recalls):
    """{recall: (setting, recall found)}: of the settings that reach it, the one that 100 queries take least time with."""
    best = {}
    for setting in settings:
        if best.keys() == set(recalls) and all(seconds > 3 * best[recall][0] for recall in recalls):
            break
        start = time.perf_counter()
        search(index, queries, setting, 100)
        seconds = time.perf_counter() - start
        if best.keys() == set(recalls) and all(seconds > 1.1 * best[recall][0] for recall in recalls):
            continue
        found = data.recall(index.search(queries, k=K, threads=1, **setting).ids)
        for recall in recalls:
            if found >= recall and (recall not in best or seconds < best[recall][0]):
                best[recall] = (seconds, setting, found)
    return {recall: (setting, found) for recall, (_, setting, found) in best.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--metric", choices=("l2", "cosine"), default="l2")
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", default="", help="specs that contain this")
    parser.add_argument("--json", type=pathlib.Path, default=None)
    args = parser.parse_args()
    recalls = (0.95, 0.99)
    data = Data(args.folder, args.metric, args.rows, args.queries)
    print(f"{pathlib.Path(args.folder).name}: {len(data.base)} x {data.base.shape[1]}, {args.metric}, {kith.instruction_set()}\n")
    print("| spec | rows of | build s | bytes a row | QPS at 0.95 | | QPS at 0.99 | |\n|---|---|---|---|---|---|---|---|", flush=True)
    report = []
    for spec, (rows, queries), settings in contenders(data):
        if args.only not in spec:
            continue
        rows, queries = np.ascontiguousarray(rows), np.ascontiguousarray(queries)
        start = time.perf_counter()
        index = kith.build(spec, rows, metric=args.metric, threads=args.threads)
        seconds = time.perf_counter() - start
        line = f"| `{spec}` | {rows.dtype} | {seconds:.1f} | {len(index.to_bytes()) / len(rows):.0f} |"
        chosen = fastest(data, index, queries, settings, recalls)
        qps = {recall: 0.0 for recall in chosen}
        count = 1000 if len(settings) > 1 else 100
        for _ in range(args.repetitions):
            for recall, (setting, _) in chosen.items():
                start = time.perf_counter()
                search(index, queries, setting, count)
                qps[recall] = max(qps[recall], min(count, len(queries)) / (time.perf_counter() - start))
        for recall in recalls:
            if recall in chosen:
                setting, found = chosen[recall]
                line += f" {qps[recall]:,.0f} | {found:.4f}" + "".join(f", {name} {value}" for name, value in setting.items()) + " |"
            else:
                line += " | not reached |"
        print(line, flush=True)
        report.append({"spec": spec, "dtype": str(rows.dtype), "build_seconds": seconds, "chosen": {str(r): [*chosen[r], qps[r]] for r in chosen}})
        del index
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
