"""What a user may hand over by mistake: exit code 4, one line that names it, nothing written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from cli_helpers import DIGITS_MODEL, call, run_program, write_healthy, write_net, write_sick

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.errors import DataError
from sparsity_audit.schema.report import AuditReport

HTML = b"<!DOCTYPE html><html><body>404: not found</body></html>"
LENGTH_OF_A_HUGE_HEADER = (2**62).to_bytes(8, "little")


@pytest.fixture
def refused(tmp_path, capsys):
    """Call ``run`` on something bad, asking for outputs; check the line and that nothing was written."""

    def check(*arguments, said):
        before = sorted(tmp_path.rglob("*"))
        call(capsys, "run", *arguments, "--json", "out.json", "--markdown", "out.md").refused(*said)
        assert sorted(tmp_path.rglob("*")) == before

    return check


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.safetensors", b""),
        ("empty.pth", b""),
        ("header.safetensors", LENGTH_OF_A_HUGE_HEADER + b"{}"),
        ("page.pth", HTML),
        ("page.safetensors", HTML),
        ("cut.safetensors", DIGITS_MODEL.read_bytes()[:5000]),
    ],
)
def test_a_file_that_is_no_model(tmp_path, refused, name, content):
    (tmp_path / name).write_bytes(content)
    refused(name, said=[name])


def test_a_path_that_is_none(refused, tmp_path):
    refused("absent.safetensors", said=["absent.safetensors", "no such file"])
    refused(tmp_path, said=[str(tmp_path), "directory"])


def test_a_pickled_module_and_a_cut_pickle(tmp_path, refused):
    import torch

    torch.save(torch.nn.Conv2d(1, 1, 1), tmp_path / "module.pth")
    buffer = io.BytesIO()
    torch.save({"a.weight": torch.ones(4, 3, 3, 3)}, buffer)
    (tmp_path / "cut.pth").write_bytes(buffer.getvalue()[:-200])
    refused("module.pth", said=["module.pth", "Conv2d"])
    refused("cut.pth", said=["cut.pth"])


def changed(tmp_path, name, **changes):
    """Write the digits model with tensors replaced, or dropped where None; without metadata."""
    checkpoint = read_checkpoint(DIGITS_MODEL)
    tensors = {key: tensor.numpy() for key, tensor in checkpoint.tensors.items()}
    for key, value in changes.items():
        tensors.pop(key, None)
        if value is not None:
            tensors[key] = value
    write_safetensors(tmp_path / name, tensors, {})
    return name


def test_tensors_that_do_not_fit(tmp_path, refused):
    missing = changed(
        tmp_path, "missing.safetensors", **{"c3.norm.bias": None, "c3.bn.bias": None, "c3.conv.weight": None}
    )
    extra = changed(tmp_path, "extra.safetensors", **{"c9.conv.weight": np.ones((4, 4, 3, 3), np.float32)})
    shaped = changed(tmp_path, "shaped.safetensors", **{"c3.conv.weight": np.ones((16, 15, 3, 3), np.float32)})
    for path in (missing, extra, shaped):
        key = "c9.conv.weight" if path == extra else "c3.conv.weight"
        refused(path, "--arch", "zoo:basicnet", said=[path, key])
        refused(path, "--data", "digits", said=[path, "basicnet", key])


def test_unknown_names(tmp_path, refused):
    net = write_healthy(tmp_path / "m.safetensors")
    refused(net, "--data", "digts", said=["'digts'", "'digits'"])
    refused(net, "--rules", "defualt", said=["'default'"])
    refused(net, "--arch", "zoo:resnet21", said=["resnet21", "did you mean"])
    refused(net, "--arch", "torchvision:resnet19", said=["resnet19", "did you mean"])
    refused(net, "--arch", "resnet20", said=["resnet20", "zoo:NAME"])
    refused(net, "--arch", "python:x:y", said=["--trust-code"])
    refused(net, "--device", "warp", said=["--device warp"])
    refused(net, "--device", "meta", said=["--device meta"])
    refused(net, "--data", "digits", said=["m.safetensors", "--arch"])


def test_data_that_is_not_there(tmp_path, refused, monkeypatch):
    refused("m", "--data", "cifar10", "--data-root", tmp_path / "absent", said=[str(tmp_path / "absent")])
    refused("m", "--data", tmp_path, said=[str(tmp_path), "holds no data set"])

    def offline(*_args):
        raise DataError("no network")

    monkeypatch.setattr("sparsity_audit.data.load.download", offline)
    refused("m", "--data", "cifar10", "--data-root", tmp_path, said=[str(tmp_path), "no network", "--data-root"])


def write_cifar(folder, count, broken=()):
    """Write CIFAR-10 as parquet files of random images, some of them no images."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    rows = []
    for index, image in enumerate(pixels):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        rows.append({"bytes": HTML if index in broken else buffer.getvalue(), "path": f"{index}.png"})
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels = pa.array([index % 10 for index in range(count)], pa.int64())
    table = pa.table({"img": pa.array(rows, struct), "label": labels})
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    (folder / "classes.txt").write_text(
        "airplane automobile bird cat deer dog frog horse ship truck".replace(" ", "\n")
    )
    return folder


def test_images_that_are_none_are_counted_and_no_images(tmp_path, refused, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    refused("m", "--data", write_cifar(tmp_path / "broken", 12, broken=(3, 7)), said=["2 ", "broken"])
    refused("m", "--data", write_cifar(tmp_path / "none", 0), said=["none"])


def test_images_of_other_channels(tmp_path, refused, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    cifar = write_cifar(tmp_path / "cifar", 20)
    refused(DIGITS_MODEL, "--data", cifar, said=[DIGITS_MODEL.name, "1 channel,", "cifar10 have 3"])


@pytest.mark.shared
def test_images_of_other_channels_the_other_way_round(shared, refused):
    resnet = shared / "models" / "resnet20-12fca82f.th"
    refused(resnet, "--data", "digits", said=["resnet20-12fca82f.th", "3 channels", "digits have 1"])


def test_bad_data_is_told_once_however_many_models(tmp_path, capsys):
    net = write_healthy(tmp_path / "m.safetensors")
    call(capsys, "run", net, net, "--data", "digts").refused("'digts'")


def test_nan_weights_fail_a_rule_and_crash_nothing(tmp_path, capsys):
    write_net(tmp_path / "nan.safetensors", a=[1.0, float("nan"), float("inf"), 1e-5])
    ended = call(capsys, "run", "nan.safetensors", "--json", "out.json", "--markdown", "out.md")
    assert ended.code == 1
    assert "SA904" in ended.out
    text = (tmp_path / "out.json").read_text()
    content = json.loads(text, parse_constant=pytest.fail)
    model = content["models"][0]
    assert model["nonfinite_tensors"] == ["a.bn.weight"]
    assert model["layers"][0]["scale"] == [3]
    assert model["layers"][0]["gamma"][1:3] == [None, None]
    assert AuditReport.model_validate_json(text).exit_code == 1


def test_outputs_are_found_unwritable_before_the_model_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sparsity_audit.engine.session.prepare", lambda *_a, **_k: pytest.fail("the model was read"))
    net = write_healthy(tmp_path / "m.safetensors")
    (tmp_path / "folder").mkdir()
    (tmp_path / "own.toml").write_text('extends = "default"')
    call(capsys, "run", net, "--json", "absent/out.json").refused("--json absent/out.json", "folder absent")
    call(capsys, "run", net, "--markdown", "folder").refused("--markdown folder", "is a folder")
    call(capsys, "run", net, "--json", "m.safetensors/out.json").refused("--json")
    call(capsys, "run", net, "--json", "out", "--markdown", "folder/../out").refused("--markdown", "--json")
    call(capsys, "run", net, "--json", "m.safetensors").refused("--json m.safetensors", "input")
    call(capsys, "run", net, "--rules", "own.toml", "--markdown", "own.toml").refused("own.toml", "input")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "m.safetensors", "own.toml"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path, capsys):
    net = write_healthy(tmp_path / "m.safetensors")
    (tmp_path / "locked").mkdir(mode=0o500)
    call(capsys, "run", net, "--json", "locked/out.json").refused("--json locked/out.json", "Permission denied")


def test_an_output_that_fails_after_all_leaves_the_old_one(tmp_path, capsys, monkeypatch):
    net = write_healthy(tmp_path / "m.safetensors")
    (tmp_path / "out.json").write_text("old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sparsity_audit.outputs.os.fsync", full)
    call(capsys, "run", net, "--json", "out.json").refused("out.json", "No space left")
    assert (tmp_path / "out.json").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors", "out.json"]


def test_a_reader_that_leaves_changes_neither_the_verdict_nor_the_files(tmp_path):
    sick = write_sick(tmp_path / "sick.safetensors")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "sparsity_audit", "run", str(sick), "--json", "out.json"]
    done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads((tmp_path / "out.json").read_text())["exit_code"] == 1


def test_a_console_without_greek_letters(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    ended = run_program("run", write_sick(tmp_path / "sick.safetensors"))
    assert (ended.code, ended.err) == (1, "")
