# SPDX-License-Identifier: Apache-2.0
"""Other libraries, behind the face of contenders.Contender.

Each is built as its own documentation recommends, on the same rows, and searched through the
cheapest call that it offers to Python: what that costs beyond the search is part of what its users
pay, as it is of ours. A library that is not installed takes no part; `available()` says which are.
"""

from __future__ import annotations

from typing import Callable, Optional

from .base import Peer, lists_for
from .graphs import Hnswlib, Pynndescent, Svs, SvsLvq, Usearch, Voyager, Vsag
from .partitions import Annoy, Faiss, Scann

__all__ = ["CLASSES", "PEERS", "Peer", "available"]


def _faiss_specs(rows: int, dim: int) -> list[str]:
    lists = lists_for(rows)
    return [
        "HNSW16",
        f"IVF{lists},Flat",
        *([f"IVF{lists},PQ{dim // 2}x4fs,RFlat"] if dim % 2 == 0 else []),
    ]


def _lvq_bits(dim: int) -> list[tuple[int, int]]:
    """What the guide of SVS advises: two levels for many dimensions, one and two for few."""
    return [(4, 8)] if dim >= 200 else [(8, 0), (8, 8)]


#: Name of a library -> its adapter.
CLASSES: dict[str, type[Peer]] = {
    one.library: one
    for one in (Faiss, Hnswlib, Usearch, Scann, Annoy, Voyager, Pynndescent, Svs, SvsLvq, Vsag)
}

_HNSW = {"max_degree": 16, "ef_construction": 200}
_HGRAPH = {
    "max_degree": 32,
    "ef_construction": 400,
    "base_quantization_type": "sq8_uniform",
    "use_reorder": True,
    "precise_quantization_type": "fp32",
}
_CODES = ", sq8_uniform reordered by fp32"

#: Name of a library -> the contenders it has for so many rows of so many dimensions.
PEERS: dict[str, Callable[[int, int], list[Callable[[], Peer]]]] = {
    "faiss": lambda rows, dim: [lambda s=spec: Faiss(s) for spec in _faiss_specs(rows, dim)],
    "hnswlib": lambda rows, dim: [lambda: Hnswlib("M=16, ef_construction=200")],
    "usearch": lambda rows, dim: [lambda: Usearch("connectivity=16, expansion_add=200")],
    "scann": lambda rows, dim: [lambda: Scann("tree, AH 2 x 4 bits, reordered")],
    "annoy": lambda rows, dim: [lambda: Annoy("100 trees")],
    "voyager": lambda rows, dim: [lambda: Voyager("M=16, ef_construction=200")],
    "pynndescent": lambda rows, dim: [lambda: Pynndescent("n_neighbors=30")],
    "svs": lambda rows, dim: [lambda: Svs(32, 200), lambda: Svs(64, 128)],
    "svs-lvq": lambda rows, dim: [lambda b=bits: SvsLvq(64, 128, *b) for bits in _lvq_bits(dim)],
    "pyvsag": lambda rows, dim: [
        lambda: Vsag("hnsw", _HNSW),
        lambda: Vsag("hgraph", _HGRAPH, _CODES),
    ],
}


def available(name: str, metric: Optional[str] = None) -> Optional[str]:
    """Why a library takes no part, with that metric if one is named; None where it does."""
    return CLASSES[name].absent(metric)
