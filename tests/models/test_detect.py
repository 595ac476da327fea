"""Whose weights are these? Against networks whose names are known."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from sparsity_audit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from sparsity_audit.errors import ArchitectureError
from sparsity_audit.models.basicnet import basicnet_filters
from sparsity_audit.models.detect import detect
from sparsity_audit.models.load import load_model
from sparsity_audit.models.recognise import read_width
from sparsity_audit.models.registry import build_network, infer_zoo
from sparsity_audit.models.skeleton import module_shapes
from sparsity_audit.schema.spec import NetworkSpec

Save = Callable[..., Checkpoint]


@pytest.mark.parametrize("width", [0.01, 0.05, 0.125, 0.2, 0.25, 0.3, 1 / 3, 0.5, 0.7, 0.9, 1.0, 1.37, 2.0])
def test_width_is_read_back_to_the_same_filters(width: float) -> None:
    filters = basicnet_filters(1, width)
    assert basicnet_filters(1, read_width(list(filters[1:]))) == filters


@pytest.mark.parametrize("width", [0.125, 0.25, 0.3, 0.5, 0.7, 1.0, 2.0])
def test_a_short_width_is_read_back_as_written(width: float) -> None:
    assert read_width(list(basicnet_filters(1, width)[1:])) == width


@pytest.mark.parametrize(
    ("keys", "in_channels", "classes"),
    [
        ({"name": "basicnet", "first": 8, "width": 0.125, "head": [32]}, 1, 10),
        ({"name": "basicnet", "first": 7, "width": 0.3, "head": []}, 3, 2),
        ({"name": "basicnet", "first": 32, "width": 0.25, "head": [512, 256]}, 3, 200),
        ({"name": "basicnet", "first": 64, "width": 1.0, "head": [4096, 2048]}, 3, 1000),
        ({"name": "vgg11", "head": [512]}, 3, 10),
        ({"name": "vgg16", "head": [512, 256]}, 3, 200),
        ({"name": "vgg19", "head": []}, 3, 100),
        ({"name": "vgg13", "head": [4096, 4096]}, 3, 1000),
        ({"name": "vgg11", "head": [9, 8, 7]}, 5, 1000),
        ({"name": "resnet20"}, 3, 10),
        ({"name": "resnet110"}, 1, 1),
    ],
)
def test_zoo_specs_are_read_off_the_tensors(keys: dict[str, object], in_channels: int, classes: int) -> None:
    spec = NetworkSpec(**keys)  # type: ignore[arg-type]
    with torch.device("meta"):
        shapes = module_shapes(build_network(spec, in_channels, classes))
    (match,) = infer_zoo(shapes)
    assert match == (spec.name, spec, in_channels, classes)


def test_defaults_of_the_paper_are_read_back_to_the_same_network() -> None:
    for name, classes in [("basicnet", 1000), ("basicnet", 200), ("vgg16", 1000), ("vgg19", 10)]:
        with torch.device("meta"):
            shapes = module_shapes(build_network(NetworkSpec(name=name), 3, classes))
            (match,) = infer_zoo(shapes)
            again = module_shapes(build_network(match.spec, 3, classes))
        assert again == shapes


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("resnet18", 10),
        ("shufflenet_v2_x0_5", 2),
        ("mobilenet_v3_small", 100),
        ("squeezenet1_1", 7),
        ("densenet121", 1000),
    ],
)
def test_torchvision_networks_in_a_file(save: Save, name: str, classes: int) -> None:
    found = detect(save(models.get_model(name, weights=None, num_classes=classes).state_dict()))
    assert (found.source, found.name, found.classes, found.in_channels) == ("torchvision", name, classes, 3)
    assert found.spec is None


@pytest.mark.slow
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_torchvision_network_in_a_file(save: Save, name: str) -> None:
    if name == "regnet_y_128gf":
        pytest.skip("2.6 GB of weights twice over")
    more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    state = models.get_model(name, weights=None, num_classes=12, **more).state_dict()
    checkpoint = save(state)
    found = detect(checkpoint)
    assert (found.name, found.classes) == (name, 12)
    loaded = load_model(checkpoint).module.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_wrappers_names_do_not_hide_a_network(tmp_path: Path) -> None:
    net = nn.DataParallel(build_network(NetworkSpec(name="basicnet", first=3, width=0.02), 1, 4))
    path = tmp_path / "model.pth"
    torch.save({"state_dict": net.state_dict(), "epoch": 3}, path)
    found = detect(read_checkpoint(path))
    assert (found.source, found.name, found.in_channels, found.classes) == ("zoo", "basicnet", 1, 4)


def test_densenets_old_names_are_known(save: Save) -> None:
    # "norm.1.weight" for "norm1.weight", as torchvision's own files have it.
    state = models.densenet121(num_classes=3).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): value for name, value in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    checkpoint = save(old)
    assert detect(checkpoint).name == "densenet121"
    loaded = load_model(checkpoint).module.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_twins_are_named(save: Save) -> None:
    assert "timm:resnetblur18" in detect(save(models.resnet18(num_classes=5).state_dict())).twins
    net = build_network(NetworkSpec(name="basicnet", first=3, width=0.02), 1, 4)
    assert detect(save(net.state_dict())).twins == ("zoo:basicnet with leaky_relu",)


def failure(checkpoint: Checkpoint) -> str:
    with pytest.raises(ArchitectureError) as raised:
        detect(checkpoint)
    text = str(raised.value)
    assert "\n" not in text
    assert text.startswith(f"{checkpoint.path}: the tensors fit no known network")
    assert text.endswith("--arch zoo:NAME | torchvision:NAME | timm:NAME | python:PKG.MODULE:FACTORY")
    return text


def test_a_widened_layer_names_the_network_and_what_differs(save: Save) -> None:
    net = models.resnet18(num_classes=10)
    net.layer1[0].conv1 = nn.Conv2d(64, 80, 3, bias=False)
    net.layer1[0].bn1 = nn.BatchNorm2d(80)
    text = failure(save(net.state_dict()))
    assert "nearest is torchvision:resnet18 (" in text
    assert "layer1.0.conv1.weight is 80×64×3×3 where the network has 64×64×3×3" in text
    assert "and 2 more" in text  # conv1 and four vectors of bn1 differ: five, of which three are shown
    assert "fc." not in text


def test_masks_beside_the_weights_are_named(save: Save) -> None:
    state = build_network(NetworkSpec(name="resnet20"), 3, 10).state_dict()
    text = failure(save(state | {"conv1.weight_mask": torch.ones(16, 3, 3, 3)}))
    assert "nearest is zoo:resnet20" in text
    assert "conv1.weight_mask is extra" in text


def test_a_missing_tensor_is_named(save: Save) -> None:
    state = build_network(NetworkSpec(name="vgg11"), 3, 10).state_dict()
    del state["c4.norm.bias"]
    text = failure(save(state))
    assert "nearest is zoo:vgg11" in text
    assert "c4.norm.bias is missing" in text


def test_alien_tensors_are_near_nothing(save: Save) -> None:
    assert "none of them is like one of theirs" in failure(
        save({"alien.a": torch.zeros(3), "alien.b": torch.zeros(2, 2)})
    )


@pytest.mark.parametrize("shape", [(), (1,), (0, 0, 0, 0), (2, 0, 3, 3), (1 << 50, 0)])
def test_known_names_with_odd_shapes_do_not_crash(save: Save, shape: tuple[int, ...]) -> None:
    names = ["c1.conv.weight", "head.0.weight", "conv1.weight", "layer1.0.conv1.weight", "linear.weight", "fc.weight"]
    text = failure(save({name: torch.zeros(shape) for name in names}))
    assert "nearest is" in text


@pytest.mark.shared
@pytest.mark.parametrize(("file", "name"), [("resnet20-12fca82f.th", "resnet20"), ("resnet56-4bfd9763.th", "resnet56")])
def test_public_cifar_resnets(shared: Path, file: str, name: str) -> None:
    found = detect(read_checkpoint(shared / "models" / file))
    assert (found.source, found.name, found.in_channels, found.classes) == ("zoo", name, 3, 10)


@pytest.mark.shared
@pytest.mark.parametrize("file", ["lprnet-plates.pth", "espnet-cityscapes-q8.pth", "face-slim-320.pth"])
def test_public_networks_that_are_unknown(shared: Path, file: str) -> None:
    failure(read_checkpoint(shared / "models" / file))
