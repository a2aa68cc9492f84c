# SPDX-License-Identifier: Apache-2.0
"""Rows, queries and true neighbours of a folder, as the comparisons of this folder use them."""
import pathlib
import sys

import numpy as np

import kith

K = 10


def find(folder, stem):
    found = sorted(p for p in pathlib.Path(folder).iterdir() if p.stem == stem)
    if not found:
        sys.exit(f"no {stem}.* in {folder}")
    return kith.read_vectors(found[0])


class Data:
    """Rows as they lie, as f32, and for cosine brought to length 1."""

    def __init__(self, folder, metric, rows, queries):
        self.metric = metric
        self.raw, self.raw_queries = find(folder, "base")[:rows], find(folder, "query")[:queries]
        self.base, self.queries = (np.ascontiguousarray(x, np.float32) for x in (self.raw, self.raw_queries))
        if metric == "cosine":
            self.base, self.queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (self.base, self.queries))
        self.base.flags.writeable = False
        if rows is None:
            self.bound = find(folder, "gt_dist")[:queries, K - 1].astype(np.float64)
        else:
            self.bound = kith.build("flat", self.base, metric=metric).search(self.queries, k=K).distances[:, -1].astype(np.float64)
        self.nlist = max(16, 1 << round(np.log2(np.sqrt(len(self.base)))))

    def recall(self, ids):
        """Whatever the contender says of distances, they are computed again here."""
        right = 0
        for q, row, bound in zip(self.queries.astype(np.float64), np.asarray(ids), self.bound):
            row = np.unique(row[row >= 0])
            x = self.base[row].astype(np.float64)
            exact = ((x - q) ** 2).sum(1) if self.metric == "l2" else 1 - x @ q
            right += int((exact <= bound + 1e-5 * abs(bound) + 1e-6).sum())
        return right / (K * len(self.queries))
