"""Frames: nested values and arrays as MessagePack bytes that a foreign program can read.

A frame is a dictionary of strings to numbers, strings, bytes, lists, dictionaries and numpy arrays. An
array becomes the map ``{"dtype": "<f4", "shape": [n, d], "data": bytes}``, little-endian and row-major. The
outermost map carries ``"schema"``, the number of this layout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from stream.errors import FrameError, NewerFrameError

__all__ = ["FRAME_SCHEMA", "MALFORMED", "Frame", "StoredArray", "pack", "pack_parts", "unpack"]

FRAME_SCHEMA = 1

Frame = dict[str, Any]

MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, msgspec.DecodeError)
"""What reading a frame of somebody else's making may raise where a value has another type, size or name."""

_ARRAY_KEYS = {"dtype", "shape", "data"}
_NESTED = (dict, list)
# Numbers only, by the names that `_encode_array` gives them. numpy reads other names as Python source, and
# types of objects or records have no place in bytes that anybody may have written.
_DTYPES = {
    np.dtype(name).str: np.dtype(name)
    for name in ("?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
}
_LARGE = 1 << 16  # bytes of an array from which it is not copied; from here on its length takes 32 bits


def _encode_array(value: object) -> object:
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        # A zero-size array has no buffer to view, and reshape(-1) gives every other one a flat view.
        data = array.reshape(-1).view(np.uint8).data if array.size else b""
        return {"dtype": array.dtype.str, "shape": value.shape, "data": data}
    if isinstance(value, np.generic):
        return value.item()
    msg = f"a frame holds numbers, text, bytes, lists, maps and arrays; got {type(value).__name__}"
    raise FrameError(msg)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_array)
_decoder = msgspec.msgpack.Decoder()


def pack(frame: Mapping[str, Any]) -> bytes:
    """Turn a frame into bytes.

    Raises:
        FrameError: a value has no place in a frame.

    Example:
        >>> import numpy as np
        >>> unpack(pack({"rows": np.array([3, 1], np.int32), "seq": 7}))
        {'rows': array([3, 1], dtype=int32), 'seq': 7}
    """
    return _encoder.encode({"schema": FRAME_SCHEMA, **frame})


def pack_parts(frame: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """The bytes of `pack` in pieces, large arrays as views of their own memory: nothing large is copied, and
    whoever writes or sums the pieces does so without the interpreter's lock.

    Raises:
        FrameError: a value has no place in a frame.

    Example:
        >>> frame = {"rows": np.arange(50_000), "seq": 7}
        >>> b"".join(pack_parts(frame)) == pack(frame)
        True
    """
    return _parts({"schema": FRAME_SCHEMA, **frame})


def _parts(value: object) -> Iterator[bytes | memoryview]:
    if isinstance(value, dict):
        yield _map_head(len(value))
        for key, item in value.items():
            yield _encoder.encode(key)
            yield from _parts(item)
    elif isinstance(value, np.ndarray) and value.nbytes >= _LARGE:
        encoded: Any = _encode_array(value)
        data = encoded.pop("data")
        if data.nbytes >= 1 << 32:
            msg = f"an array of shape {value.shape} has {data.nbytes} bytes; a frame takes less than 4 GiB"
            raise FrameError(msg)
        yield _map_head(len(_ARRAY_KEYS)) + _encoder.encode(encoded)[1:]
        yield _encoder.encode("data") + b"\xc6" + data.nbytes.to_bytes(4, "big")
        yield data
    else:
        yield _encoder.encode(value)


def _map_head(n: int) -> bytes:
    if n < 16:
        return bytes([0x80 | n])
    return b"\xde" + n.to_bytes(2, "big") if n < 1 << 16 else b"\xdf" + n.to_bytes(4, "big")


def unpack(data: bytes | memoryview) -> Frame:
    """Read back what `pack` wrote; arrays are read-only views of the decoded bytes.

    Raises:
        FrameError: the bytes are no frame, or are cut short; NewerFrameError: their schema number is newer.
    """
    try:
        frame = _decoder.decode(data)
    except (*MALFORMED, RecursionError) as error:
        msg = f"not a frame ({error}); the bytes are damaged or of another kind"
        raise FrameError(msg) from error
    schema = frame.pop("schema", None) if isinstance(frame, dict) else None
    if schema != FRAME_SCHEMA:
        msg = f"frame schema {schema!r}: this program reads {FRAME_SCHEMA}; use the program that wrote it"
        raise (NewerFrameError if isinstance(schema, int) and schema > FRAME_SCHEMA else FrameError)(msg)
    try:
        revived: Frame = _revive(frame)
    except RecursionError as error:
        msg = "a frame is nested too deeply; the bytes are of another program"
        raise FrameError(msg) from error
    return revived


def _revive(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == _ARRAY_KEYS:
            return _array(value["dtype"], value["shape"], value["data"])
        return {key: _revive(item) if type(item) in _NESTED else item for key, item in value.items()}
    if isinstance(value, list) and value and type(value[0]) in _NESTED:
        # Tens of thousands of records, as of slates: a call for each of their plain lists would take seconds.
        return [
            _revive(item) if type(item) is dict or (type(item) is list and item and type(item[0]) in _NESTED)
            else item
            for item in value
        ]  # fmt: skip
    return value


class StoredArray(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An array as it stands in the bytes, for decoders that know what they are going to find.

    Example:
        >>> decoder = msgspec.msgpack.Decoder(dict[str, StoredArray | int])
        >>> decoder.decode(pack({"rows": np.array([3, 1], np.int32)}))["rows"].revive()
        array([3, 1], dtype=int32)
    """

    dtype: str
    shape: list[int]
    data: bytes

    def revive(self) -> np.ndarray[Any, Any]:
        """The array, a read-only view of the decoded bytes.

        Raises:
            FrameError: it is of no type of numbers, or does not fit its bytes.
        """
        return _array(self.dtype, self.shape, self.data)


def _array(name: object, shape: object, data: object) -> np.ndarray[Any, Any]:
    dtype = _DTYPES.get(name) if isinstance(name, str) else None
    if dtype is None:
        msg = f"an array of {name!r:.60}: expected one of {', '.join(_DTYPES)}"
        raise FrameError(msg)
    if (
        not isinstance(data, bytes)
        or not isinstance(shape, list)
        or not all(type(n) is int and n >= 0 for n in shape)
        or math.prod(shape) * dtype.itemsize != len(data)
    ):
        n_bytes = len(data) if isinstance(data, bytes) else type(data).__name__
        msg = f"array {name!r} of shape {shape!r:.60} does not fit its bytes ({n_bytes})"
        raise FrameError(msg)
    try:
        return np.frombuffer(data, dtype).reshape(shape)
    except ValueError as error:  # more axes than numpy has
        msg = f"array {name!r} of shape {shape!r:.60}: {error}"
        raise FrameError(msg) from error
