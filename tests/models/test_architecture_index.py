"""Looking torchvision's models up by names and shapes, against the models themselves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torchvision import models

from sparsity_audit.models.index import INDEX, find_entry, load_index, match_torchvision
from sparsity_audit.models.registry import build_torchvision
from sparsity_audit.models.shapes import Shape
from sparsity_audit.models.skeleton import build_skeleton, module_shapes

ALL = models.list_models(module=models)
SOME = [
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5"),
    *(
        "mobilenet_v2",
        "resnet18",
        "shufflenet_v2_x0_5",
        "squeezenet1_0",
        "squeezenet1_1",
        "swin_t",
        "vgg11",
        "vit_b_16",
    ),
]


def shapes_of(name: str, classes: int, **more: object) -> dict[str, Shape]:
    if name in ("googlenet", "inception_v3"):
        more["init_weights"] = False
    with torch.device("meta"):
        module = models.get_model(name, weights=None, num_classes=classes, **more)
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def test_the_index_holds_the_installed_torchvision() -> None:
    assert {entry.name for entry in load_index()} <= set(ALL)
    assert len(load_index()) >= 80


@pytest.mark.parametrize("classes", [1000, 10])
@pytest.mark.parametrize("name", SOME)
def test_a_model_is_found_alone_at_any_class_count(name: str, classes: int) -> None:
    (match,) = match_torchvision(shapes_of(name, classes))
    assert (match.name, match.classes) == (name, classes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_model_is_found_alone(name: str) -> None:
    shapes = module_shapes(build_skeleton(lambda: build_torchvision(name, 3, 10)))
    (match,) = match_torchvision(shapes)
    assert (match.name, match.classes) == (name, 10)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_may_be_absent(name: str) -> None:
    shapes = shapes_of(name, 17, aux_logits=False)
    (match,) = match_torchvision(shapes)
    assert (match.name, match.classes) == (name, 17)


def test_half_an_auxiliary_head_does_not_match() -> None:
    shapes = shapes_of("googlenet", 10)
    del shapes["aux1.fc1.weight"]
    assert match_torchvision(shapes) == []


def test_batch_counters_may_be_absent() -> None:
    shapes = {name: shape for name, shape in shapes_of("vgg11_bn", 5).items() if "num_batches" not in name}
    assert [match.name for match in match_torchvision(shapes)] == ["vgg11_bn"]


@pytest.mark.parametrize("name", ["bn1.running_mean", "fc.weight", "layer4.1.conv2.weight"])
def test_one_tensor_missing_extra_or_misshapen_is_no_match(name: str) -> None:
    shapes = shapes_of("resnet18", 10)
    assert not match_torchvision({key: shape for key, shape in shapes.items() if key != name})
    assert not match_torchvision(shapes | {f"{name}_mask": shapes[name]})
    assert not match_torchvision(shapes | {name: (*shapes[name][:-1], 3 + shapes[name][-1])})


def test_class_tensors_at_odds_are_no_match() -> None:
    assert not match_torchvision(shapes_of("resnet18", 10) | {"fc.bias": (11,)})


@pytest.mark.parametrize("shapes", [{}, {"fc.weight": ()}, {"": (1,)}])
def test_odd_input_is_no_match(shapes: dict[str, Shape]) -> None:
    assert match_torchvision(shapes) == []


def test_twins_of_other_libraries_are_named() -> None:
    with_twins = {entry.name for entry in load_index() if entry.twins}
    assert len(with_twins) == 14
    (match,) = match_torchvision(shapes_of("resnet50", 10))
    assert {"timm:resnet50", "timm:resnetblur50"} <= set(match.twins)
    assert match_torchvision(shapes_of("vgg16_bn", 10))[0].twins == ()


def test_preprocessing_is_that_of_torchvisions_weights() -> None:
    for name in ("resnet18", "efficientnet_b7", "efficientnet_v2_l"):
        entry = find_entry(name)
        assert entry is not None
        preset = models.get_model_weights(name).DEFAULT.transforms()
        assert (entry.normalisation.mean, entry.normalisation.std) == (list(preset.mean), list(preset.std))
        assert entry.side == preset.crop_size[0]
    assert find_entry("no_such_model") is None


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_that_renormalise_inside_get_the_outcome_from_outside(name: str) -> None:
    # torchvision's own weights come with transform_input=True and ImageNet's normalisation.
    module = models.get_model(name, weights=None, init_weights=False, transform_input=True)
    pixels = torch.rand(2, 3, 8, 8)
    preset = models.get_model_weights(name).DEFAULT.transforms()
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (preset.mean, preset.std))
    inside = module._transform_input((pixels - mean) / std)
    entry = find_entry(name)
    assert entry is not None
    ours = [torch.tensor(values).reshape(3, 1, 1) for values in (entry.normalisation.mean, entry.normalisation.std)]
    torch.testing.assert_close((pixels - ours[0]) / ours[1], inside)


def test_looking_up_is_fast_and_needs_neither_torch_nor_torchvision() -> None:
    shapes = shapes_of("efficientnet_v2_l", 10)
    seconds = []
    for _ in range(3):
        load_index.cache_clear()
        start = time.process_time()  # not the wall clock: other work on the machine must not fail this
        assert match_torchvision(shapes)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.3
    code = "import sys, sparsity_audit.models.index as i; i.load_index(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_index_is_small() -> None:
    index = Path(sys.modules["sparsity_audit.models.index"].__file__ or "").parent / INDEX
    assert index.stat().st_size < 300_000
