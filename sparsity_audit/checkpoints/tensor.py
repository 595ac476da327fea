"""One tensor of a weight file: its name, dtype, shape and bytes, decoded only when asked."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sparsity_audit.errors import CheckpointError

if TYPE_CHECKING:
    import torch

_CHUNK_BYTES = 1 << 19
"""Two reductions read each chunk: half a megabyte stays in the cache between them."""


class Format(NamedTuple):
    """How the elements of one dtype lie in memory (little-endian)."""

    numpy: str
    """numpy's dtype of the raw elements; for F16, BF16 and F8 the unsigned integer of that width."""
    torch: str
    """Name of torch's dtype."""
    first_nonfinite: int | None = None
    """Smallest positive bit pattern that is not finite; all above it are infinite or NaN."""


FORMATS: dict[str, Format] = {
    "F64": Format("<f8", "float64", 0x7FF0_0000_0000_0000),
    "F32": Format("<f4", "float32", 0x7F80_0000),
    "F16": Format("<u2", "float16", 0x7C00),
    "BF16": Format("<u2", "bfloat16", 0x7F80),
    "F8_E4M3": Format("u1", "float8_e4m3fn", 0x7F),
    "F8_E5M2": Format("u1", "float8_e5m2", 0x7C),
    "I64": Format("<i8", "int64"),
    "I32": Format("<i4", "int32"),
    "I16": Format("<i2", "int16"),
    "I8": Format("i1", "int8"),
    "U64": Format("<u8", "uint64"),
    "U32": Format("<u4", "uint32"),
    "U16": Format("<u2", "uint16"),
    "U8": Format("u1", "uint8"),
    "BOOL": Format("?", "bool"),
}
"""By safetensors' dtype code, every dtype that is read; complex and sub-byte weights are refused."""


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named array in a weight file; equality is identity, since comparing contents may read a whole file."""

    name: str
    dtype: str
    """safetensors' code, a key of ``FORMATS``: ``"F32"``, ``"BF16"``, ``"I64"``, ..."""
    shape: tuple[int, ...]
    data: memoryview
    """The elements in C order, little-endian: read-only bytes, often of a mapped file."""

    def __post_init__(self) -> None:
        expected = self.numel * np.dtype(FORMATS[self.dtype].numpy).itemsize
        if self.data.nbytes != expected:
            raise ValueError(f"{self.name}: {self.data.nbytes} bytes, {expected} expected for {self.shape}")

    @property
    def numel(self) -> int:
        """Number of elements; 1 where the shape is ``()``."""
        return prod(self.shape)

    @property
    def is_floating(self) -> bool:
        """Whether the elements are floating-point numbers, and so may be NaN or infinite."""
        return FORMATS[self.dtype].first_nonfinite is not None

    def numpy(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the values as a read-only array of the tensor's shape.

        F16, BF16 and F8 are decoded to float32, exactly; F8 imports torch. Everything else is a view of the
        file.

        Raises:
            CheckpointError: the tensor is F8 and torch is absent.
        """
        raw = np.frombuffer(self.data, dtype=FORMATS[self.dtype].numpy).reshape(self.shape)
        if self.dtype == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        elif self.dtype == "F16":
            raw = raw.view(np.float16).astype(np.float32)
        elif self.dtype.startswith("F8"):
            raw = self._decoded_by_torch()
        raw.flags.writeable = False
        return raw

    def _decoded_by_torch(self) -> np.ndarray[Any, np.dtype[Any]]:
        try:
            decoded: np.ndarray[Any, np.dtype[Any]] = self.torch().float().numpy()
        except ImportError:
            raise CheckpointError(f"tensor {self.name!r} is {self.dtype}: decoding it needs torch") from None
        return decoded

    def torch(self) -> torch.Tensor:
        """Return the values as a writable CPU copy, in the tensor's own dtype and shape."""
        import torch

        dtype: torch.dtype = getattr(torch, FORMATS[self.dtype].torch)
        if self.numel == 0:
            return torch.empty(self.shape, dtype=dtype)
        # In torch's own memory, which is aligned: kernels round otherwise on memory that is not.
        values = torch.empty(self.shape, dtype=dtype)
        values.view(-1).view(torch.uint8).numpy()[:] = np.frombuffer(self.data, np.uint8)
        return values

    def nonfinite(self) -> bool:
        """Whether any element is NaN or infinite; exact, without a copy and without decoding.

        All formats here store sign and magnitude, so the magnitudes that are not finite are the largest bit
        patterns of either sign. Read as signed integers, the positive ones lie on top; as unsigned, the
        negative ones: two integer maxima decide, whatever the values add up to.
        """
        first = FORMATS[self.dtype].first_nonfinite
        if first is None or self.numel == 0:
            return False
        width = np.dtype(FORMATS[self.dtype].numpy).itemsize
        sign = 1 << (8 * width - 1)
        signed = np.frombuffer(self.data, dtype=f"<i{width}")
        unsigned = np.frombuffer(self.data, dtype=f"<u{width}")
        step = _CHUNK_BYTES // width
        return any(
            int(signed[i : i + step].max()) >= first or int(unsigned[i : i + step].max()) >= sign | first
            for i in range(0, len(signed), step)
        )
