#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""IVF, PQ and IVF-PQ beside faiss-cpu's of the same shape, and beside ScaNN where it is installed: same data, threads and recall, in one run.

    pip install ./python faiss-cpu scann threadpoolctl
    python bench/compare_codes.py DIR [--metric l2|cosine] [--pairs ivf,pq8,pq4,ivf_pq8,ivf_pq4,scann] [--recall 0.95,0.99]

DIR holds base.*, query.* and gt_dist.fbin (.u8bin, .f16bin, .fbin: datasets/README.md). A pair is one structure in both libraries, with equally many lists, codes and
bits of a code. Where both answer from exact rows, each runs at the fastest of its settings that reaches the recall; where both answer from codes alone, at the same nprobe.

Method: one thread. Single queries are one call each: of faiss its C function with pointers made beforehand, of kith and ScaNN their Python method. A batch is all queries
in one call. Runs of all contenders of a pair take turns; the best of --repetitions counts. Recall@10 counts returned rows that are no further than the true tenth.
"""
import argparse
import json
import pathlib
import tempfile
import time

import numpy as np
from threadpoolctl import threadpool_limits

import faiss
import kith
from ann_data import K, Data

try:
    import scann
except ImportError:
    scann = None

NPROBES = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256)
RERANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
FIXED = 8  # nprobe where codes alone answer


class Faiss:
    library = "faiss"

    def __init__(self, data, factory):
        self.name, self.data = f"faiss {factory}", data
        metric = faiss.METRIC_L2 if data.metric == "l2" else faiss.METRIC_INNER_PRODUCT
        start = time.perf_counter()
        self.index = faiss.index_factory(data.base.shape[1], factory, metric)
        self.index.train(data.base)
        self.index.add(data.base)
        self.seconds = time.perf_counter() - start
        self.bytes = faiss.serialize_index(self.index).size / len(data.base)
        self.q = data.queries
        self.out = np.empty((len(self.q), K), np.float32), np.empty((len(self.q), K), np.int64)
        self.pointers = [(faiss.swig_ptr(self.q[i]), faiss.swig_ptr(self.out[0][i]), faiss.swig_ptr(self.out[1][i])) for i in range(len(self.q))]

    def set(self, nprobe=None, refine=None):
        if refine is not None:
            self.index.k_factor = refine
        if nprobe is not None:
            faiss.extract_index_ivf(self.index).nprobe = nprobe

    def batch(self):
        return self.index.search(self.q, K)[1]

    def single(self, count):
        search = self.index.search_c
        for q, d, i in self.pointers[:count]:
            search(1, q, K, d, i)


class Kith:
    library = "kith"

    def __init__(self, data, spec, raw=False):
        rows, self.q = (data.raw, data.raw_queries) if raw else (data.base, data.queries)
        rows, self.q = np.ascontiguousarray(rows), np.ascontiguousarray(self.q)
        self.name, self.params = f"kith {spec} ({rows.dtype})", {}
        start = time.perf_counter()
        self.index = kith.build(spec, rows, metric=data.metric, threads=1)
        self.seconds = time.perf_counter() - start
        self.bytes = len(self.index.to_bytes()) / len(rows)

    def set(self, **params):
        self.params = {name: value for name, value in params.items() if value is not None}

    def batch(self):
        return self.index.search(self.q, k=K, threads=1, **self.params).ids

    def single(self, count):
        search, params = self.index.search, self.params
        for q in self.q[:count]:
            search(q, k=K, **params)


class Scann:
    library = "scann"

    def __init__(self, data, leaves):
        self.name, self.q, self.params = f"scann {leaves} leaves, AH 2 x 4 bits, reordered", data.queries, {}
        start = time.perf_counter()
        measure = "squared_l2" if data.metric == "l2" else "dot_product"
        self.index = (scann.scann_ops_pybind.builder(data.base, K, measure).set_n_training_threads(1)
                      .tree(num_leaves=leaves, num_leaves_to_search=leaves // 20, training_sample_size=128 * leaves)
                      .score_ah(2, anisotropic_quantization_threshold=0.2 if data.metric == "cosine" else float("nan"))
                      .reorder(100).build())
        self.seconds = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            self.index.serialize(folder)
            self.bytes = sum(f.stat().st_size for f in pathlib.Path(folder).rglob("*") if f.is_file()) / len(data.base)

    def set(self, nprobe=None, refine=None):
        self.params = {"leaves_to_search": nprobe, "pre_reorder_num_neighbors": refine * K}

    def batch(self):
        return self.index.search_batched(self.q, **self.params)[0].astype(np.int64)

    def single(self, count):
        search, params = self.index.search, self.params
        for q in self.q[:count]:
            search(q, **params)


def grid(data, nprobes, reranks):
    for nprobe in nprobes:
        if nprobe is None or nprobe <= data.nlist:
            for refine in reranks:
                yield {"nprobe": nprobe, "refine": refine}


def fastest(data, contender, settings, recalls):
    """{recall: the setting that reaches it in the least time}. More rows scored again never lower recall: of those that do not reach it with the most, no fewer are tried."""
    best = {recall: (float("inf"), None, 0.0) for recall in recalls}
    for nprobe in sorted({setting["nprobe"] for setting in settings}):
        reranks = [setting["refine"] for setting in settings if setting["nprobe"] == nprobe]
        missing = set(recalls)
        for at, refine in enumerate([reranks[-1], *reranks[:-1]]):
            setting = {"nprobe": nprobe, "refine": refine}
            contender.set(**setting)
            start = time.perf_counter()
            contender.single(100)
            seconds = time.perf_counter() - start
            if all(seconds > 1.1 * best[recall][0] for recall in missing):
                break
            found = data.recall(contender.batch())
            if at == 0:
                missing = {recall for recall in recalls if found >= recall}
            for recall in recalls:
                if found >= recall and seconds < best[recall][0]:
                    best[recall] = (seconds, setting, found)
            if at > 0:
                missing = {recall for recall in missing if found < recall}
            if not missing:
                break
        if all(seconds > 2 * best[recall][0] for recall in recalls):
            break
    return {recall: (setting, found) for recall, (_, setting, found) in best.items() if setting is not None}


def timed(contenders, repetitions, singles):
    """QPS of single queries and of a batch for each (contender, setting), in turn; the best counts."""
    best = [[0.0, 0.0] for _ in contenders]
    for _ in range(repetitions):
        for at, (contender, setting) in enumerate(contenders):
            contender.set(**setting)
            contender.single(min(20, singles))
            start = time.perf_counter()
            contender.single(singles)
            middle = time.perf_counter()
            contender.batch()
            end = time.perf_counter()
            best[at][0] = max(best[at][0], singles / (middle - start))
            best[at][1] = max(best[at][1], len(contender.q) / (end - middle))
    return best


def pairs(data, wanted):
    """(name, whether exact rows answer, contenders made on demand, settings)"""
    d, nlist = data.base.shape[1], data.nlist
    m8, m4 = max(1, d // 8), d // 2
    integers = data.raw.dtype == np.uint8 and data.metric == "l2"
    every = {
        "ivf": (True, [lambda: Faiss(data, f"IVF{nlist},Flat"), lambda: Kith(data, f"ivf(nlist={nlist})")] +
                ([lambda: Kith(data, f"ivf(nlist={nlist})", raw=True)] if integers else []), grid(data, NPROBES, [None])),
        "pq8": (False, [lambda: Faiss(data, f"PQ{m8}"), lambda: Kith(data, f"pq(m={m8})")], [{}]),
        "pq4": (False, [lambda: Faiss(data, f"PQ{2 * m8}x4fs"), lambda: Kith(data, f"pq(m={2 * m8},bits=4)")], [{}]),
        "ivf_pq8": (False, [lambda: Faiss(data, f"IVF{nlist},PQ{m8}"), lambda: Kith(data, f"ivf_pq(nlist={nlist},m={m8})")], grid(data, [FIXED], [None])),
        "ivf_pq4": (True, [lambda: Faiss(data, f"IVF{nlist},PQ{m4}x4fs,RFlat"), lambda: Kith(data, f"ivf_pq(nlist={nlist},m={m4},bits=4), refine f32"),
                           lambda: Kith(data, f"ivf(nlist={nlist}) over rabitq(bits=4), refine f32")] +
                    ([lambda: Scann(data, nlist)] if scann and "scann" in wanted else []), grid(data, NPROBES, RERANKS)),
    }
    for name, (exact, makers, settings) in every.items():
        if name in wanted:
            yield name, exact, makers, list(settings)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--metric", choices=("l2", "cosine"), default="l2")
    parser.add_argument("--pairs", default="ivf,pq8,pq4,ivf_pq8,ivf_pq4,scann")
    parser.add_argument("--recall", default="0.95,0.99")
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--nlist", type=int, default=None)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, default=None)
    args = parser.parse_args()
    wanted, recalls = args.pairs.split(","), [float(x) for x in args.recall.split(",")]
    faiss.omp_set_num_threads(1)
    data = Data(args.folder, args.metric, args.rows, args.queries)
    if args.nlist:
        data.nlist = args.nlist
    print(f"{pathlib.Path(args.folder).name}: {data.base.shape[0]} x {data.base.shape[1]}, {args.metric}, {len(data.queries)} queries, one thread\n")
    report = []
    with threadpool_limits(1):
        for name, exact, makers, settings in pairs(data, wanted):
            contenders = [make() for make in makers]
            runs = []  # (recall asked for, recall found, contender, setting)
            for contender in contenders:
                if exact:
                    runs += [(recall, found, contender, setting) for recall, (setting, found) in fastest(data, contender, settings, recalls).items()]
                else:
                    contender.set(**settings[0])
                    runs.append((None, data.recall(contender.batch()), contender, settings[0]))
            slow = not exact and len(data.base) > 200_000
            best = timed([(contender, setting) for _, _, contender, setting in runs], args.repetitions, 100 if slow else min(1000, len(data.queries)))
            print(f"| {name} | build s | file bytes a row | setting | recall@10 | single QPS | ratio | batch QPS | ratio |\n|---|---|---|---|---|---|---|---|---|")
            for target in sorted({run[0] for run in runs}, key=lambda x: x or 0):
                of = [(run, qps) for run, qps in zip(runs, best) if run[0] == target]
                base = next((qps for run, qps in of if run[2].library == "faiss"), None)
                for (_, found, contender, setting), (single, batch) in of:
                    ratios = [f"{x / y:.2f}" if base else "" for x, y in zip((single, batch), base or (1, 1))]
                    said = ", ".join(f"{key} {value}" for key, value in setting.items() if value is not None)
                    print(f"| {contender.name} | {contender.seconds:.1f} | {contender.bytes:.0f} | {said} | {found:.4f} | {single:,.0f} | {ratios[0]} | {batch:,.0f} | {ratios[1]} |")
                    report.append({"pair": name, "contender": contender.name, "target": target, "recall": found, "setting": setting, "single_qps": single,
                                   "batch_qps": batch, "build_seconds": contender.seconds, "bytes_per_row": contender.bytes})
            print(flush=True)
            del contenders, runs
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
