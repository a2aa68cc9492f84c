# SPDX-License-Identifier: Apache-2.0
"""Vector files: every format there and back, and what damaged ones say."""

from __future__ import annotations

import os

import numpy as np
import pytest

import kith
from kith.io import split_path

FORMATS = {
    ".npy": np.float32,
    ".fvecs": np.float32,
    ".bvecs": np.uint8,
    ".ivecs": np.int32,
    ".fbin": np.float32,
    ".f16bin": np.float16,
    ".u8bin": np.uint8,
    ".i8bin": np.int8,
    ".ibin": np.int32,
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("shape", [(50, 7), (1, 1), (5000, 3)])
def test_there_and_back(rng, tmp_path, suffix, shape):
    rows = rng.integers(0, 100, shape).astype(FORMATS[suffix])
    path = tmp_path / f"x{suffix}"
    kith.write_vectors(path, rows)
    got = kith.read_vectors(str(path))
    assert got.dtype == rows.dtype and got.shape == shape and not got.flags.writeable
    np.testing.assert_array_equal(got, rows)
    assert os.listdir(tmp_path) == [path.name]
    kith.write_vectors(path, rows[::2])  # over what is there, from a strided array
    np.testing.assert_array_equal(kith.read_vectors(path), rows[::2])


def test_layouts_of_the_field(tmp_path):
    (tmp_path / "a.fvecs").write_bytes(
        b"\x02\0\0\0"
        + np.array([1, 2], "<f4").tobytes()
        + b"\x02\0\0\0"
        + np.array([3, 4], "<f4").tobytes()
    )
    assert kith.read_vectors(tmp_path / "a.fvecs").tolist() == [[1, 2], [3, 4]]
    (tmp_path / "a.u8bin").write_bytes(b"\x02\0\0\0\x03\0\0\0" + bytes(range(6)))
    assert kith.read_vectors(tmp_path / "a.u8bin").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "suffix", [".fvecs", ".bvecs", ".fbin", ".u8bin", ".npy", ".f16bin", ".i8bin"]
)
def test_an_index_maps_the_file_without_copying(rng, tmp_path, suffix):
    rows = rng.integers(0, 100, (300, 8)).astype(FORMATS[suffix])
    path = tmp_path / f"x{suffix}"
    kith.write_vectors(path, rows)
    index = kith.build("flat", path)
    assert index.describe()["storage"] == "borrowed"
    np.testing.assert_array_equal(index.search(rows[:5], k=1).distances.ravel(), np.zeros(5))
    np.testing.assert_array_equal(index.row(17), rows[17])


@pytest.mark.parametrize("suffix", FORMATS)
def test_truncated_files(rng, tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    kith.write_vectors(path, rng.integers(0, 100, (10, 6)).astype(FORMATS[suffix]))
    good = path.read_bytes()
    for length in {1, 3, 5, 7, 9, len(good) // 2 + 1, len(good) - 1}:
        path.write_bytes(good[:length])
        with pytest.raises(kith.CorruptError, match=str(path)):
            kith.read_vectors(path)
    path.write_bytes(good[:-1])
    with pytest.raises(kith.CorruptError, match=str(len(good) - 1)):
        kith.read_vectors(path)
    if suffix != ".npy" and not suffix.endswith("vecs"):
        path.write_bytes(good + b"x")
        with pytest.raises(
            kith.CorruptError, match=f"expected {len(good)} bytes .* found {len(good) + 1}"
        ):
            kith.read_vectors(path)


def test_inconsistent_files(tmp_path):
    path = tmp_path / "x.fvecs"
    rows = np.zeros((4, 3), "<f4")
    framed = np.concatenate([np.full((4, 1), 3, "<i4").view("<f4"), rows], axis=1)
    framed.view("<i4")[2, 0] = 5
    framed.tofile(path)
    with pytest.raises(kith.CorruptError, match="row 2 says 5 dimensions, expected 3"):
        kith.read_vectors(path)
    path.write_bytes(b"\xff\xff\xff\xff" * 4)
    with pytest.raises(kith.CorruptError, match="row 0 says -1"):
        kith.read_vectors(path)
    path.write_bytes(b"")
    assert kith.read_vectors(path).shape == (0, 0)
    big = tmp_path / "x.fbin"
    big.write_bytes(b"\xff" * 8)
    with pytest.raises(kith.CorruptError, match="found 8"):
        kith.read_vectors(big)
    np.save(tmp_path / "flat.npy", np.zeros(4))
    with pytest.raises(kith.DimensionError, match=r"\(4,\)"):
        kith.read_vectors(tmp_path / "flat.npy")
    np.save(tmp_path / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(kith.CorruptError):
        kith.read_vectors(tmp_path / "objects.npy")
    np.savez(tmp_path / "z", a=np.zeros((2, 2)))
    (tmp_path / "z.npz").rename(tmp_path / "z.npy")
    with pytest.raises(kith.CorruptError, match="archive"):
        kith.read_vectors(tmp_path / "z.npy")


def test_other_errors(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        kith.read_vectors(tmp_path / "none.fvecs")
    assert isinstance(caught.value, kith.Error)
    with pytest.raises(kith.InvalidArgumentError, match=r"'\.txt'; known: \.npy, \.fvecs"):
        kith.read_vectors(tmp_path / "x.txt")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(kith.FileError, match="directory"):
        kith.read_vectors(tmp_path / "folder.npy")
    with pytest.raises(kith.FileMissingError):
        kith.write_vectors(tmp_path / "no" / "x.npy", np.zeros((1, 1)))
    with pytest.raises(kith.TypeMismatchError, match="float32, not float64"):
        kith.write_vectors(tmp_path / "x.fvecs", np.zeros((1, 1)))
    with pytest.raises(kith.DimensionError):
        kith.write_vectors(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(kith.InvalidArgumentError, match="cannot write"):
        kith.write_vectors(tmp_path / "x.hdf5", np.zeros((1, 1)))
    with pytest.raises(kith.InvalidArgumentError, match="int32"):
        kith.write_vectors(tmp_path / "x.ivecs", np.array([[2**40]]))
    kith.write_vectors(tmp_path / "x.ivecs", np.array([[-1, 2**31 - 1]]))
    assert kith.read_vectors(tmp_path / "x.ivecs").tolist() == [[-1, 2**31 - 1]]


def test_hdf5(rng, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "set.hdf5"
    train, test = rng.random((30, 4), dtype=np.float32), rng.random((5, 4), dtype=np.float32)
    with h5py.File(path, "w") as root:
        root["train"], root["test"] = train, test
        root["scalar"] = 3
        root.create_group("group")
    np.testing.assert_array_equal(kith.read_vectors(path), train)
    np.testing.assert_array_equal(kith.read_vectors(f"{path}:test"), test)
    np.testing.assert_array_equal(kith.read_vectors(path, dataset="test"), test)
    with pytest.raises(kith.InvalidArgumentError, match="'nope'; it holds: scalar, test, train"):
        kith.read_vectors(f"{path}:nope")
    with pytest.raises(kith.InvalidArgumentError):
        kith.read_vectors(f"{path}:group")
    with pytest.raises(kith.DimensionError):
        kith.read_vectors(f"{path}:scalar")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(kith.CorruptError, match="100 bytes"):
        kith.read_vectors(path)
    with pytest.raises(kith.FileMissingError):
        kith.read_vectors(tmp_path / "none.h5")
    assert split_path("a/b:c.npy") == (split_path("a/b:c.npy")[0], None)
