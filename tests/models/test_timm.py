"""timm's networks: recognised without timm, built with it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from timm_layouts import mobilenetv2_100
from torchvision import models

from sparsity_audit.checkpoints.checkpoint import Checkpoint
from sparsity_audit.errors import ArchitectureError, UsageError
from sparsity_audit.models import timm_index
from sparsity_audit.models.detect import detect
from sparsity_audit.models.index import load_index
from sparsity_audit.models.load import load_model
from sparsity_audit.models.shapes import Shape
from sparsity_audit.models.timm_index import TIMM_INDEX, load_timm_index, match_timm, names_digest, shapes_digest

Save = Callable[..., Checkpoint]

SOME = (
    "resnet26d resnet34d seresnet50 resnest14d ecaresnet26t rexnet_100 mobilenetv2_100 mobilenetv3_small_050 "
    "ghostnet_100 hardcorenas_a densenet121 dla34 selecsls42b hrnet_w18_small vgg11_bn regnetx_002 regnety_004 "
    "convnext_atto repvgg_a0 inception_v4 xception41 nf_resnet50 gernet_s dpn68 res2net50_26w_4s cspresnet50 "
    "tf_efficientnet_lite0 mnasnet_100 darknet53 skresnet18"
).split()


@pytest.fixture
def timm() -> ModuleType:
    """Return timm, an optional extra."""
    found: ModuleType = pytest.importorskip("timm", reason="timm, an optional extra, is not installed")
    return found


@pytest.fixture
def without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)


def shapes_of(state: dict[str, torch.Tensor]) -> dict[str, Shape]:
    return {name: tuple(value.shape) for name, value in state.items()}


@pytest.mark.parametrize("classes", [1000, 10, 1])
def test_a_network_is_found_by_hand_written_tensors(classes: int) -> None:
    shapes = shapes_of(mobilenetv2_100(classes))
    ((entry, found),) = match_timm(shapes)
    assert (entry.name, found) == ("mobilenetv2_100", classes)
    assert match_timm(dict(reversed(shapes.items()))) == [(entry, classes)]
    assert match_timm({name: shape for name, shape in shapes.items() if "num_batches" not in name})


def test_one_tensor_missing_extra_or_misshapen_is_no_match() -> None:
    shapes = shapes_of(mobilenetv2_100(10))
    for name in ("bn1.running_mean", "classifier.bias", "blocks.1.0.conv_dw.weight"):
        assert not match_timm({key: shape for key, shape in shapes.items() if key != name})
        assert not match_timm(shapes | {f"{name}_mask": shapes[name]})
        assert not match_timm(shapes | {name: (*shapes[name], 3)})
        assert not match_timm(shapes | {name: ()})


def test_both_indexes_name_the_same_twins() -> None:
    listed = [entry for entry in load_index() if entry.twins]
    assert len(listed) == 14
    for entry in listed:
        found = match_timm(entry.shapes_at(7, auxiliary=True))
        assert {f"timm:{match.name}" for match, _ in found} == set(entry.twins)
        assert {classes for _, classes in found} == {7}


def test_torchvision_goes_before_its_twins(save: Save) -> None:
    found = detect(save(models.resnet18(num_classes=3).state_dict()))
    assert (found.source, found.name) == ("torchvision", "resnet18")
    assert "timm:resnet18" in found.twins


@pytest.mark.usefixtures("without_timm")
def test_without_timm_a_network_is_recognised_and_running_it_asks_for_timm(save: Save) -> None:
    checkpoint = save(mobilenetv2_100(5))
    found = detect(checkpoint)
    assert (found.source, found.name, found.classes, found.in_channels) == ("timm", "mobilenetv2_100", 5, 3)
    for arch in (None, "timm:mobilenetv2_100"):
        with pytest.raises(UsageError) as failure:
            load_model(checkpoint, arch)
        assert str(failure.value) == (
            f"{checkpoint.path}: network 'timm:mobilenetv2_100' needs the optional package timm: "
            "pip install 'sparsity-audit[timm]'"
        )


def test_twins_within_timm_are_listed_and_not_chosen_from(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"stem.weight": torch.ones(4, 3, 3, 3), "head.weight": torch.ones(6, 4)}
    shapes, axes = shapes_of(state), {"head.weight": 0}
    entries = {
        name: timm_index.TimmEntry(name, names_digest(shapes), shapes_digest(shapes, axes), axes)
        for name in ("tinynet", "tf_tinynet")
    }
    monkeypatch.setattr(timm_index, "load_timm_index", lambda: entries)
    checkpoint = save(state)
    with pytest.raises(ArchitectureError) as failure:
        detect(checkpoint)
    assert str(failure.value) == (
        f"{checkpoint.path}: the tensors fit 2 networks of timm, which may differ in function: timm:tinynet, "
        "timm:tf_tinynet; name the right one with --arch timm:NAME"
    )
    assert failure.value.exit_code == 4


def test_a_pruned_network_is_told_by_its_names(save: Save) -> None:
    state = mobilenetv2_100(5)
    state |= {"conv_head.weight": torch.ones(900, 320, 1, 1), "classifier.weight": torch.ones(5, 900)}
    with pytest.raises(ArchitectureError, match=r"names, but not the shapes, of timm:mobilenetv2_.* and 2 more; name"):
        detect(save(state))


def test_looking_up_is_fast_and_needs_neither_torch_nor_timm() -> None:
    shapes = shapes_of(mobilenetv2_100(10))
    load_timm_index.cache_clear()
    start = time.process_time()  # not the wall clock: other work on the machine must not fail this
    assert match_timm(shapes)
    assert time.process_time() - start < 0.5
    code = "import sys, sparsity_audit.models.timm_index as i; i.load_timm_index(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_index_is_small_and_holds_every_network_listed_here() -> None:
    assert (Path(timm_index.__file__).parent / TIMM_INDEX).stat().st_size < 200_000
    assert load_timm_index().keys() >= set(SOME)


@pytest.mark.parametrize("name", SOME)
def test_timms_networks_are_found_among_all(timm: ModuleType, name: str) -> None:
    with torch.device("meta"):
        module = timm.create_model(name, num_classes=12)
    found = match_timm(shapes_of(module.state_dict()))
    assert name in [entry.name for entry, _ in found]
    assert {classes for _, classes in found} == {12}


@pytest.mark.slow
def test_every_network_is_found_among_all_in_little_time(timm: ModuleType) -> None:
    longest = 0.0
    for name in load_timm_index():
        with torch.device("meta"):
            shapes = shapes_of(timm.create_model(name, num_classes=12).state_dict())
        start = time.process_time()
        found = match_timm(shapes)
        longest = max(longest, time.process_time() - start)
        assert (name, 12) in [(entry.name, classes) for entry, classes in found]
    assert longest < 0.5


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    "name",
    ["mobilenetv3_small_050", "resnet18d", "ghostnet_100", "selecsls42b", "regnetx_002", "tf_efficientnet_lite0"],
)
def test_a_network_computes_what_it_computed(name: str, save: Save) -> None:
    import timm

    torch.manual_seed(0)
    original = timm.create_model(name, num_classes=4)
    checkpoint = save(original.state_dict())
    loaded = load_model(checkpoint, f"timm:{name}")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.module(images), original.eval()(images))
    known = loaded.architecture
    assert (known.name, known.how, known.classes) == (f"timm:{name}", "option", 4)
    assert known.input_shape == tuple(original.pretrained_cfg["input_size"])
    assert known.normalisation is not None
    assert known.normalisation.mean == list(original.pretrained_cfg["mean"])


@pytest.mark.usefixtures("timm")
def test_a_recognised_network_is_loaded(save: Save) -> None:
    loaded = load_model(save(mobilenetv2_100(5)))
    assert (loaded.architecture.name, loaded.architecture.how) == ("timm:mobilenetv2_100", "detected")
    assert bool((loaded.module.get_parameter("conv_head.weight") == 1).all())


@pytest.mark.usefixtures("timm")
def test_twins_with_other_padding_are_asked_for(save: Save) -> None:
    import timm

    # tf_efficientnet_b0 pads as TensorFlow does: the same tensors, another function.
    with pytest.raises(ArchitectureError, match=r"timm:efficientnet_b0, .*timm:tf_efficientnet_b0"):
        load_model(save(timm.create_model("efficientnet_b0", num_classes=2).state_dict()))


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilenetv2_10", "did you mean 'mobilenetv2_1"),
        ("hf-hub:timm/resnet18.a1_in1k", "unknown network"),
        ("zzzz", r"timm\.list_models\(\) names them"),
    ],
)
def test_unknown_names_fetch_nothing(save: Save, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as failure:
        load_model(save(mobilenetv2_100(5)), f"timm:{name}")
    assert "\n" not in str(failure.value)


@pytest.mark.usefixtures("timm")
def test_another_network_than_the_weights(save: Save) -> None:
    with pytest.raises(ArchitectureError, match=r"do not fit timm:resnet18d"):
        load_model(save(mobilenetv2_100(5)), "timm:resnet18d")
