"""Tell the processor which row is read next: a walk's rows lie anywhere in memory."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from stream.kernel import kernel

__all__ = ["prefetch_row"]


def _generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array_type, _ = signature.args
    array = context.make_array(array_type)(context, builder, args[0])
    item_pointer: Any = cgutils.get_item_pointer
    place = [args[1], *[context.get_constant(types.intp, 0)] * (array_type.ndim - 1)]
    pointer = item_pointer(context, builder, array_type, array, place, wraparound=False)
    byte = ir.IntType(8).as_pointer()
    number = ir.IntType(32)
    hint = builder.module.declare_intrinsic(
        "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    )
    start = builder.bitcast(pointer, byte)
    line = 64
    # Four cache lines hold 64 dimensions; the hardware fetches the rest of a longer row by itself.
    for offset in range(0, 4 * line if array_type.ndim > 1 else line, line):
        at = builder.gep(start, [ir.IntType(64)(offset)])
        builder.call(hint, [at, number(0), number(3), number(1)])
    return context.get_dummy_value()


def _typed(typing_context: Any, array: Any, row: Any) -> Any:
    del typing_context, row
    return types.void(array, types.intp), _generate


_hint: Any = intrinsic(_typed)


@kernel
def prefetch_row(vectors: NDArray[Any], row: int) -> None:
    """Start loading a row of `vectors` (n, dim), or one number of (n,), into the cache; changes nothing
    else."""
    _hint(vectors, row)
