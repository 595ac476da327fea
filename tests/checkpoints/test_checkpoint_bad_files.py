"""Every bad file is one line that names the file; nothing in a file is ever run."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.errors import CheckpointError, UntrustedCodeError

STATE = {"conv.weight": torch.ones(8, 3, 3, 3), "bn.weight": torch.ones(8)}


def refusal(path: Path, kind: type[CheckpointError] = CheckpointError) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) - len(str(path)) < 320
    return message.removeprefix(f"{path}: ")


def torch_bytes(value: Any, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def with_header(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


class Payload:
    """Unpickling it would run a command that leaves a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def test_absent_directory_empty_and_special_files(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.pt").startswith("no such file")
    assert refusal(tmp_path).startswith("is a directory")
    (tmp_path / "empty.pth").touch()
    assert refusal(tmp_path / "empty.pth").startswith("empty file")
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe").startswith("not a regular file")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.pt"
    path.write_bytes(b"x")

    # Patched, as the superuser may read everything.
    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuses)
    assert refusal(path) == "cannot be read (Permission denied)"


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors", "model"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html><head>", "looks like an HTML page: the download failed?"),
        (b"\xef\xbb\xbf\n <HTML lang=en>", "looks like an HTML page: the download failed?"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a git-LFS pointer"),
    ],
)
def test_what_failed_downloads_leave(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name).startswith(message)


def test_something_else_altogether(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"just some notes, long enough")
    assert refusal(tmp_path / "notes.txt").startswith("not a weight file")
    (tmp_path / "notes.pth").write_bytes(b"just some notes, long enough")
    assert refusal(tmp_path / "notes.pth").startswith("truncated, damaged or not written by torch.save")
    (tmp_path / "notes.safetensors").write_bytes(b"just some notes, long enough")
    assert refusal(tmp_path / "notes.safetensors").startswith("truncated, or not a safetensors file: its header")


def test_truncated_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    # 640 bytes of header, so that the file begins as a pickle does.
    entry = {"dtype": "F32", "shape": [5], "data_offsets": [0, 20]}
    whole = with_header(json.dumps({"a": entry}).encode().ljust(640), bytes(20))
    path.write_bytes(whole)
    assert list(read_checkpoint(path).tensors) == ["a"]
    for length in [*range(1, 20), *range(20, len(whole), 11), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert "truncated" in refusal(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff" * 8 + b"{}", "its header should take 18446744073709551615 bytes, but the file has 10"),
        (with_header(b"{not json}"), "invalid JSON in header"),
        (with_header(b'["a"]'), "invalid JSON in header"),
        (
            with_header({"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
            "unknown variant `F33`",
        ),
        (with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"), "invalid shape"),
        (
            with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"12345"),
            "not fully covered",
        ),
        (with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"1234"), "invalid JSON"),
        (with_header({"__metadata__": {"a": 3}}), "invalid JSON in header"),
        (
            with_header({"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}, b"1234"),
            "tensor 'a' has dtype F4",
        ),
        (with_header({}), "holds no tensors"),
    ],
)
def test_wrong_safetensors_headers(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    assert message in refusal(tmp_path / "x.safetensors")


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_torch_files(legacy: bool, tmp_path: Path) -> None:
    whole = torch_bytes(STATE, legacy=legacy)
    for length in [*range(1, 40), *range(40, 1100, 5), *range(1100, len(whole), 61), len(whole) - 1]:
        (tmp_path / "x.pth").write_bytes(whole[:length])
        assert "damaged" in refusal(tmp_path / "x.pth")


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_damaged_bytes_are_read_or_refused_in_one_line(form: str, tmp_path: Path) -> None:
    path, random = tmp_path / "x", np.random.default_rng(0)
    if form == "safetensors":
        write_safetensors(path, STATE)
    else:
        path.write_bytes(torch_bytes({"state_dict": STATE}, legacy=form == "legacy"))
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        for where in random.integers(min(len(whole), 1500), size=random.integers(1, 9)):
            damaged[where] = random.integers(256)
        path.write_bytes(damaged)
        try:
            outcome = f"{path}: {read_checkpoint(path).sha256}"
        except CheckpointError as error:
            outcome = str(error)
        assert outcome.startswith(f"{path}: ")
        assert outcome.isprintable()


def test_a_zip_directory_of_another_time(tmp_path: Path) -> None:
    damaged = bytearray(torch_bytes(STATE))
    damaged[damaged.index(b"PK\1\2") + 6] = 200  # the version needed to extract
    (tmp_path / "x.pt").write_bytes(damaged)
    assert refusal(tmp_path / "x.pt").startswith("truncated or damaged zip container")


def test_zip_files_of_others(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    assert refusal(tmp_path / "x.npz").startswith("a zip file, but not one that torch.save wrote")


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_modules_are_refused_by_class(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(torch_bytes({"model": torch.nn.Sequential(torch.nn.Linear(2, 2))}, legacy=legacy))
    message = refusal(path, UntrustedCodeError)
    assert message.startswith(
        "loading it would import and run torch.nn.modules.container.Sequential; save its state_dict"
    )
    assert "or as safetensors" in message
    assert "--trust-code" in message
    assert "--arch python:PKG.MODULE:FACTORY" in message


@pytest.mark.parametrize("form", ["zip", "legacy", "protocol 1", "protocol 2", "protocol 4", "protocol 5", "inner"])
def test_hostile_pickles_are_not_run(form: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "model.pt", tmp_path / "pwned"
    value = {**STATE, "extra": Payload(trace)}
    if form.startswith("protocol"):
        path.write_bytes(pickle.dumps({"extra": Payload(trace)}, protocol=int(form[-1])))
    elif form == "inner":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", pickle.dumps(Payload(trace), protocol=2))
            archive.writestr("model/version", "3")
    else:
        path.write_bytes(torch_bytes(value, legacy=form == "legacy"))

    message = refusal(path, UntrustedCodeError)

    assert message.startswith(f"loading it would import and run {os.system.__module__}.system; ")
    assert not trace.exists()


def test_a_name_that_steers_the_terminal_is_cleaned(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"\x80\x02cos\x1b[2J\nsystem\x07\n.")
    assert "os[2J.system" in refusal(tmp_path / "x.pt", UntrustedCodeError)


def test_plain_pickles_without_code_are_not_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"a": [1, 2]}, protocol=4))
    assert "weights-only loader cannot read this pickle" in refusal(tmp_path / "x.pth")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_archives_carry_code(tmp_path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "x.pt")
    assert refusal(tmp_path / "x.pt", UntrustedCodeError).startswith("a TorchScript archive")


@pytest.mark.filterwarnings("ignore")
def test_export_archives_carry_code(tmp_path: Path) -> None:
    exported = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    torch.export.save(exported, tmp_path / "x.pt2")
    assert refusal(tmp_path / "x.pt2", UntrustedCodeError).startswith("a torch.export archive")

    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    assert refusal(tmp_path / "old.pt2", UntrustedCodeError).startswith("a torch.export archive")
