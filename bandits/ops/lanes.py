"""An inner product in wide registers with one fixed order of additions, so the same bits on any machine.

The compiler may not reorder a sum of floats, hence never uses wide registers for one by itself. Here the
order is written down: 32 running sums, number i taking the products i, i + 32, ... of the whole blocks of 8,
then added pairwise, and what is left beyond the last 8 one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from bandits.ops.arrays import Float64
from stream.kernel import kernel

__all__ = ["add_scaled", "dot", "in_lanes", "zeros_in_lanes"]

_WIDTH, _SUMS = 8, 4
_LANE = ir.IntType(32)
_VECTOR = ir.VectorType(ir.DoubleType(), _WIDTH)


def _wide_dot(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Machine code for the inner product of two arrays; the first one's length counts."""
    arrays = [
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(signature.args, arguments, strict=True)
    ]
    left, right = (builder.bitcast(array.data, _VECTOR.as_pointer()) for array in arrays)
    n_blocks = builder.udiv(arrays[0].nitems, context.get_constant(types.intp, _WIDTH))
    n_rounds = builder.udiv(n_blocks, context.get_constant(types.intp, _SUMS))
    whole = builder.mul(n_rounds, context.get_constant(types.intp, _SUMS))
    zero = ir.Constant(_VECTOR, [0.0] * _WIDTH)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(_SUMS)]  # type: ignore[no-untyped-call]

    def add(block: Any, total: Any) -> None:
        # Rows of a table start anywhere, so only the alignment of a double may be promised.
        a, b = (builder.load(builder.gep(base, [block]), align=8) for base in (left, right))
        builder.store(builder.fadd(builder.load(total), builder.fmul(a, b)), total)

    with cgutils.for_range(builder, n_rounds) as loop:
        first = builder.mul(loop.index, context.get_constant(types.intp, _SUMS))
        for k in range(_SUMS):
            add(builder.add(first, context.get_constant(types.intp, k)), sums[k])
    for k in range(_SUMS - 1):
        block = builder.add(whole, context.get_constant(types.intp, k))
        with builder.if_then(builder.icmp_unsigned("<", block, n_blocks)):
            add(block, sums[k])
    s0, s1, s2, s3 = (builder.load(total) for total in sums)
    wide = builder.fadd(builder.fadd(s0, s1), builder.fadd(s2, s3))
    parts = [builder.extract_element(wide, ir.Constant(_LANE, k)) for k in range(_WIDTH)]
    while len(parts) > 1:
        parts = [builder.fadd(parts[k], parts[k + 1]) for k in range(0, len(parts), 2)]
    total = cgutils.alloca_once_value(builder, parts[0])  # type: ignore[no-untyped-call]
    rest = builder.mul(n_blocks, context.get_constant(types.intp, _WIDTH))
    one = context.get_constant(types.intp, 1)
    with cgutils.for_range_slice(builder, rest, arrays[0].nitems, one) as (i, _):
        a, b = (builder.load(builder.gep(array.data, [i])) for array in arrays)
        builder.store(builder.fadd(builder.load(total), builder.fmul(a, b)), total)
    return builder.load(total)


def _check_lanes(*arrays: Any) -> None:
    for array in arrays:
        if not (isinstance(array, types.Array) and array.layout == "C" and array.dtype == types.float64):
            msg = f"lanes take contiguous float64 arrays; got {array}"
            raise TypingError(msg)


def _type_dot(_context: Any, left: Any, right: Any) -> Any:
    """Inner product of two contiguous float64 arrays of one length (n,), for use inside kernels.

    Machine code on the spot and not a call: handing over two arrays would cost as much as the product.

    Example:
        >>> import numpy as np
        >>> from stream.kernel import kernel
        >>> @kernel
        ... def product(left, right):
        ...     return dot(left, right)
        >>> product(np.arange(43.0), np.ones(43))
        903.0
    """
    _check_lanes(left, right)
    return types.float64(left, right), _wide_dot


def in_lanes(n: int) -> int:
    """The least multiple of 8 that holds `n` numbers.

    Example:
        >>> in_lanes(0), in_lanes(1), in_lanes(136)
        (0, 8, 136)
    """
    return -(-n // _WIDTH) * _WIDTH


@kernel
def zeros_in_lanes(n: int) -> Float64:
    """`n` zeros that begin with a cache line: a block of 8 that lies in two takes twice as long to read.

    Example:
        >>> zeros_in_lanes(3).tolist()
        [0.0, 0.0, 0.0]
    """
    room = np.zeros(n + 7)
    first = -room.ctypes.data % 64 // 8
    return room[first : first + n]


def _wide_add(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Machine code that adds a multiple of some blocks of one array to those of another."""
    arrays = [context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 2)]
    bases = [builder.bitcast(array.data, _VECTOR.as_pointer()) for array in arrays]
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), arguments[1], ir.Constant(_LANE, 0))
    factor = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_LANE, _WIDTH), [0] * _WIDTH))
    step = context.get_constant(types.intp, 1)
    with cgutils.for_range_slice(builder, arguments[3], arguments[4], step) as (block, _):
        to, source = (builder.gep(base, [block]) for base in bases)
        product = builder.fmul(factor, builder.load(source, align=8))
        builder.store(builder.fadd(builder.load(to, align=8), product), to, align=8)
    return context.get_dummy_value()


def _type_add(_context: Any, out: Any, _factor: Any, other: Any, _first: Any, _end: Any) -> Any:
    """``out += factor * other`` in the blocks of 8 from `first` to before `end`, for contiguous float64
    arrays; for use inside kernels. To cut the arrays first would take longer than to add them.

    Example:
        >>> import numpy as np
        >>> from stream.kernel import kernel
        >>> @kernel
        ... def added(out, other):
        ...     add_scaled(out, 3.0, other, 1, 2)
        ...     return out
        >>> added(np.ones(16), np.arange(16.0)).tolist()[7:]
        [1.0, 25.0, 28.0, 31.0, 34.0, 37.0, 40.0, 43.0, 46.0]
    """
    _check_lanes(out, other)
    return types.none(out, types.float64, other, types.intp, types.intp), _wide_add


add_scaled = cast(Callable[[Float64, float, Float64, int, int], None], intrinsic(_type_add))
dot = cast(Callable[[Float64, Float64], float], intrinsic(_type_dot))
