"""Features as decisions logged them, read as the list of features in use has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from learners.feature_schema import FeatureSchemas

__all__ = ["HalfLogged", "Logged", "logged_features", "logged_halves"]

Int32 = npt.NDArray[np.int32]


class Logged(Protocol):
    """A slate with logged features: float32 bytes, and the id of the list that they follow."""

    @property
    def features(self) -> bytes:
        """Those of the shown items, then of the others, row by row."""

    @property
    def feature_schema(self) -> str:
        """See `learners.feature_schema`."""


class HalfLogged(Logged, Protocol):
    """A slate whose logged features are kept as float16."""

    @property
    def half(self) -> bytes:
        """The features as little-endian float16."""


def logged_halves(
    slates: Sequence[HalfLogged], ns: Int32, ms: Int32, schemas: FeatureSchemas
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """As `logged_features`; all are widened together, which costs a tenth of one by one."""
    if schemas.strange(slate.feature_schema for slate in slates):
        return logged_features(slates, ns, ms, schemas)
    return _split([slate.half for slate in slates], ns, ms, len(schemas), "<f2")


def logged_features(
    slates: Sequence[Logged], ns: Int32, ms: Int32, schemas: FeatureSchemas | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Features (N, F) of the shown items and (M, F) of the others, in the order of `schemas`, by name.

    `ns` and `ms` (slates,) say how many there are of each. What cannot be read is NaN; without `schemas`
    F is 0.
    """
    logged = [slate.features for slate in slates]
    if schemas is None:
        return _split(logged, ns, ms, 0)
    strange = schemas.strange(slate.feature_schema for slate in slates)
    if strange:
        for s, slate in enumerate(slates):
            if slate.feature_schema in strange:
                n_rows = int(ns[s] + ms[s])
                logged[s] = schemas.read(slate.feature_schema, slate.features, n_rows) or b""
    return _split(logged, ns, ms, len(schemas))


def _split(
    logged: Sequence[bytes], ns: Int32, ms: Int32, width: int, dtype: str = "<f4"
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Features of the shown items and of the others; NaN for slates without as many as they should have."""
    if width == 0 or not ns.size:
        return np.zeros((int(ns.sum()), width), np.float32), np.zeros((int(ms.sum()), width), np.float32)
    row = width * np.dtype(dtype).itemsize
    is_wrong = np.fromiter(map(len, logged), np.int64, len(logged)) != row * (ns + ms)
    if is_wrong.any():
        missing, logged = np.full(width, np.nan, dtype).tobytes(), list(logged)
        for s in np.flatnonzero(is_wrong).tolist():
            logged[s] = missing * int(ns[s] + ms[s])
    # A bytearray, so that the array may be written to: kernels are compiled apart for read-only ones.
    features = np.frombuffer(bytearray().join(logged), dtype).reshape(-1, width)
    if (ns == ns[0]).all() and (ms == ms[0]).all():
        cube = features.reshape(ns.size, int(ns[0] + ms[0]), width)
        parts = cube[:, : ns[0]], cube[:, ns[0] :]
        # Widened as they are taken apart: all together first would be another copy of everything.
        shown, others = (np.ascontiguousarray(part, "<f4").reshape(-1, width) for part in parts)
        return shown, others
    counts = np.array([ns, ms]).T.ravel()
    is_shown = np.repeat(np.arange(counts.size) % 2 == 0, counts)
    return features[is_shown].astype("<f4", copy=False), features[~is_shown].astype("<f4", copy=False)
