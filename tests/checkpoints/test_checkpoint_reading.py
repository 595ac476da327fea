"""The same weights in every container: same names, values and digest; torch is not imported for safetensors."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsity_audit.checkpoints.checkpoint import Checkpoint, read_checkpoint, shared_prefix
from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.errors import CheckpointError

State = dict[str, torch.Tensor]


@pytest.fixture
def state() -> State:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    return {
        "conv1.weight": weight,
        "conv1.half": weight.half(),
        "bn1.weight": torch.randn(4, generator=generator).bfloat16(),
        "bn1.num_batches_tracked": torch.tensor(12),
        "mask": torch.tensor([True, False]),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "empty": torch.zeros(0, 2),
    }


def assert_same(checkpoint: Checkpoint, state: State) -> None:
    assert set(checkpoint.tensors) == set(state)
    for name, value in state.items():
        read = checkpoint.tensors[name]
        assert read.name == name
        assert read.torch().dtype == value.dtype
        assert torch.equal(read.torch(), value), name


def oracle_digest(state: State) -> str:
    """The digest as the docstring says it, from torch's own bytes."""
    codes = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "bool": "BOOL"}
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].contiguous()
        code = codes[str(value.dtype).removeprefix("torch.")]
        digest.update((json.dumps([name, code, list(value.shape)]) + "\n").encode())
        digest.update(bytes(value.untyped_storage()))
    return digest.hexdigest()


def wrapped(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def test_every_container_gives_the_same_tensors_and_digest(state: State, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "plain.safetensors", state, {"architecture": "zoo:x"})
    write_safetensors(tmp_path / "wrapped.safetensors", wrapped(state, "module."))
    torch.save(state, tmp_path / "zip.pt")
    torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": wrapped(state, "module."), "epoch": 3}, tmp_path / "nested.th")
    (tmp_path / "without_extension").write_bytes((tmp_path / "zip.pt").read_bytes())
    (tmp_path / "misnamed.pth").write_bytes((tmp_path / "plain.safetensors").read_bytes())
    (tmp_path / "misnamed.safetensors").write_bytes((tmp_path / "legacy.pt").read_bytes())

    read = {path.name: read_checkpoint(path) for path in sorted(tmp_path.iterdir())}

    assert len(read) == 8
    for checkpoint in read.values():
        assert_same(checkpoint, state)
    assert {checkpoint.sha256 for checkpoint in read.values()} == {oracle_digest(state)}
    assert read["plain.safetensors"].metadata == {"architecture": "zoo:x"}
    assert read["plain.safetensors"].container == read["misnamed.pth"].container == "safetensors"
    assert read["misnamed.safetensors"].container == "torch"
    nested = read["nested.th"]
    assert (nested.nested, nested.prefix, nested.ignored) == ("state_dict", "module.", ("epoch",))
    assert list(nested.tensors) == list(state)


def test_any_change_changes_the_digest(tmp_path: Path) -> None:
    def digest(**arrays: np.ndarray) -> str:
        write_safetensors(tmp_path / "x.safetensors", arrays)
        return read_checkpoint(tmp_path / "x.safetensors").sha256

    ones = np.ones((2, 3), np.float32)
    digests = [
        digest(a=ones),
        digest(b=ones),
        digest(a=ones.reshape(3, 2)),
        digest(a=ones.view(np.int32)),
        digest(a=ones * 2),
        digest(a=ones, b=ones),
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("seed", range(5))
def test_a_header_length_that_looks_like_a_pickle_is_still_safetensors(seed: int, tmp_path: Path) -> None:
    # 0x0280 = 640 bytes of header begin the file with 80 02, as protocol 2 does.
    entry = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": {"seed": str(seed)}}
    header = json.dumps(entry).encode().ljust(640)
    path = tmp_path / "weights"
    path.write_bytes(len(header).to_bytes(8, "little") + header + np.float32(seed).tobytes())
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert read_checkpoint(path).tensors["a"].numpy().tolist() == [seed]


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["module.a", "module.b"], "module."),
        (["module.a", "b"], ""),
        (["_orig_mod.module.model.a.x", "_orig_mod.module.model.b"], "_orig_mod.module.model."),
        (["module.module.a", "module.module.b"], "module.module."),
        (["module.module.a", "module.b"], "module."),
        (["model.", "model.a"], ""),
        (["model.model.", "model.model.a"], "model."),
        (["models.a", "models.b"], ""),
        (["network.a", "network.b"], "network."),
    ],
)
def test_prefixes_that_all_names_share_are_stripped(names: list[str], prefix: str) -> None:
    assert shared_prefix(names) == prefix
    assert shared_prefix(names[::-1]) == prefix


def test_writing_arrays_of_any_layout(tmp_path: Path) -> None:
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    arrays = {
        "t": base.T,
        "step": base[:, ::2],
        "big": base.astype(">f4"),
        "scalar": np.array(3),
        "f": np.asfortranarray(base),
    }
    write_safetensors(tmp_path / "x.safetensors", arrays)
    read = read_checkpoint(tmp_path / "x.safetensors").tensors
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name].numpy(), array)
        assert read[name].shape == array.shape


def test_writing_mixes_arrays_and_tensors_that_share_storage(tmp_path: Path) -> None:
    shared = torch.nn.Parameter(torch.arange(6.0))
    mixed = {
        "a": shared,
        "b": shared,
        "part": shared[2:4],
        "array": np.arange(3),
        "big": np.arange(3, dtype=">i4"),
    }
    write_safetensors(tmp_path / "x.safetensors", mixed)
    read = read_checkpoint(tmp_path / "x.safetensors").tensors
    for name, value in mixed.items():
        np.testing.assert_array_equal(read[name].numpy(), value if isinstance(value, np.ndarray) else value.detach())


def test_writing_replaces_whole_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"a": np.zeros(2)})
    before = path.read_bytes()

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fails)
        with pytest.raises(CheckpointError, match=r"x\.safetensors: cannot be written \(No space left on device"):
            write_safetensors(path, {"a": np.ones(2)})
    with pytest.raises(CheckpointError, match="cannot be stored as safetensors"):
        write_safetensors(path, {"a": np.array(["text"])})
    with pytest.raises(CheckpointError, match=r"absent/x\.safetensors: cannot be written \(No such file"):
        write_safetensors(tmp_path / "absent" / "x.safetensors", {"a": np.zeros(2)})

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_safetensors(tmp_path / "x.safetensors", {"a": np.zeros(2)})
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_reading_and_hashing_safetensors_imports_no_torch(tmp_path: Path) -> None:
    values = {"a": torch.ones(3, dtype=torch.bfloat16), "b": torch.ones(3).half(), "c": torch.ones(3)}
    write_safetensors(tmp_path / "x.safetensors", values)
    script = """
import sys
from pathlib import Path
import numpy as np
from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.checkpoints.norms import conv_layers, find_norms, find_unnormed
from sparsity_audit.checkpoints.safetensors_io import write_safetensors
c = read_checkpoint(Path(sys.argv[1]))
c.sha256, find_norms(c.tensors), find_unnormed(c.tensors), conv_layers(c.tensors)
assert all(t.numpy().tolist() == [1, 1, 1] and not t.nonfinite() for t in c.tensors.values())
write_safetensors(Path(sys.argv[1] + "2"), {"a": np.zeros(3)})
print([m for m in ("torch", "pydantic") if m in sys.modules])
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "x.safetensors")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "[]", "")


def test_a_large_file_is_mapped_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    write_safetensors(path, {"a": np.zeros(1 << 22, np.float32)})
    tensor = read_checkpoint(path).tensors["a"]
    assert type(tensor.data.obj).__name__ == "mmap"
    assert np.shares_memory(tensor.numpy(), np.frombuffer(tensor.data, np.uint8))
