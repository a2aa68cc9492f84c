#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From how many lists on does a graph of their centroids rank them faster than looking at all? The same partition with and without it.

    pip install ./python
    python bench/coarse_graph.py DIR [--metric l2|cosine] [--nlist 1024,4096,16384,65536] [--nprobe 8,32]

DIR holds base.*, query.* and gt_dist.fbin (datasets/README.md). Prints recall@10 and queries a second, one call a query on one thread, the two taking turns, the best of --repetitions.
"""
import argparse
import time

import kith
from ann_data import K, Data


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--metric", choices=("l2", "cosine"), default="l2")
    parser.add_argument("--nlist", default="1024,4096,16384,65536")
    parser.add_argument("--nprobe", default="8,32")
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    data = Data(args.folder, args.metric, None, 1000)
    print("| lists | nprobe | recall, all looked at | QPS | recall, graph | QPS | x |\n|---|---|---|---|---|---|---|")
    for nlist in map(int, args.nlist.split(",")):
        indexes = [kith.build(f"ivf(nlist={nlist},sample=32,graph_from={graph_from})", data.raw, metric=args.metric) for graph_from in (0, 1)]
        for nprobe in map(int, args.nprobe.split(",")):
            recalls = [data.recall(index.search(data.raw_queries, k=K, nprobe=nprobe).ids) for index in indexes]
            best = [float("inf")] * 2
            for _ in range(args.repetitions):
                for which, index in enumerate(indexes):
                    start = time.perf_counter()
                    for query in data.raw_queries:
                        index.search(query, k=K, nprobe=nprobe, threads=1)
                    best[which] = min(best[which], time.perf_counter() - start)
            flat, graph = (len(data.raw_queries) / seconds for seconds in best)
            print(f"| {nlist:,} | {nprobe} | {recalls[0]:.4f} | {flat:,.0f} | {recalls[1]:.4f} | {graph:,.0f} | {graph / flat:.2f} |", flush=True)


if __name__ == "__main__":
    main()
