"""An inner product in wide registers with one fixed order of additions, so the same bits on any machine.

The compiler may not reorder a sum of floats, hence never uses wide registers for one by itself. Here the
order is written down: 32 running sums, number i taking the products i, i + 32, ... of the whole blocks of 8,
then added pairwise, and what is left beyond the last 8 one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from bandits.ops.arrays import Float64

__all__ = ["dot"]

_WIDTH, _SUMS = 8, 4
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
    parts = [builder.extract_element(wide, ir.Constant(ir.IntType(32), k)) for k in range(_WIDTH)]
    while len(parts) > 1:
        parts = [builder.fadd(parts[k], parts[k + 1]) for k in range(0, len(parts), 2)]
    total = cgutils.alloca_once_value(builder, parts[0])  # type: ignore[no-untyped-call]
    rest = builder.mul(n_blocks, context.get_constant(types.intp, _WIDTH))
    one = context.get_constant(types.intp, 1)
    with cgutils.for_range_slice(builder, rest, arrays[0].nitems, one) as (i, _):
        a, b = (builder.load(builder.gep(array.data, [i])) for array in arrays)
        builder.store(builder.fadd(builder.load(total), builder.fmul(a, b)), total)
    return builder.load(total)


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
    for array in (left, right):
        if not (isinstance(array, types.Array) and array.layout == "C" and array.dtype == types.float64):
            msg = f"an inner product in lanes takes contiguous float64 arrays; got {array}"
            raise TypingError(msg)
    return types.float64(left, right), _wide_dot


dot = cast(Callable[[Float64, Float64], float], intrinsic(_type_dot))
