# SPDX-License-Identifier: Apache-2.0
"""What is refused, with which exception, and what the message says."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import kith

# --- refusals -------------------------------------------------------------------------------------


def test_exception_classes():
    families = {
        kith.InvalidArgumentError: (ValueError, "invalid_argument"),
        kith.DimensionError: (ValueError, "dimension_mismatch"),
        kith.TypeMismatchError: (TypeError, "type_mismatch"),
        kith.NotFiniteError: (ValueError, "not_finite"),
        kith.UnsupportedError: (NotImplementedError, "unsupported"),
        kith.NotFoundError: (LookupError, "not_found"),
        kith.AlreadyExistsError: (ValueError, "already_exists"),
        kith.FileError: (OSError, "io"),
        kith.FileMissingError: (FileNotFoundError, "not_found"),
        kith.CorruptError: (ValueError, "corrupt"),
        kith.VersionError: (ValueError, "version"),
        kith.CancelledError: (Exception, "cancelled"),
        kith.OutOfMemoryError: (MemoryError, "out_of_memory"),
    }
    for cls, (built_in, code) in families.items():
        assert issubclass(cls, kith.Error) and issubclass(cls, built_in) and cls.code == code
        assert cls.__module__ == "kith" and pickle.loads(pickle.dumps(cls("x"))).args == ("x",)


BASE = np.zeros((10, 4), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            ("flat", np.zeros((3, 4))),
            kith.TypeMismatchError,
            r"float64; convert with array.astype\(numpy.float32\)",
        ),
        (("flat", np.zeros((3, 4), np.int32)), kith.TypeMismatchError, "int32"),
        (("flat", np.zeros((3, 4), bool)), kith.TypeMismatchError, "packbits"),
        (("flat", np.zeros((3, 4), complex)), kith.TypeMismatchError, "complex128"),
        (("flat", np.array([["a"]])), kith.TypeMismatchError, "<U1"),
        (("flat", np.zeros(4, np.float32)), kith.DimensionError, r"\(n, d\), not \(4,\)"),
        (("flat", np.zeros((1, 1, 4), np.float32)), kith.DimensionError, r"\(1, 1, 4\)"),
        (("flat", np.float32(3)), kith.DimensionError, r"\(\)"),
        (("flat", [[1, 2], [3]]), kith.TypeMismatchError, "base"),
        (("flat", np.full((3, 4), np.nan, np.float32)), kith.NotFiniteError, "row 0"),
        (("flat", np.full((3, 4), np.inf, np.float16)), kith.NotFiniteError, "row 0"),
        (("flut", BASE), kith.InvalidArgumentError, "flut.*flat"),
        (("", BASE), kith.InvalidArgumentError, "kind"),
        (("flat(", BASE), kith.InvalidArgumentError, r"'\)'"),
        (("flat(m=3)", BASE), kith.InvalidArgumentError, "unknown parameter 'm'"),
        ((3, BASE), kith.TypeMismatchError, "spec"),
        (("flat", BASE, "l3"), kith.InvalidArgumentError, "l3.*known.*l2"),
        (("flat", BASE, "hamming"), kith.UnsupportedError, "hamming/f32"),
        (("flat", BASE, 3), kith.TypeMismatchError, "metric"),
        (("flat", BASE, "l2", 1, 0.5), kith.TypeMismatchError, "seed"),
        (("flat", BASE, "l2", 1, -1), kith.InvalidArgumentError, "seed"),
        (("flat", BASE, "l2", 1, 0, None, "no"), kith.TypeMismatchError, "copy"),
        (("flat", BASE, "l2", 0), kith.InvalidArgumentError, "threads"),
        (("flat", BASE, "l2", -3), kith.InvalidArgumentError, "-3"),
        (("flat", BASE, "l2", 1.5), kith.TypeMismatchError, "1.5"),
        (
            ("flat", BASE, "l2", 1, 0, [1, 2]),
            kith.DimensionError,
            "expected 10 ids, one for each row, got 2",
        ),
        (("flat", BASE, "l2", 1, 0, [3] * 10), kith.AlreadyExistsError, "3"),
        (("flat", BASE, "l2", 1, 0, np.arange(10) - 1), kith.InvalidArgumentError, "-1"),
        (
            ("flat", BASE, "l2", 1, 0, np.arange(10.0)),
            kith.TypeMismatchError,
            "integers, not float64",
        ),
        (
            ("flat", BASE, "l2", 1, 0, np.zeros((10, 1), int)),
            kith.DimensionError,
            "one-dimensional",
        ),
        (("flat", BASE, "l2", 1, 0, None, False, "maybe"), kith.InvalidArgumentError, "maybe"),
    ],
)
def test_bad_builds(arguments, error, words):
    with pytest.raises(error, match=words) as caught:
        kith.build(*arguments)
    assert isinstance(caught.value, (ValueError, TypeError, NotImplementedError))


def test_unknown_parameters_list_the_known_ones():
    with pytest.raises(
        kith.InvalidArgumentError, match="unknown parameter 'ef_construction' of flat; known: none"
    ):
        kith.build("flat", BASE, ef_construction=3)
    with pytest.raises(
        kith.InvalidArgumentError, match="unknown parameter 'ef' of flat; known: none"
    ):
        kith.build("flat", BASE).search(BASE, ef=3)
    with pytest.raises(kith.InvalidArgumentError, match="unknown parameter 'ef'"):
        kith.build("flat", BASE).range_search(BASE, 1.0, ef=3)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "words"),
    [
        ((BASE[:2, :3],), {}, kith.DimensionError, "expected queries of 4 elements, got 3"),
        ((BASE[:2].astype(np.float64),), {}, kith.TypeMismatchError, "float64"),
        ((np.zeros((1, 1, 4), np.float32),), {}, kith.DimensionError, r"\(n, d\) or \(d,\)"),
        ((np.full(4, np.nan, np.float32),), {}, kith.NotFiniteError, "query"),
        ((object(),), {}, kith.DimensionError, "queries"),
        ((["a", "b"],), {}, kith.TypeMismatchError, "<U1"),
        ((BASE,), {"k": 0}, kith.InvalidArgumentError, "k must be at least 1, not 0"),
        ((BASE,), {"k": -2}, kith.InvalidArgumentError, "-2"),
        ((BASE,), {"k": 2.0}, kith.TypeMismatchError, "k must be an integer, not 2.0"),
        ((BASE,), {"k": "3"}, kith.TypeMismatchError, "'3'"),
        ((BASE,), {"threads": 0}, kith.InvalidArgumentError, "threads"),
        ((BASE,), {"threads": 100_000}, kith.InvalidArgumentError, "1024"),
        ((BASE,), {"ef": object()}, kith.TypeMismatchError, "ef"),
        ((BASE,), {"ef": 2**70}, kith.InvalidArgumentError, "out of range"),
        ((BASE, 3), {"k": 3}, kith.TypeMismatchError, "two values for 'k'"),
        ((), {}, kith.TypeMismatchError, "needs queries"),
        ((BASE, 3, 1, None, 5), {}, kith.TypeMismatchError, "at most 4"),
    ],
)
def test_bad_searches(arguments, keywords, error, words):
    index = kith.build("flat", BASE)
    with pytest.raises(error, match=words):
        index.search(*arguments, **keywords)
    assert index.search(queries=BASE[0], k=np.int32(3), threads=np.int64(1)).ids.tolist() == [
        0,
        1,
        2,
    ]


def test_bad_arguments_elsewhere():
    index = kith.build("flat", BASE)
    for call, error in (
        (lambda: index.row("a"), kith.TypeMismatchError),
        (lambda: index.row(10**30), kith.NotFoundError),
        (lambda: index.row(-1), kith.NotFoundError),
        (lambda: index.range_search(BASE, "near"), kith.TypeMismatchError),
        (lambda: index.add(BASE[:1], not_finite=3), kith.InvalidArgumentError),
        (lambda: index.remove("a"), kith.DimensionError),
        (lambda: index.remove([0.5]), kith.TypeMismatchError),
        (lambda: kith.from_bytes(3), kith.TypeMismatchError),
        (lambda: kith.load(3), kith.TypeMismatchError),
        (lambda: kith.verify(None), kith.TypeMismatchError),
    ):
        with pytest.raises(error):
            call()
    assert 10**30 not in index and len(index) == 10


def test_wrong_receivers():
    with pytest.raises(TypeError):
        kith.Index.search(3, BASE)
    with pytest.raises(TypeError):
        kith.Index()
