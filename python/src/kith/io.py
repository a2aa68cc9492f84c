# SPDX-License-Identifier: Apache-2.0
"""Vector files of the field as numpy arrays, and back.

| ending | contents |
| --- | --- |
| .npy | numpy's own, two-dimensional |
| .fvecs .bvecs .ivecs | each row: int32 d, then d float32, uint8 or int32 |
| .fbin .f16bin .u8bin .i8bin .ibin | int32 n, int32 d, then n * d float32, float16, uint8, int8 or int32 |
| .hdf5 .h5 | ann-benchmarks: data sets train, test, neighbors, distances; "file.hdf5:train" names one |

Reading maps the file (HDF5 excepted), so that a file larger than memory opens at once; the arrays
are read-only.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, Iterator, Optional, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._core import (
    CorruptError,
    DimensionError,
    FileError,
    FileMissingError,
    InvalidArgumentError,
    TypeMismatchError,
)

PathLike = Union[str, "os.PathLike[str]"]

VECS: dict[str, np.dtype[Any]] = {
    ".fvecs": np.dtype("<f4"),
    ".bvecs": np.dtype("u1"),
    ".ivecs": np.dtype("<i4"),
}
BINS: dict[str, np.dtype[Any]] = {
    ".fbin": np.dtype("<f4"),
    ".f16bin": np.dtype("<f2"),
    ".u8bin": np.dtype("u1"),
    ".i8bin": np.dtype("i1"),
    ".ibin": np.dtype("<i4"),
}
HDF5 = (".hdf5", ".h5")
HEADS_CHECKED = 1 << 20
SUFFIXES = (".npy", *VECS, *BINS, *HDF5)


def split_path(path: PathLike) -> tuple[Path, Optional[str]]:
    """'file.hdf5:train' -> (file.hdf5, 'train'); other paths come back as they are."""
    text = os.fspath(path)
    head, colon, tail = text.rpartition(":")
    if colon and head.endswith(HDF5):
        return Path(head), tail
    return Path(text), None


def read_vectors(path: PathLike, dataset: str = "train") -> NDArray[Any]:
    """The rows of a vector file, (n, d), mapped where the format allows it.

    `dataset` is the HDF5 data set taken when the path does not name one. Raises
    FileError, CorruptError (truncated or inconsistent files, with the expected and the actual
    number of bytes) or InvalidArgumentError (unknown ending).
    """
    file, named = split_path(path)
    suffix = file.suffix.lower()
    with _os_errors(file):
        if suffix in HDF5:
            return _read_hdf5(file, named or dataset)
        if suffix not in SUFFIXES:
            raise InvalidArgumentError(
                f"{file}: unknown ending '{suffix}'; known: {', '.join(SUFFIXES)}"
            )
        if file.is_dir():
            raise FileError(f"{file}: is a directory, expected a file")
        if suffix == ".npy":
            return _read_npy(file)
        if suffix in VECS:
            return _read_vecs(file, VECS[suffix])
        return _read_bin(file, BINS[suffix])


def read_rows(
    path: PathLike, dataset: str, limit: Optional[int], dtype: Optional[str]
) -> NDArray[Any]:
    """What a command line names: the first rows of a file, converted. Bits that it holds as one bool each are packed."""
    rows = read_vectors(path, dataset=dataset)[:limit]
    if rows.dtype == np.bool_:
        return np.packbits(rows, axis=1)
    if dtype is None:
        return rows
    if dtype not in ("float32", "float16", "int8", "uint8"):
        raise InvalidArgumentError(
            f"--dtype must be float32, float16, int8 or uint8, not '{dtype}'"
        )
    return rows.astype(dtype)


def write_vectors(path: PathLike, array: ArrayLike) -> None:
    """Writes (n, d) rows in the format that the ending of `path` names, atomically.

    The elements must be of the format's type already: float32 for .fvecs and .fbin, uint8
    for .bvecs and .u8bin, and so on; integers that fit become int32 for .ivecs and .ibin. HDF5 is
    read only.
    """
    file = Path(os.fspath(path))
    suffix = file.suffix.lower()
    rows = np.asarray(array)
    if rows.ndim != 2:
        raise DimensionError(f"rows must be of shape (n, d), not {rows.shape}")
    if suffix not in (".npy", *VECS, *BINS):
        raise InvalidArgumentError(
            f"{file}: cannot write '{suffix}'; known: {', '.join(('.npy', *VECS, *BINS))}"
        )
    if suffix != ".npy":
        rows = _as_stored(rows, VECS.get(suffix) or BINS[suffix], suffix)
    with _os_errors(file), _atomic(file) as out:
        if suffix == ".npy":
            np.lib.format.write_array(out, np.ascontiguousarray(rows), allow_pickle=False)
        elif suffix in BINS:
            np.array(rows.shape, "<i4").tofile(out)
            np.ascontiguousarray(rows).tofile(out)
        else:
            for first in range(0, len(rows), 4096):
                block = rows[first : first + 4096]
                framed = np.empty(len(block), [("d", "<i4"), ("x", rows.dtype, (rows.shape[1],))])
                framed["d"], framed["x"] = rows.shape[1], block
                framed.tofile(out)


def _as_stored(rows: NDArray[Any], dtype: np.dtype[Any], suffix: str) -> NDArray[Any]:
    if rows.dtype == dtype:
        return rows
    if dtype.kind == "i" and dtype.itemsize == 4 and rows.dtype.kind in "iu":
        limits = np.iinfo(np.int32)
        if rows.size and not (limits.min <= rows.min() and rows.max() <= limits.max):
            raise InvalidArgumentError(
                f"{suffix} holds int32; values run from {rows.min()} to {rows.max()}"
            )
        return rows.astype(dtype)
    raise TypeMismatchError(
        f"{suffix} holds {dtype.name}, not {rows.dtype.name}; convert with array.astype('{dtype.name}')"
    )


@contextlib.contextmanager
def _os_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except FileError:
        raise
    except FileNotFoundError as error:
        raise FileMissingError(f"no such file: {file}") from error
    except OSError as error:
        raise FileError(f"{file}: {error.strerror or error}") from error


@contextlib.contextmanager
def _atomic(file: Path) -> Iterator[Any]:
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with open(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _check_size(file: Path, actual: int, expected: int, why: str) -> None:
    if actual != expected:
        raise CorruptError(f"{file}: expected {expected} bytes ({why}), found {actual}")


def _read_npy(file: Path) -> NDArray[Any]:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, SyntaxError) as error:
        size = file.stat().st_size
        raise CorruptError(f"{file}: not an intact .npy file of {size} bytes: {error}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise CorruptError(f"{file}: an archive, not a .npy file")
    if array.ndim != 2:
        raise DimensionError(f"{file}: expected an array (n, d), found shape {array.shape}")
    return array


def _read_bin(file: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    size = file.stat().st_size
    if size < 8:
        raise CorruptError(f"{file}: expected at least 8 bytes (rows, dimensions), found {size}")
    rows, dim = (int(x) for x in np.fromfile(file, "<u4", 2))
    _check_size(file, size, 8 + rows * dim * dtype.itemsize, f"{rows} rows of {dim} {dtype.name}")
    if rows * dim == 0:
        return np.empty((rows, dim), dtype)
    return np.memmap(file, dtype, "r", 8, (rows, dim))


def _read_vecs(file: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    size = file.stat().st_size
    if size == 0:
        return np.empty((0, 0), dtype)
    if size < 4:
        raise CorruptError(f"{file}: expected at least 4 bytes (dimensions), found {size}")
    dim = int(np.fromfile(file, "<i4", 1)[0])
    if dim <= 0:
        raise CorruptError(f"{file}: row 0 says {dim} dimensions")
    record = 4 + dim * dtype.itemsize
    if size % record != 0:
        raise CorruptError(
            f"{file}: expected a multiple of {record} bytes (rows of {dim} {dtype.name}), found {size}: "
            f"row {size // record} has {size % record} bytes"
        )
    raw = np.memmap(file, np.uint8, "r", 0, (size // record, record))
    _check_vecs_heads(file, raw, dim)
    return raw[:, 4:].view(dtype)


def _check_vecs_heads(file: Path, raw: NDArray[np.uint8], dim: int) -> None:
    step = -(
        -len(raw) // HEADS_CHECKED
    )  # all of them, unless that would read much of a very large file
    for first in range(0, len(raw), 65536 * step):
        heads = (
            np.ascontiguousarray(raw[first : first + 65536 * step : step, :4]).view("<i4").ravel()
        )
        wrong = np.flatnonzero(heads != dim)
        if wrong.size:
            row = first + int(wrong[0]) * step
            raise CorruptError(
                f"{file}: row {row} says {heads[wrong[0]]} dimensions, expected {dim}"
            )


def _read_hdf5(file: Path, name: str) -> NDArray[Any]:
    import h5py  # type: ignore[import-untyped]

    if not file.exists():
        raise FileNotFoundError(file)
    try:
        with h5py.File(file, "r") as root:
            if name not in root or not isinstance(root[name], h5py.Dataset):
                known = ", ".join(key for key in root if isinstance(root[key], h5py.Dataset))
                raise InvalidArgumentError(
                    f"{file}: no data set '{name}'; it holds: {known or 'none'}"
                )
            data = root[name]
            if data.ndim != 2:
                raise DimensionError(
                    f"{file}:{name}: expected an array (n, d), found shape {data.shape}"
                )
            array: NDArray[Any] = data[:]
            return array
    except OSError as error:
        raise CorruptError(
            f"{file}: not an intact HDF5 file of {file.stat().st_size} bytes: {error}"
        ) from error
