"""Networks that no code here was written for, by their files and the command line alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from eager_filters import eager_filters
from lprnet import LPRNet
from PIL import Image
from torch import nn
from yolo_like import Detector

from sparsity_audit.cli.main import exit_code
from sparsity_audit.schema.report import AuditReport, ModelReport

IMAGES = 24


def random_images(folder: Path, height: int, width: int) -> np.ndarray:
    """Write random images of growing contrast into two class folders; return them as uint8 [N, H, W, 3]."""
    rng = np.random.default_rng(0)
    contrast = np.linspace(0.2, 1.0, IMAGES)[:, None, None, None]
    pixels = (rng.integers(0, 256, (IMAGES, height, width, 3)) * contrast).astype(np.uint8)
    for number, image in enumerate(pixels):
        file = folder / ("a" if number < IMAGES // 2 else "b") / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return pixels


def by_command(weights: Path, factory: str, data: Path, work: Path) -> ModelReport:
    report = work / "report.json"
    options = ["--data", f"imagefolder:{data}", "--arch", f"python:{factory}", "--trust-code", "--json", str(report)]
    code = exit_code(
        ["run", str(weights), *options, "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--batch-size", "7"]
    )
    assert code in (0, 1)
    return AuditReport.model_validate_json(report.read_text()).models[0]


def assert_verdicts(found: ModelReport, model: nn.Module, pixels: np.ndarray) -> int:
    """Compare every filter's verdicts with an eager run's; return how many are dead or constant."""
    images = torch.from_numpy(pixels).float().div(255).sub(0.5).div(0.5).permute(0, 3, 1, 2).contiguous()
    oracle = eager_filters(model.eval(), images)
    assert [(layer.key, layer.filters) for layer in found.layers] == [(each.key, len(each.high)) for each in oracle]
    state = model.state_dict()
    total = 0
    for layer, each in zip(found.layers, oracle, strict=True):
        assert (layer.activation, layer.constant) == (each.inactive(), each.constant()), layer.key
        gamma = None if each.norm is None else state[f"{each.norm}.weight"].abs() < 1e-3
        assert layer.scale == (None if gamma is None else torch.nonzero(gamma).flatten().tolist()), layer.key
        total += len(each.inactive()) + len(each.constant())
    return total


@pytest.mark.shared
def test_licence_plate_reader(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSITY_AUDIT_CACHE", str(tmp_path / "cache"))
    weights = shared / "models" / "lprnet-plates.pth"
    pixels = random_images(tmp_path / "plates", 24, 94)
    found = by_command(weights, "lprnet:LPRNet", tmp_path / "plates", tmp_path)
    model = LPRNet()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    assert assert_verdicts(found, model, pixels) > 600
    assert sum(len(layer.scale or ()) for layer in found.layers) == 791
    assert any("rest of its batch" in note for note in found.notes)  # its means run over the whole batch


def test_detector_with_half_precision_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSITY_AUDIT_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    model = Detector()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.uniform_(-0.2, 0.2)
            part.weight.data[[0, 2]] = 0
            part.bias.data[:3] = torch.tensor([0.0, -0.3, 0.4])
    model.half().float()
    weights = tmp_path / "best.pt"
    state = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    torch.save({"epoch": -1, "best_fitness": 0.5, "model": state, "opt": {"lr0": 0.01}, "date": "2024"}, weights)
    pixels = random_images(tmp_path / "photographs", 64, 96)
    found = by_command(weights, "yolo_like:Detector", tmp_path / "photographs", tmp_path)
    norms = sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())
    assert assert_verdicts(found, model, pixels) == 2 * norms
    assert sum(len(layer.scale or ()) for layer in found.layers) == 2 * norms
    assert found.layers[-1].scale is None
