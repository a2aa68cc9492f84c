# SPDX-License-Identifier: Apache-2.0
"""Rows of other libraries as numpy arrays: tensors by DLPack, columns by Arrow's C data interface.

Both are protocols, so nothing is imported: PyTorch, JAX and TensorFlow have the one, pyarrow, polars,
pandas and nanoarrow the other. The memory is used where it lies; of a column in several chunks it is
copied once. _core calls as_rows for whatever is neither an array, nor a sequence, nor a buffer.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from ._core import DimensionError, InvalidArgumentError, TypeMismatchError

#: DLPack's numbers of devices. numpy reads those whose memory the processor sees.
HOSTS = (1, 3, 11, 13)
DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 14: "oneAPI", 15: "WebGPU"}

#: Arrow's codes of types. bool ("b") is missing as its elements are bits.
ELEMENTS: dict[str, np.dtype[Any]] = {
    "e": np.dtype(np.float16),
    "f": np.dtype(np.float32),
    "g": np.dtype(np.float64),
    "c": np.dtype(np.int8),
    "C": np.dtype(np.uint8),
    "s": np.dtype(np.int16),
    "S": np.dtype(np.uint16),
    "i": np.dtype(np.int32),
    "I": np.dtype(np.uint32),
    "l": np.dtype(np.int64),
    "L": np.dtype(np.uint64),
}
OFFSETS: dict[str, np.dtype[Any]] = {"+l": np.dtype(np.int32), "+L": np.dtype(np.int64)}


def as_rows(given: Any, what: str = "rows") -> Any:
    """A numpy array of what DLPack or Arrow hand out; anything else comes back as it is.

    `what` names the argument in messages.
    """
    if isinstance(given, (np.ndarray, list, tuple)):
        return given
    dtype = getattr(given, "dtype", None)
    numbers = isinstance(dtype, np.dtype) and dtype.kind in "fiu"
    if not numbers and not hasattr(given, "columns"):  # of a table numpy makes a column a dimension
        try:
            if hasattr(given, "__arrow_c_array__"):
                return _of_arrow_array(given, what)
            if hasattr(given, "__arrow_c_stream__"):
                return _of_arrow_stream(given, what)
        except ImportError:  # pandas has it only where pyarrow is installed
            return given
    if hasattr(given, "__dlpack__"):
        return _of_dlpack(given, what)
    return given


def _of_dlpack(given: Any, what: str) -> Any:
    try:
        kind, number = given.__dlpack_device__() if hasattr(given, "__dlpack_device__") else (1, 0)
    except Exception as error:  # such as PyTorch's meta, which is not any device of DLPack's
        raise TypeMismatchError(
            f"{what} are on a device that numpy cannot read: {error}"
        ) from error
    if int(kind) not in HOSTS:
        name = DEVICES.get(int(kind), f"of DLPack's kind {int(kind)}")
        raise TypeMismatchError(
            f"{what} are on a device ({name}, number {number}), expected them in the memory of the CPU: "
            "copy them there first, as tensor.cpu() or cupy.asnumpy(array) do"
        )
    try:
        return np.from_dlpack(given)
    except Exception as error:
        if hasattr(given, "__array__"):  # such as bfloat16, which numpy has no DLPack of
            return _bfloat16_of_torch(given)
        raise TypeMismatchError(f"{what}: numpy cannot take this by DLPack: {error}") from error


def _bfloat16_of_torch(given: Any) -> Any:
    """The bits of a tensor of bfloat16, which PyTorch does not give to numpy. Others as they are."""
    if str(getattr(given, "dtype", "")) != "torch.bfloat16":
        return given
    try:
        import ml_dtypes
    except ImportError:
        return given
    torch = sys.modules["torch"]
    return given.detach().view(torch.int16).numpy().view(ml_dtypes.bfloat16)


class _Schema(ctypes.Structure):
    pass


class _Array(ctypes.Structure):
    pass


class _Stream(ctypes.Structure):
    pass


# https://arrow.apache.org/docs/format/CDataInterface.html, CStreamInterface.html
_Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_void_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(_Schema))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Schema))),
    ("private_data", ctypes.c_void_p),
]
_Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))),
    ("private_data", ctypes.c_void_p),
]
_Stream._fields_ = [
    (
        "get_schema",
        ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Schema)),
    ),
    ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Array))),
    ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.POINTER(_Stream))),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Stream))),
    ("private_data", ctypes.c_void_p),
]
_pointer_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _struct(kind: Any, capsule: Any, name: bytes) -> Any:
    return kind.from_address(_pointer_in(capsule, name))


class _Memory:
    """What numpy makes an array of, which keeps the owner alive."""

    def __init__(
        self, owner: Any, address: Optional[int], count: int, dtype: np.dtype[Any]
    ) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "shape": (count,),
            "typestr": dtype.str,
            "data": (address or 0, True),
        }


class _Chunk:
    """An array that a stream gave, to be released by whom it was given to."""

    def __init__(self) -> None:
        self.array = _Array()

    def __del__(self) -> None:
        if self.array.release:
            self.array.release(ctypes.byref(self.array))


class _Kind:
    """Of a column: its elements, and how they make rows. `width` is -1 for lists of any length, and
    None where the column is a vector itself."""

    def __init__(self, schema: _Schema, given: Any, what: str) -> None:
        self.what = what
        self.format = schema.format.decode()
        self.width: Optional[int] = None
        child = self.format
        if self.format.startswith("+w:"):
            self.width = int(self.format[3:])
        elif self.format in OFFSETS:
            self.width = -1
        if self.width is not None:
            child = schema.children[0].contents.format.decode()
        name = str(getattr(given, "type", None) or getattr(given, "dtype", None) or self.format)
        if schema.dictionary or child not in ELEMENTS:
            raise TypeMismatchError(
                f"{what} must be a column of lists of one length, or one vector, of float32, float16, "
                f"int8 or uint8, not of Arrow's type {name}"
            )
        self.dtype = ELEMENTS[child]
        if child not in "efcC":
            raise TypeMismatchError(
                f"{what} must be float32, float16, int8 or uint8, not {self.dtype} (Arrow's type "
                f"{name}): cast the column first"
            )

    def rows(self, array: _Array, owner: Any) -> NDArray[Any]:
        first, count = array.offset, array.length
        self.refuse_nulls(array, owner, first, count)
        if self.width is None:
            return self.view(owner, array.buffers[1], first, count, self.dtype)
        child = array.children[0].contents
        width = self.width
        if width >= 0:
            begin = first * width
        else:
            begin, width = self.list_length(array, owner)
        self.refuse_nulls(child, owner, child.offset + begin, count * width)
        values = self.view(owner, child.buffers[1], child.offset + begin, count * width, self.dtype)
        return values.reshape(count, width)

    def list_length(self, array: _Array, owner: Any) -> tuple[int, int]:
        """Where the lists begin, and how long each of them is."""
        if array.length == 0:
            return 0, 0
        ends = self.view(
            owner, array.buffers[1], array.offset, array.length + 1, OFFSETS[self.format]
        )
        lengths = np.diff(ends)
        if lengths.min() != lengths.max():
            raise DimensionError(
                f"{self.what} must be lists of one length, found {lengths.min()} to {lengths.max()}"
            )
        return int(ends[0]), int(lengths[0])

    def refuse_nulls(self, array: _Array, owner: Any, first: int, count: int) -> None:
        """In that part of the array: what lies before and behind it is not asked for."""
        bits = array.buffers[0] if array.n_buffers else None
        if array.null_count == 0 or not bits or count == 0:
            return
        start = first // 8
        held = self.view(owner, bits, start, (first + count + 7) // 8 - start, np.dtype(np.uint8))
        valid = np.unpackbits(held, bitorder="little")[first - 8 * start :][:count]
        missing = int(count - np.count_nonzero(valid))
        if missing:
            raise InvalidArgumentError(
                f"{self.what} have {missing} nulls, expected none: drop them first"
            )

    @staticmethod
    def view(
        owner: Any, address: Optional[int], first: int, count: int, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        if count == 0 or not address:
            return np.empty(0, dtype)
        return np.asarray(_Memory(owner, address + first * dtype.itemsize, count, dtype))


def _of_arrow_array(given: Any, what: str) -> NDArray[Any]:
    schema, array = given.__arrow_c_array__()
    kind = _Kind(_struct(_Schema, schema, b"arrow_schema"), given, what)
    return kind.rows(_struct(_Array, array, b"arrow_array"), array)


def _of_arrow_stream(given: Any, what: str) -> NDArray[Any]:
    capsule = given.__arrow_c_stream__()
    stream = _struct(_Stream, capsule, b"arrow_array_stream")

    def asked(code: int) -> None:
        if code != 0:
            said = stream.get_last_error(ctypes.byref(stream)) or b""
            raise InvalidArgumentError(
                f"{what}: {said.decode(errors='replace') or f'error {code}'}"
            )

    schema = _Schema()
    asked(stream.get_schema(ctypes.byref(stream), ctypes.byref(schema)))
    try:
        kind = _Kind(schema, given, what)
    finally:
        schema.release(ctypes.byref(schema))
    parts: list[NDArray[Any]] = []
    while True:
        chunk = _Chunk()
        asked(stream.get_next(ctypes.byref(stream), ctypes.byref(chunk.array)))
        if not chunk.array.release:
            break
        if chunk.array.length:
            parts.append(kind.rows(chunk.array, chunk))
    if not parts:
        return np.empty(0 if kind.width is None else (0, max(kind.width, 0)), kind.dtype)
    if len({part.shape[1:] for part in parts}) > 1:
        lengths = sorted(part.shape[1] for part in parts)
        raise DimensionError(
            f"{what} must be lists of one length, found {lengths[0]} to {lengths[-1]}"
        )
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
