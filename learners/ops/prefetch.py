"""Asking for memory before it is needed, for loops over rows that lie far apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["prefetch", "prefetch_row"]


_LINE = 64  # bytes of a cache line
_POINTER, _NUMBER = ir.IntType(8).as_pointer(), ir.IntType(32)


def _begin(context: Any, builder: Any, signature: Any, arguments: Any) -> tuple[Any, Any]:
    """Address and bytes of the row, whatever its dtype and number of columns."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    stride = builder.extract_value(array.strides, 0)
    return builder.gep(builder.bitcast(array.data, _POINTER), [builder.mul(arguments[1], stride)]), stride


def _hint(builder: Any, address: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [_POINTER, _NUMBER, _NUMBER, _NUMBER])
    hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")  # type: ignore[no-untyped-call]
    builder.call(hint, [address, *(ir.Constant(_NUMBER, k) for k in (0, 3, 1))])


def _ask(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    address, _ = _begin(context, builder, signature, arguments)
    _hint(builder, address)
    return context.get_dummy_value()


def _ask_all(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    first, stride = _begin(context, builder, signature, arguments)
    line = context.get_constant(types.intp, _LINE)
    n_lines = builder.udiv(builder.add(stride, context.get_constant(types.intp, _LINE - 1)), line)
    with cgutils.for_range(builder, n_lines) as loop:
        _hint(builder, builder.gep(first, [builder.mul(loop.index, line)]))
    return context.get_dummy_value()


def _type_prefetch(_context: Any, array: Any, _index: Any) -> Any:
    """Have the beginning of one row of an array brought near; a hint that changes nothing, even outside."""
    return types.none(array, types.intp), _ask


def _type_prefetch_row(_context: Any, array: Any, _index: Any) -> Any:
    """Have all of one row of an array brought near."""
    return types.none(array, types.intp), _ask_all


prefetch = cast(Callable[[Any, int], None], intrinsic(_type_prefetch))
prefetch_row = cast(Callable[[Any, int], None], intrinsic(_type_prefetch_row))
