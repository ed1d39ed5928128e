"""Asking for memory before it is needed, for loops over rows that lie far apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["prefetch"]


def _ask(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")  # type: ignore[no-untyped-call]
    # The stride of a row, so that any dtype and number of columns will do.
    offset = builder.mul(arguments[1], builder.extract_value(array.strides, 0))
    address = builder.gep(builder.bitcast(array.data, pointer), [offset])
    builder.call(hint, [address, *(ir.Constant(number, k) for k in (0, 3, 1))])
    return context.get_dummy_value()


def _type_prefetch(_context: Any, array: Any, _index: Any) -> Any:
    """Have one row of an array brought near; a hint that changes nothing, even outside the array."""
    return types.none(array, types.intp), _ask


prefetch = cast(Callable[[Any, int], None], intrinsic(_type_prefetch))
