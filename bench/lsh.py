#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""LSH beside FALCONN (cross-polytopes, the same number of tables and bits), and beside kith's own Flat, IVF and HNSW; and how fast rows come and go.

    pip install ./python
    python bench/lsh.py DIR [--metric l2|cosine] [--falconn BINARY] [--tables 20] [--bits 16] [--others flat,ivf,hnsw] [--streaming]

DIR holds base.*, query.* and gt_dist.fbin (datasets/README.md). BINARY: bench/peers/falconn.cpp, which says how to build it; FALCONN gets rows as its manual wants them, floats less their mean.
Prints recall@10 with ties counted, queries a second (one call a query, one thread; contenders in turn, the best of --repetitions), rows looked at for a query, seconds to build with
--threads, and kith's rate over FALCONN's at equal recall, interpolated on the logarithm of the rate.
"""
import argparse
import pathlib
import subprocess
import tempfile
import time

import numpy as np

import kith
from ann_data import K, Data

PROBES = (0.5, 1, 2, 4, 8, 16)  # a table


class Kith:
    def __init__(self, data, spec, settings, threads):
        self.name = spec
        start = time.perf_counter()
        self.index = kith.build(spec, data.raw, metric=data.metric, threads=threads)
        self.build = time.perf_counter() - start
        self.data, self.settings = data, settings
        self.best = [float("inf")] * len(settings)
        found = [self.index.search(data.raw_queries, k=K, **setting) for setting in settings]
        self.recalls = [data.recall(one.ids) for one in found]
        self.candidates = [one.stats.distances / len(data.raw_queries) for one in found]

    def run(self):
        for i, setting in enumerate(self.settings):
            start = time.perf_counter()
            for query in self.data.raw_queries:
                self.index.search(query, k=K, threads=1, **setting)
            self.best[i] = min(self.best[i], time.perf_counter() - start)


class Falconn:
    def __init__(self, data, binary, tables, bits, probes, threads):
        self.name = f"FALCONN, {tables} tables of {bits} bits"
        self.data, self.settings, self.best = data, [{"probes": p} for p in probes], [float("inf")] * len(probes)
        self.folder = tempfile.TemporaryDirectory()
        mean = data.base.mean(axis=0)
        base, queries, self.out = (pathlib.Path(self.folder.name) / name for name in ("base", "query", "out"))
        (data.base - mean).tofile(base)
        (data.queries - mean).tofile(queries)
        self.command = [binary, base, queries, str(data.base.shape[1]), str(tables), str(bits), str(threads), ",".join(map(str, probes)), self.out, "1"]
        self.build = float("inf")
        self.run()
        ids = np.fromfile(self.out, np.int32).reshape(len(probes), len(data.queries), K)
        self.recalls = [data.recall(one) for one in ids]

    def run(self):
        lines = [line.split() for line in subprocess.run(self.command, check=True, capture_output=True, text=True).stdout.splitlines()]
        self.build = min(self.build, float(lines[0][1]))
        self.best = [min(best, float(line[2])) for best, line in zip(self.best, lines[1:])]
        self.candidates = [float(line[3]) for line in lines[1:]]


def rate_at(contender, recall):
    """Queries a second at this recall, None outside what was measured."""
    rates = np.log(len(contender.data.queries) / np.array(contender.best))
    order = np.argsort(contender.recalls)
    recalls = np.array(contender.recalls)[order]
    if not recalls[0] <= recall <= recalls[-1]:
        return None
    return float(np.exp(np.interp(recall, recalls, rates[order])))


def streaming(data, tables, rounds=40, step=5000):
    """Rows in and out, one thread: half the rows are there, those after them come while the oldest go."""
    half = len(data.raw) // 2
    index = kith.build(f"lsh(tables={tables})", data.raw[:half], metric=data.metric, copy=True)
    added, removed = [], []
    for round_ in range(min(rounds, half // step)):
        rows = data.raw[half + round_ * step : half + (round_ + 1) * step]
        start = time.perf_counter()
        index.add(rows, threads=1)
        middle = time.perf_counter()
        index.remove(np.arange(round_ * step, (round_ + 1) * step), threads=1)
        added.append(step / (middle - start))
        removed.append(step / (time.perf_counter() - middle))
    quarter = max(1, len(added) // 4)
    print(f"\nrows added a second, {tables} tables: {np.median(added):,.0f} (first quarter {np.median(added[:quarter]):,.0f}, last {np.median(added[-quarter:]):,.0f}; slowest batch of {step:,}: {min(added):,.0f})")
    print(f"rows removed a second: {np.median(removed):,.0f} (first quarter {np.median(removed[:quarter]):,.0f}, last {np.median(removed[-quarter:]):,.0f}); slots {index.describe()['vacant_slots'] + index.size:,} for {index.size:,} rows")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--metric", choices=("l2", "cosine"), default="l2")
    parser.add_argument("--falconn")
    parser.add_argument("--tables", type=int, default=20)
    parser.add_argument("--bits", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2, help="to build with")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--others", default="", help="kith's own kinds beside it: flat,ivf,hnsw or some of them")
    parser.add_argument("--streaming", action="store_true")
    args = parser.parse_args()
    data = Data(args.folder, args.metric, None, 1000)
    probes = [max(1, round(p * args.tables)) for p in PROBES]
    contenders = [Kith(data, f"lsh(tables={args.tables},bits={args.bits})", [{"probes": p} for p in probes], args.threads)]
    if args.falconn:
        contenders.append(Falconn(data, args.falconn, args.tables, args.bits, [p for p in probes if p >= args.tables], args.threads))
    others = {
        "flat": ("flat", [{}]),
        "ivf": (f"ivf(nlist={data.nlist})", [{"nprobe": p} for p in (1, 2, 4, 8, 16, 32, 64)]),
        "hnsw": ("hnsw(m=16)", [{"ef": ef} for ef in (10, 20, 40, 80, 160)]),
    }
    contenders += [Kith(data, *others[name], args.threads) for name in args.others.split(",") if name]
    for _ in range(args.repetitions):
        for contender in contenders:
            contender.run()
    print("| | setting | recall@10 | QPS | rows looked at |\n|---|---|---|---|---|")
    for c in contenders:
        for setting, recall, seconds, candidates in zip(c.settings, c.recalls, c.best, c.candidates):
            print(f"| {c.name} | {', '.join(f'{k}={v}' for k, v in setting.items())} | {recall:.4f} | {len(data.queries) / seconds:,.0f} | {candidates:,.0f} |")
    print()
    for c in contenders:
        size = f", {(c.index.memory_bytes - data.raw.nbytes) / 1e6:.0f} MB beside the rows" if isinstance(c, Kith) else ""
        print(f"{c.name}: built in {c.build:.2f} s{size}")
    for recall in (0.7, 0.8, 0.9, 0.95, 0.98):
        rates = [rate_at(c, recall) for c in contenders]
        if rates[0] is not None and len(rates) > 1:
            print(f"at recall {recall}: " + ", ".join(f"{rates[0] / rate:.2f} x {c.name}" for c, rate in zip(contenders[1:], rates[1:]) if rate))
    if args.streaming:
        streaming(data, args.tables)


if __name__ == "__main__":
    main()
