"""A weight file alone: no torch for safetensors, and the counts of the public checkpoints."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli_helpers import call, run_program, write_net, write_sick

from sparsity_audit.checkpoints.safetensors_io import write_safetensors

SAYS_WHAT_WAS_IMPORTED = """
import sys
from sparsity_audit.cli.main import exit_code
codes = [exit_code(["run", path]) for path in sys.argv[1:]] + [exit_code(["--help"]), exit_code(["rules", "list"])]
heavy = {"torch", "torchvision", "sklearn", "pyarrow"} & set(sys.modules)
print(codes, sorted(heavy), file=sys.stderr)
"""


def test_no_torch_for_safetensors_bf16_included_nor_for_help(tmp_path):
    sick = write_sick(tmp_path / "sick.safetensors")
    values = np.array([1.0] * 5 + [1e-5] * 5, np.float32)
    bf16 = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    ones = b"\x80\x3f" * (10 * 3 * 9)
    header = {
        "a.conv.weight": {"dtype": "BF16", "shape": [10, 3, 3, 3], "data_offsets": [0, len(ones)]},
        "a.bn.weight": {"dtype": "BF16", "shape": [10], "data_offsets": [len(ones), len(ones) + 20]},
        "a.bn.bias": {"dtype": "BF16", "shape": [10], "data_offsets": [len(ones) + 20, len(ones) + 40]},
        "a.bn.running_mean": {"dtype": "BF16", "shape": [10], "data_offsets": [len(ones) + 40, len(ones) + 60]},
        "a.bn.running_var": {"dtype": "BF16", "shape": [10], "data_offsets": [len(ones) + 60, len(ones) + 80]},
    }
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + ones + bf16 + 3 * ones[:20]
    (tmp_path / "half.safetensors").write_bytes(content)
    ended = run_program(sick, tmp_path / "half.safetensors", code=SAYS_WHAT_WAS_IMPORTED, cwd=tmp_path)
    assert ended.err.strip() == "[1, 1, 0, 0] []"
    assert "5 of 10 filters inactive" in ended.out


def totals(capsys, path, tmp_path):
    ended = call(capsys, "run", path, "--json", "out.json", "-q")
    model = json.loads((tmp_path / "out.json").read_text())["models"][0]
    return ended, model


def test_what_the_weights_alone_tell(tmp_path, capsys):
    write_net(tmp_path / "m.safetensors", a=[1.0] * 4, b=[1e-5, -1e-5, 1.0])
    ended, model = totals(capsys, "m.safetensors", tmp_path)
    assert ended.code == 1
    assert model["totals"]["filters"] == model["totals"]["paired"] == 7
    assert model["totals"]["lost"]["scale"]["filters"] == 2
    assert model["layers"][1] | {} == model["layers"][1]
    assert (model["layers"][1]["key"], model["layers"][1]["norm"]) == ("b.conv", "b.bn")
    assert model["layers"][1]["scale"] == [0, 1]
    # β is −1: zero after a ReLU, no constant.
    assert model["layers"][1]["constant_candidates"] == []
    assert model["totals"]["params"] is model["totals"]["macs"] is None
    skipped = {result["rule"] for result in model["results"] if result["outcome"] == "skipped"}
    needing_data = "SA102 SA103 SA105 SA107 SA201 SA202 SA204 SA311 SA312 SA401 SA901 SA902 SA903"
    needing_runs = "SA301 SA302 SA303 SA304 SA305"
    assert skipped == {*needing_data.split(), *needing_runs.split()}
    assert all(result["reason"] for result in model["results"] if result["outcome"] == "skipped")


def test_a_convolution_without_a_norm_is_told_not_audited(tmp_path, capsys):
    write_safetensors(tmp_path / "bare.safetensors", {"conv.weight": np.ones((4, 3, 3, 3), np.float32)}, {})
    ended, model = totals(capsys, "bare.safetensors", tmp_path)
    assert ended.code == 5
    assert [skipped["layer"] for skipped in model["coverage"]["skipped"]] == ["conv"]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "dead", "features", "paired"),
    [
        ("resnet20-12fca82f.th", 17, 688, None),
        ("resnet56-4bfd9763.th", 56, 2032, None),
        ("lprnet-plates.pth", 791, 1028, None),
        ("espnet-cityscapes-q8.pth", 510, 1886, 36),
        ("face-slim-320.pth", 52, 2272, None),
    ],
)
def test_public_checkpoints(shared, tmp_path, capsys, name, dead, features, paired):
    ended, model = totals(capsys, shared / "models" / name, tmp_path)
    assert ended.err == ""
    assert model["totals"]["filters"] == features
    assert model["totals"]["lost"]["scale"]["filters"] == dead
    assert sum(len(layer["scale"] or []) for layer in model["layers"]) == dead
    if paired is not None:
        assert model["totals"]["paired"] == paired
    if name.startswith("lprnet"):
        candidates = sum(len(layer["constant_candidates"]) for layer in model["layers"])
        assert dead - candidates == 609
