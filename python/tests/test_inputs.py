# SPDX-License-Identifier: Apache-2.0
"""Rows that are tensors of DLPack or columns of Arrow instead of arrays of numpy."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest

import kith
from kith._inputs import as_rows


class Tensor:
    """Has DLPack and nothing else: neither numpy's protocols nor a buffer."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device = array, device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


class Arrow:
    """Has Arrow's C data interface and nothing else."""

    def __init__(self, array):
        self.array = array

    def __arrow_c_array__(self, requested_schema=None):
        return self.array.__arrow_c_array__(requested_schema)


def same(index, rows):
    np.testing.assert_array_equal(np.stack([index.row(int(i)) for i in index.ids()]), rows)
    return True


@pytest.fixture
def rows(rng):
    return rng.standard_normal((50, 6)).astype(np.float32)


@pytest.mark.parametrize("given", [
    np.zeros((2, 3), np.float32), [[1.0, 2.0]], ((1.0, 2.0),), memoryview(b"ab"), "text", None, 3,
])  # fmt: skip
def test_what_is_no_tensor_or_column_comes_back_as_it_is(given):
    assert as_rows(given) is given


def test_an_array_by_its_own_protocol_comes_back_as_it_is(rows):
    class Like:
        def __array__(self, dtype=None, copy=None):
            return rows

    like = Like()
    assert as_rows(like) is like
    assert same(kith.build("flat", like), rows)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_tensors_are_used_where_they_lie(rows, dtype):
    typed = (rows * 10).astype(dtype)
    assert np.shares_memory(as_rows(Tensor(typed)), typed)
    index = kith.build("flat", Tensor(typed))
    assert index.dtype == typed.dtype and same(index, typed)
    if dtype == "float32":
        typed[3] = 100
        assert index.row(3)[0] == 100


def test_tensors_everywhere(rows):
    index = kith.build("flat", Tensor(rows))
    plain = kith.build("flat", rows)
    wanted = plain.search(rows[:7], k=5)
    found = index.search(Tensor(rows[:7]), k=5)
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.distances, wanted.distances)
    np.testing.assert_array_equal(index.search(Tensor(rows[2]), k=5).ids, wanted.ids[2])
    assert next(iter(index.iterate(Tensor(rows[2]))))[0] == 2
    assert index.range_search(Tensor(rows[:2]), 1e-3).ids.tolist() == [0, 1]
    index.add(Tensor(rows[:3] + 1), ids=[100, 101, 102])
    assert len(index) == 53
    made = kith.kmeans(Tensor(rows), 4)
    np.testing.assert_array_equal(made.assign(Tensor(rows))[0], made.assign(rows)[0])
    trained = kith.train("ivf(nlist=4)", Tensor(rows))
    assert len(trained) == 0


def test_a_tensor_lives_as_long_as_the_index(rows):
    held = rows.copy()
    gone = weakref.ref(held)
    index = kith.build("flat", Tensor(held))
    del held
    gc.collect()
    assert gone() is not None and same(index, rows)
    del index
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("device, name", [((2, 1), "CUDA, number 1"), ((8, 0), "Metal"), ((77, 0), "kind 77")])
def test_tensors_on_a_device_are_refused(rows, device, name):
    tensor = Tensor(rows, device)
    with pytest.raises(kith.TypeMismatchError, match=f"base are on a device .*{name}.*tensor.cpu"):
        kith.build("flat", tensor)
    index = kith.build("flat", rows)
    with pytest.raises(kith.TypeMismatchError, match="queries are on a device"):
        index.search(tensor)
    with pytest.raises(kith.TypeMismatchError, match="rows are on a device"):
        index.add(tensor)
    assert len(index) == 50


def test_what_numpy_cannot_take_is_refused(rows):
    class Meta(Tensor):
        def __dlpack_device__(self):
            raise ValueError("Unknown device type meta")

    class Broken(Tensor):
        def __dlpack__(self, **options):
            raise BufferError("a gradient is wanted")

    class Both(Broken):
        def __array__(self, dtype=None, copy=None):
            return self.array

    with pytest.raises(kith.TypeMismatchError, match="device .*Unknown device type meta"):
        as_rows(Meta(rows))
    with pytest.raises(kith.TypeMismatchError, match="DLPack: a gradient is wanted"):
        as_rows(Broken(rows))
    assert same(kith.build("flat", Both(rows)), rows)
    with pytest.raises(kith.TypeMismatchError, match="not float64"):
        kith.build("flat", Tensor(rows.astype(np.float64)))
    with pytest.raises(kith.DimensionError, match=r"\(n, d\)"):
        kith.build("flat", Tensor(rows[0]))


def column(array, pa, kind=None):
    """Of a pyarrow type: lists of fixed length, lists, long lists."""
    values = pa.array(array.ravel())
    if kind is None:
        return pa.FixedSizeListArray.from_arrays(values, array.shape[1])
    offsets = np.arange(0, array.size + 1, array.shape[1])
    if kind == "list":
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
@pytest.mark.parametrize("kind", [None, "list", "large"])
def test_columns_are_used_where_they_lie(rows, dtype, kind):
    pa = pytest.importorskip("pyarrow")
    typed = (rows * 10).astype(dtype)
    for given in (column(typed, pa, kind), Arrow(column(typed, pa, kind))):
        made = as_rows(given)
        assert made.dtype == typed.dtype and np.shares_memory(made, typed)
        assert same(kith.build("flat", given), typed)


def test_columns_everywhere(rows):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"id": np.arange(50), "vector": column(rows, pa)})
    index = kith.build("flat", table["vector"], ids=table["id"])
    assert same(index, rows)
    wanted = kith.build("flat", rows).search(rows[:7], k=5).ids
    np.testing.assert_array_equal(index.search(column(rows[:7], pa), k=5).ids, wanted)
    np.testing.assert_array_equal(index.search(pa.array(rows[2]), k=5).ids, wanted[2])
    index.add(column(rows[:3] + 1, pa))
    assert len(index) == 53
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(rows)
    assert np.shares_memory(as_rows(tensors), rows)
    del table
    gc.collect()
    np.testing.assert_array_equal(index.search(rows[:7], k=1).ids.ravel(), np.arange(7))


def test_chunks_and_slices(rows):
    pa = pytest.importorskip("pyarrow")
    whole = column(rows, pa)
    np.testing.assert_array_equal(as_rows(whole[7:21]), rows[7:21])
    np.testing.assert_array_equal(as_rows(column(rows, pa, "list")[7:21]), rows[7:21])
    np.testing.assert_array_equal(as_rows(pa.chunked_array([whole[:9], whole[9:9], whole[9:]])), rows)
    one = pa.chunked_array([whole])
    assert np.shares_memory(as_rows(one), rows)
    assert as_rows(pa.chunked_array([], whole.type)).shape == (0, 6)
    assert as_rows(whole[:0]).shape == (0, 6)
    assert as_rows(column(rows, pa, "list")[:0]).shape == (0, 0)
    fresh = as_rows(pa.chunked_array([column(rows.copy(), pa)]))
    gc.collect()
    np.testing.assert_array_equal(fresh, rows)


def test_nulls_are_refused(rows):
    pa = pytest.importorskip("pyarrow")
    kind = pa.list_(pa.float32(), 2)
    for values in ([[1, 2], None, [3, 4]], [[1, 2], [3, None], [5, 6]]):
        for given in (pa.array(values, kind), pa.array(values, pa.list_(pa.float32()))):
            with pytest.raises(kith.InvalidArgumentError, match="base have 1 nulls"):
                kith.build("flat", given)
            with pytest.raises(kith.InvalidArgumentError, match="rows have 1 nulls"):
                as_rows(pa.chunked_array([given[:1], given[1:]]))
            np.testing.assert_array_equal(as_rows(given[:1]), [[1, 2]])
            np.testing.assert_array_equal(as_rows(given[2:]), [values[2]])
    with pytest.raises(kith.InvalidArgumentError, match="queries have 1 nulls"):
        kith.build("flat", rows[:, :2].copy()).search(pa.array([1, None], pa.float32()))
    many = np.arange(100) % 3 == 0
    with pytest.raises(kith.InvalidArgumentError, match=f"{many[5:].sum()} nulls"):
        as_rows(pa.array(np.zeros(100, np.float32), mask=many)[5:])


def test_other_types_of_columns_are_refused(rows):
    pa = pytest.importorskip("pyarrow")
    with pytest.raises(kith.TypeMismatchError, match=r"not float64 \(Arrow's type fixed_size_list.*cast"):
        kith.build("flat", column(rows.astype(np.float64), pa))
    with pytest.raises(kith.TypeMismatchError, match="not of Arrow's type string"):
        kith.build("flat", pa.array(["a"]))
    with pytest.raises(kith.TypeMismatchError, match="bool"):
        kith.build("flat", pa.array([[True]], pa.list_(pa.bool_(), 1)))
    with pytest.raises(kith.TypeMismatchError, match="dictionary"):
        as_rows(pa.array([1.0], pa.float32()).dictionary_encode())
    for ragged in (pa.array([[1, 2], [3]], pa.list_(pa.float32())), ):
        with pytest.raises(kith.DimensionError, match="lists of one length, found 1 to 2"):
            as_rows(ragged)
        with pytest.raises(kith.DimensionError, match="lists of one length, found 1 to 2"):
            as_rows(pa.chunked_array([ragged[:1], ragged[1:]]))


def test_a_table_of_columns_is_for_numpy(rows):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({f"x{i}": rows[:, i] for i in range(6)})
    assert as_rows(table) is table


def test_columns_of_polars(rows):
    pl = pytest.importorskip("polars")
    series = pl.Series("v", rows)
    assert same(kith.build("flat", series), rows)
    assert same(kith.build("flat", pl.concat([series[:9], series[9:]], rechunk=False)), rows)
    assert same(kith.build("flat", series.cast(pl.List(pl.Float32))), rows)
    for values in ([[1, 2], None], [[1, None]]):
        with pytest.raises(kith.InvalidArgumentError, match="1 nulls"):
            as_rows(pl.Series("v", values, dtype=pl.Array(pl.Float32, 2)))


def test_columns_of_pandas(rows):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(rows)
    assert as_rows(frame) is frame and same(kith.build("flat", frame), rows)
    numbers = frame[0]
    assert as_rows(numbers) is numbers


def test_tensors_of_torch(rows):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(rows)
    assert np.shares_memory(as_rows(tensor), rows)
    index = kith.build("flat", tensor)
    assert same(index, rows) and same(kith.build("flat", tensor.T), rows.T)
    assert index.search(tensor[:7], k=1).ids.ravel().tolist() == list(range(7))
    with pytest.raises(kith.TypeMismatchError, match="requires? grad"):
        kith.build("flat", tensor.clone().requires_grad_())
    with pytest.raises(kith.TypeMismatchError, match="device .*meta"):
        kith.build("flat", tensor.to("meta"))
    ml_dtypes = pytest.importorskip("ml_dtypes")
    short = as_rows(tensor.bfloat16())
    assert short.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(short, rows.astype(ml_dtypes.bfloat16))
    assert kith.build("flat", tensor.bfloat16()).element_type == "bf16"


def test_arrays_of_jax(rows):
    jnp = pytest.importorskip("jax.numpy")
    index = kith.build("flat", jnp.asarray(rows))
    assert same(index, rows)
    assert index.search(jnp.asarray(rows[3]), k=1).ids.tolist() == [3]


def test_nothing_is_imported_for_it(rows):
    before = set(sys.modules)
    as_rows(Tensor(rows))
    as_rows(object())
    assert not {"torch", "jax", "pyarrow", "polars", "pandas"} & (set(sys.modules) - before)
