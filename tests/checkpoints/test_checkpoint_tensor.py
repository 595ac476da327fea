"""Decoding and the non-finite screen against torch, for every dtype."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsity_audit.checkpoints.tensor import FORMATS, Tensor

FLOATING = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"]
INTEGER = [code for code in FORMATS if code not in FLOATING]


def dtype_of(code: str) -> torch.dtype:
    dtype = getattr(torch, FORMATS[code].torch)
    assert isinstance(dtype, torch.dtype)
    return dtype


def as_tensor(code: str, value: torch.Tensor) -> Tensor:
    raw = value.to(dtype_of(code)).contiguous()
    data = raw.reshape(-1).view(torch.uint8).numpy().tobytes() if raw.numel() else b""
    return Tensor("layer.weight", code, tuple(raw.shape), memoryview(data))


def every_bit_pattern(code: str) -> Tensor:
    """All 256 or 65,536 values of a narrow dtype; a dense sample with all exponents of a wide one."""
    width = np.dtype(FORMATS[code].numpy).itemsize
    if width <= 2:
        bits = np.arange(1 << (8 * width), dtype=f"<u{width}")
    else:
        high = np.arange(1 << 16, dtype=f"<u{width}") << (8 * width - 16)
        bits = np.concatenate([high, high | 1])
    return Tensor("w", code, bits.shape, memoryview(bits.tobytes()))


def test_every_torch_dtype_of_a_code_exists() -> None:
    assert {dtype_of(code).itemsize == np.dtype(spec.numpy).itemsize for code, spec in FORMATS.items()} == {True}


@pytest.mark.parametrize("code", list(FORMATS))
def test_values_are_torchs(code: str) -> None:
    expected = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype_of(code))
    tensor = as_tensor(code, expected)

    assert torch.equal(tensor.torch(), expected)
    assert tensor.torch().dtype == expected.dtype
    assert tensor.numpy().shape == (2, 3)
    assert tensor.numpy().tolist() == expected.double().tolist()
    assert tensor.numel == 6


@pytest.mark.parametrize("code", ["F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_narrow_floats_decode_bit_for_bit(code: str) -> None:
    tensor = every_bit_pattern(code)
    expected = tensor.torch().float().numpy()

    assert tensor.numpy().dtype == np.float32
    np.testing.assert_array_equal(tensor.numpy(), expected)
    np.testing.assert_array_equal(np.signbit(tensor.numpy()), np.signbit(expected))


@pytest.mark.parametrize("code", FLOATING)
def test_each_value_alone_is_nonfinite_as_torch_says(code: str) -> None:
    every = every_bit_pattern(code)
    width = every.data.nbytes // every.numel
    values = every.torch()
    # float8 lacks isfinite in torch; widening keeps NaN and infinity.
    wanted = ~torch.isfinite(values.double())
    picks = np.unique(np.concatenate([np.flatnonzero(wanted)[::37], np.arange(0, every.numel, 257)]))
    for i in picks.tolist():
        alone = Tensor("w", code, (1,), every.data[i * width : (i + 1) * width])
        assert alone.nonfinite() == bool(wanted[i]), hex(i)


@pytest.mark.parametrize("code", FLOATING)
@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [0, 400_000, -1])
def test_one_nonfinite_element_is_found(code: str, value: float, where: int) -> None:
    if code == "F8_E4M3" and np.isinf(value):
        value = float("nan")  # it has no infinity
    values = torch.ones(600_001)
    assert not as_tensor(code, values).nonfinite()
    values[where] = value
    assert as_tensor(code, values).nonfinite()


@pytest.mark.parametrize("code", ["F64", "F32", "F16", "BF16", "F8_E5M2"])
def test_huge_finite_values_whose_sum_overflows_are_finite(code: str) -> None:
    limits = torch.finfo(dtype_of(code))
    values = torch.full((1000,), limits.max, dtype=torch.float64)
    values[::2] = limits.min
    assert not as_tensor(code, values).nonfinite()
    assert not as_tensor(code, values.abs()).nonfinite()


@pytest.mark.parametrize("code", INTEGER)
def test_integers_are_always_finite(code: str) -> None:
    full = Tensor("w", code, (2,), memoryview(b"\xff" * 2 * np.dtype(FORMATS[code].numpy).itemsize))
    assert not full.nonfinite()
    assert not full.is_floating


def test_views_are_read_only_and_torch_copies() -> None:
    tensor = as_tensor("F32", torch.ones(3))
    array = tensor.numpy()
    assert not array.flags.writeable
    assert not as_tensor("BF16", torch.ones(3)).numpy().flags.writeable
    assert np.shares_memory(array, np.frombuffer(tensor.data, np.float32))

    tensor.torch().zero_()
    assert tensor.numpy().tolist() == [1, 1, 1]


def test_scalars_and_empty_tensors() -> None:
    scalar, empty = as_tensor("I64", torch.tensor(7)), as_tensor("F32", torch.zeros(0, 3))
    assert scalar.numpy().item() == scalar.torch().item() == 7
    assert scalar.numpy().shape == ()
    assert empty.numpy().shape == tuple(empty.torch().shape) == (0, 3)
    assert not empty.nonfinite()


def test_unaligned_bytes_are_read_right() -> None:
    values = np.arange(5, dtype="<f4")
    tensor = Tensor("w", "F32", (5,), memoryview(b"x" + values.tobytes())[1:])
    np.testing.assert_array_equal(tensor.numpy(), values)
    assert torch.equal(tensor.torch(), torch.from_numpy(values))
    assert not tensor.nonfinite()


def test_bytes_must_fit_the_shape() -> None:
    with pytest.raises(ValueError, match="4 bytes, 8 expected"):
        Tensor("w", "F32", (2,), memoryview(b"1234"))
