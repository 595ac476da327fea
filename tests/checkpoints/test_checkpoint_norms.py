"""The weights-only view against real files, torchvision's real order of modules, and small files by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.checkpoints.norms import Norm, conv_layers, find_norms, find_unnormed
from sparsity_audit.checkpoints.tensor import Tensor


def tensors(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    """Tensors of ones by name; ``__`` stands for a dot."""
    named = {name.replace("__", "."): shape for name, shape in shapes.items()}
    return {n: Tensor(n, "F32", s, np.ones(s, np.float32).data.cast("B")) for n, s in named.items()}


def batch_norm(path: str, features: int) -> dict[str, Tensor]:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return tensors(**{f"{path}.{leaf}" if path else leaf: (features,) for leaf in leaves})


def only(found: list[Norm]) -> Norm:
    assert len(found) == 1
    return found[0]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "dead", "total", "paired"),
    [
        ("resnet20-12fca82f.th", 17, 688, 688),
        ("resnet56-4bfd9763.th", 56, 2032, 2032),
        ("lprnet-plates.pth", 791, 1028, 388),
        ("espnet-cityscapes-q8.pth", 510, 1886, 36),
        ("face-slim-320.pth", 52, 2272, 2272),
    ],
)
def test_public_checkpoints(name: str, dead: int, total: int, paired: int, shared: Path) -> None:
    norms = find_norms(read_checkpoint(shared / "models" / name).tensors)
    scales = np.concatenate([norm.scale for norm in norms if norm.scale is not None])
    assert (int((np.abs(scales) < 1e-3).sum()), scales.size) == (dead, total)
    assert sum(norm.features for norm in norms if norm.conv) == paired


@pytest.mark.shared
def test_lprnets_dead_features(shared: Path) -> None:
    norms = find_norms(read_checkpoint(shared / "models" / "lprnet-plates.pth").tensors)
    scale = np.concatenate([norm.scale for norm in norms if norm.scale is not None])
    shift = np.concatenate([norm.shift for norm in norms if norm.shift is not None])
    dead = np.abs(scale) < 1e-3
    assert int((shift[dead] <= 0).sum()) == 609
    assert int((np.abs(scale[scale != 0]) < np.finfo(np.float32).tiny).sum()) == 705
    assert scale.dtype == shift.dtype == np.float64


def norms_by_graph(model: nn.Module) -> dict[str, str | None]:
    """The oracle: for each batch norm the convolution whose output reaches it directly in the traced graph."""
    modules = dict(model.named_modules())
    found: dict[str, str | None] = {}
    for node in torch.fx.symbolic_trace(model).graph.nodes:
        if node.op == "call_module" and isinstance(modules[node.target], nn.BatchNorm2d):
            before = node.args[0]
            is_conv = before.op == "call_module" and isinstance(modules[before.target], nn.Conv2d)
            found[node.target] = before.target if is_conv else None
    return found


class PreActivated(nn.Module):
    """A block of He et al. 2016: bn1, relu, conv1, bn2, relu, conv2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.conv1(torch.relu(self.bn1(x)))
        out: torch.Tensor = self.conv2(torch.relu(self.bn2(hidden)))
        return out


def pre_activated() -> nn.Module:
    # The first two blocks have equal inputs and outputs: only the third gives the order away.
    return nn.Sequential(PreActivated(4, 4), PreActivated(4, 4), PreActivated(4, 8))


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "mobilenet_v2", "shufflenet_v2_x0_5", "densenet121", "pre"])
def test_pairs_are_the_graphs(name: str) -> None:
    with torch.device("meta"):
        model = pre_activated() if name == "pre" else torchvision.models.get_model(name, weights=None)
    truth = norms_by_graph(model.eval())
    state = {n: tuple(v.shape) for n, v in model.state_dict().items()}
    stand_ins = {n: Tensor(n, "F32", s, memoryview(bytes(4 * int(np.prod(s))))) for n, s in state.items()}

    found = {norm.path: norm.conv for norm in find_norms(stand_ins)}

    assert found.keys() == truth.keys()
    assert {path: conv for path, conv in found.items() if conv not in (None, truth[path])} == {}
    expected_pairs = {"densenet121": 1, "pre": 0}.get(name, len(truth))
    assert sum(conv is not None for conv in found.values()) == expected_pairs


@pytest.mark.parametrize(
    ("norm", "conv"),
    [
        ("bn1", "conv1"),
        ("layer1.0.bn2", "layer1.0.conv2"),
        ("stem.bn", "stem.conv"),
        ("stem.bn", "stem.conv2d"),
        ("bn2d", "conv2d"),
        ("norm0", "conv0"),
        ("batchnorm1", "conv1"),
        ("batch_norm", "conv"),
        ("features.1", "features.0"),
        ("1", "0"),
        ("layer2.0.downsample.1", "layer2.0.downsample.0"),
        ("depthwise_bn", "depthwise_conv"),
    ],
)
def test_exact_siblings_pair(norm: str, conv: str) -> None:
    found = only(find_norms(batch_norm(norm, 4) | tensors(**{f"{conv}.weight": (4, 3, 3, 3)})))
    assert (found.path, found.features, found.conv, found.position) == (norm, 4, conv, "conv")


@pytest.mark.parametrize(
    ("norm", "other", "shape"),
    [
        ("bn1", "conv1", (5, 3, 3, 3)),
        ("bn1", "conv2", (4, 3, 3, 3)),
        ("bn1", "block.conv1", (4, 3, 3, 3)),
        ("a.bn1", "b.conv1", (4, 3, 3, 3)),
        ("features.2", "features.0", (4, 3, 3, 3)),
        ("features.1", "features.0.conv", (4, 3, 3, 3)),
        ("features.1", "features.2", (4, 3, 3, 3)),
        ("0", "1", (4, 3, 3, 3)),
        ("head", "conv", (4, 3, 3, 3)),
    ],
)
def test_anything_else_does_not(norm: str, other: str, shape: tuple[int, ...]) -> None:
    found = only(find_norms(batch_norm(norm, 4) | tensors(**{f"{other}.weight": shape})))
    assert (found.conv, found.position) == (None, "unknown")


def test_after_a_linear_layer() -> None:
    found = only(find_norms(batch_norm("head.1", 4) | tensors(**{"head.0.weight": (4, 9)})))
    assert (found.conv, found.position) == (None, "linear")


def test_two_norms_never_claim_one_convolution() -> None:
    both = batch_norm("bn", 4) | batch_norm("norm", 4) | tensors(**{"conv.weight": (4, 3, 3, 3)})
    assert [norm.conv for norm in find_norms(both)] == [None, None]


def test_two_candidates_are_none() -> None:
    found = only(find_norms(batch_norm("bn", 4) | tensors(conv__weight=(4, 3, 3, 3), conv2d__weight=(4, 3, 3, 3))))
    assert found.conv is None


def test_without_affine_parameters() -> None:
    found = only(find_norms(tensors(bn__running_mean=(4,), bn__running_var=(4,), conv__weight=(4, 3, 3))))
    assert (found.scale, found.shift, found.conv) == (None, None, "conv")


def test_values_of_half_precision_norms() -> None:
    gamma = torch.tensor([1.0, -1e-3, 3e-5]).bfloat16()
    named = batch_norm("bn", 3)
    named["bn.weight"] = Tensor("bn.weight", "BF16", (3,), gamma.view(torch.uint8).numpy().data)
    scale = only(find_norms(named)).scale
    assert scale is not None
    assert scale.tolist() == gamma.double().tolist()


def test_norms_that_cannot_be_judged_are_returned_with_the_reason() -> None:
    named = (
        tensors(gn__weight=(4,), gn__bias=(4,), prelu__weight=(4,), fc__weight=(3, 4), fc__bias=(3,))
        | batch_norm("bn", 4)
        | tensors(half__running_mean=(5,), half__weight=(5,), half__bias=(5,))
        | batch_norm("torn", 4)
        | tensors(torn__weight=(3,))
    )
    skipped = {norm.path: norm for norm in find_unnormed(named)}
    assert list(skipped) == ["gn", "half", "torn"]
    assert (skipped["gn"].features, skipped["half"].features, skipped["torn"].features) == (4, 5, 4)
    assert "no running statistics" in skipped["gn"].reason
    assert "vectors of one length" in skipped["torn"].reason
    assert only(find_norms(named)).path == "bn"


def test_convolution_layers_by_shape() -> None:
    named = tensors(a__weight=(8, 3, 3, 3), b__weight=(8, 3), c__weight=(6, 2, 5), a__bias=(8,), a__mask=(8, 3, 3, 3))
    assert conv_layers(named | tensors(weight=(2, 1, 1, 1))) == {"a": (8, 216), "c": (6, 60), "": (2, 2)}
