"""Loading: options, metadata, detection, dtypes, and everything that can be wrong with them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from sparsity_audit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from sparsity_audit.errors import ArchitectureError, CheckpointError, UntrustedCodeError, UsageError
from sparsity_audit.models.load import load_model, loaded_module
from sparsity_audit.models.metadata import KEY, metadata_entries, read_metadata
from sparsity_audit.models.registry import build_network
from sparsity_audit.schema.spec import ModelMetadata, NetworkSpec, Normalisation

Save = Callable[..., Checkpoint]

SPEC = NetworkSpec(name="basicnet", first=4, width=0.02, head=[6], activation="leaky_relu", negative_slope=0.2)
METADATA = ModelMetadata(
    network=SPEC,
    input_shape=(1, 8, 8),
    classes=["zero", "one", "two"],
    normalisation=Normalisation(mean=[0.3], std=[0.2]),
    pixel_scale=16,
)


def small_net() -> nn.Module:
    """Return a network whose norms have seen data, so that no default can pass for its values."""
    torch.manual_seed(0)
    net = build_network(SPEC, 1, 3).train()
    for _ in range(3):
        net(torch.randn(5, 1, 8, 8))
    return net.eval()


def logits(module: nn.Module, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        out: torch.Tensor = module(torch.randn(2, *shape, generator=generator))
    return out


def test_metadata_rebuild_the_network_and_its_activation(save: Save) -> None:
    net = small_net()
    loaded = load_model(save(net.state_dict(), metadata_entries(METADATA)))
    assert torch.equal(logits(loaded.module, 1, 8, 8), logits(net, 1, 8, 8))
    assert loaded.metadata == METADATA
    known = loaded.architecture
    assert (known.name, known.how, known.twins) == ("zoo:basicnet", "metadata", ())
    assert (known.classes, known.input_shape, known.normalisation) == (3, (1, 8, 8), METADATA.normalisation)
    assert not any(part.training for part in loaded.module.modules())
    assert int(loaded.module.get_buffer("c1.norm.num_batches_tracked")) == 3


def test_without_metadata_the_network_is_detected(save: Save) -> None:
    loaded = load_model(save(small_net().state_dict()))
    known = loaded.architecture
    assert (known.name, known.how, known.classes, known.input_shape) == ("zoo:basicnet", "detected", 3, (1, 32, 32))
    assert known.twins == ("zoo:basicnet with leaky_relu",)
    assert known.normalisation is None
    assert loaded.metadata is None


def test_the_option_goes_before_the_metadata(save: Save) -> None:
    checkpoint = save(small_net().state_dict(), metadata_entries(METADATA))
    loaded = load_model(checkpoint, "zoo:basicnet")
    assert loaded.architecture.how == "option"
    assert loaded.architecture.input_shape == (1, 8, 8)
    assert any(isinstance(part, nn.ReLU) for part in loaded.module.modules())
    with pytest.raises(ArchitectureError, match="do not fit zoo:resnet20"):
        load_model(checkpoint, "zoo:resnet20")


def test_metadata_survive_their_round_trip(save: Save) -> None:
    assert read_metadata(save({"a": torch.zeros(1)}, metadata_entries(METADATA))) == METADATA
    assert read_metadata(save({"a": torch.zeros(1)}, {"format": "pt"})) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSON"),
        ("{}", "network"),
        (json.dumps(METADATA.model_dump(mode="json") | {"colour": 1}), "colour"),
    ],
)
def test_broken_metadata(save: Save, text: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as failure:
        load_model(save(small_net().state_dict(), {KEY: text}))
    assert "\n" not in str(failure.value)
    assert "model.safetensors: metadata entry 'sparsity_audit' is unusable" in str(failure.value)


def test_metadata_that_name_no_network(save: Save) -> None:
    unknown = METADATA.model_copy(update={"network": NetworkSpec(name="basicnett")})
    with pytest.raises(ArchitectureError, match=r"model\.safetensors: .*did you mean 'basicnet'"):
        load_model(save(small_net().state_dict(), metadata_entries(unknown)))


def test_metadata_that_name_another_network(save: Save) -> None:
    wider = METADATA.model_copy(update={"network": SPEC.model_copy(update={"first": 5})})
    with pytest.raises(ArchitectureError, match=r"c1\.conv\.weight is 4×1×5×5 where the network has 5×1×5×5"):
        load_model(save(small_net().state_dict(), metadata_entries(wider)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_become_float32(save: Save, dtype: torch.dtype) -> None:
    state = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in small_net().state_dict().items()
    }
    loaded = load_model(save(state)).module
    for name, value in loaded.state_dict().items():
        if value.is_floating_point():
            assert value.dtype == torch.float32
            assert torch.equal(value, state[name].to(torch.float32)), name


def test_counters_may_be_absent(save: Save) -> None:
    state = {name: value for name, value in small_net().state_dict().items() if "num_batches" not in name}
    loaded = load_model(save(state)).module
    assert int(loaded.get_buffer("c1.norm.num_batches_tracked")) == 0
    assert torch.equal(loaded.get_buffer("c2.norm.running_var"), state["c2.norm.running_var"])


def test_nan_weights_load(save: Save) -> None:
    state = small_net().state_dict()
    state["c2.conv.weight"][0] = float("nan")
    assert load_model(save(state)).module.get_parameter("c2.conv.weight").isnan().any()


@pytest.mark.parametrize("name", ["googlenet", "mnasnet0_5", "regnet_x_400mf", "mobilenet_v3_small"])
def test_torchvision_networks_compute_the_same(save: Save, name: str) -> None:
    torch.manual_seed(0)
    more = {"init_weights": False} if name == "googlenet" else {}
    net = models.get_model(name, weights=None, num_classes=6, **more).eval()
    for option in (None, f"torchvision:{name}"):
        loaded = load_model(save(net.state_dict()), option)
        assert loaded.architecture.name == f"torchvision:{name}"
        assert loaded.architecture.how == ("option" if option else "detected")
        assert (loaded.architecture.classes, loaded.architecture.input_shape) == (6, (3, 224, 224))
        assert not any(value.is_meta for value in loaded.module.state_dict().values())
        assert torch.equal(logits(loaded.module, 3, 64, 64), logits(net, 3, 64, 64))


def test_preprocessing_comes_with_torchvision_networks(save: Save) -> None:
    net = models.inception_v3(weights=None, num_classes=3, init_weights=False, aux_logits=False)
    known = load_model(save(net.state_dict())).architecture
    assert known.input_shape == (3, 299, 299)
    assert known.normalisation == Normalisation(mean=[0.5] * 3, std=[0.5] * 3)
    known = load_model(save(models.squeezenet1_1(num_classes=2).state_dict())).architecture
    assert known.normalisation == Normalisation(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


def test_the_message_on_a_misfit_counts_what_it_does_not_show(save: Save) -> None:
    state = small_net().state_dict()
    del state["c1.norm.weight"]
    state["c2.conv.weight"] = torch.zeros(2, 4, 3, 3)
    state |= {f"mask{number}": torch.zeros(1) for number in range(3)}
    with pytest.raises(ArchitectureError) as failure:
        load_model(save(state, metadata_entries(METADATA)))
    text = str(failure.value)
    assert "5 tensors do not fit zoo:basicnet: c2.conv.weight is 2×4×3×3 where the network has 3×4×3×3" in text
    assert "; c1.norm.weight is missing; mask0 is extra and 2 more; " in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("zoo:basic_net", "did you mean 'basicnet'"),
        ("torchvision:resnet81", "did you mean 'resnet1"),
        ("torchvision:fcn_resnet50", "unknown network"),
        ("resnet20", "did you mean 'zoo:resnet20'"),
        ("resnet18", "did you mean 'torchvision:resnet18'"),
        ("hub:resnet18", "not of the form"),
        ("zoo:", "not of the form"),
        ("", "not of the form"),
    ],
)
def test_unknown_options(save: Save, arch: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as failure:
        load_model(save(small_net().state_dict()), arch)
    assert "\n" not in str(failure.value)


FACTORIES = """
import torch
from torch import nn

class Odd(nn.Module):
    def __init__(self, wide=4):
        super().__init__()
        self.modules = []  # shadows nn.Module.modules
        self.model = nn.Sequential(nn.Conv2d(3, wide, 3), nn.BatchNorm2d(wide), nn.ReLU())
        self.fixed = nn.Identity()

    def forward(self, x):
        return self.model(x).mean((2, 3))

def wider():
    return Odd(5)

def broken():
    raise ValueError("two\\nlines")

def number():
    return 3

double = lambda: Odd().double()
VALUE = 7
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module in the current folder, which is not on the search path."""
    name = "sparsity_audit_test_factories"
    (tmp_path / f"{name}.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def odd_state(prefix: str = "") -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return {f"{prefix}model.{name}": value for name, value in block.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "module.net."])
@pytest.mark.parametrize("factory", ["Odd", "double"])
def test_a_factory_in_the_current_folder(save: Save, factories: str, factory: str, prefix: str) -> None:
    state = odd_state(prefix)
    checkpoint = save(state)
    assert checkpoint.prefix == f"{prefix}model."  # the reader cannot know that this one belongs to the network
    path = list(sys.path)
    loaded = load_model(checkpoint, f"python:{factories}:{factory}", trust_code=True)
    assert sys.path == path
    weight = loaded.module.get_parameter("model.0.weight")
    assert weight.dtype == torch.float32
    assert torch.equal(weight, state[f"{prefix}model.0.weight"])
    assert not any(part.training for _, part in nn.Module.named_modules(loaded.module))
    known = loaded.architecture
    assert (known.name, known.how) == (f"python:{factories}:{factory}", "option")
    assert (known.classes, known.input_shape, known.normalisation) == (None, None, None)


def test_code_needs_trust_and_is_not_touched_without(save: Save, factories: str) -> None:
    with pytest.raises(UntrustedCodeError, match="add --trust-code"):
        load_model(save(odd_state()), f"python:{factories}:Odd")
    assert factories not in sys.modules


@pytest.mark.parametrize(
    ("ending", "kind", "message"),
    [
        (":wider", ArchitectureError, r"model\.0\.weight is 4×3×3×3 where the network has 5×3×3×3"),
        (":broken", ArchitectureError, r"broken\(\) failed: ValueError: two lines"),
        (":number", ArchitectureError, "returned a int, not a torch module"),
        (":VALUE", UsageError, "no factory 'VALUE'"),
        (":widr", UsageError, "did you mean 'wider'"),
        (".sub:Odd", ArchitectureError, r"importing .* failed: ModuleNotFoundError"),
        ("", UsageError, "not of the form"),
        (":", UsageError, "not of the form"),
    ],
)
def test_factories_that_do_not_work(
    save: Save, factories: str, ending: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as failure:
        load_model(save(odd_state()), f"python:{factories}{ending}", trust_code=True)
    assert "\n" not in str(failure.value)


def test_a_module_in_memory_is_copied_and_known_by_its_tensors(save: Save) -> None:
    net = small_net().double().train()
    loaded = loaded_module(net, input_shape=(1, 8, 8), classes=3)
    assert loaded.checkpoint.sha256 == save(net.float().state_dict()).sha256
    assert loaded.architecture.name.endswith("basicnet:BasicNet")
    assert not loaded.module.training
    assert net.training
    loaded.module.get_parameter("c1.conv.weight").data.zero_()
    assert net.get_parameter("c1.conv.weight").any()
    assert loaded.checkpoint.tensors["c1.conv.weight"].numpy().any()


@pytest.mark.shared
def test_the_public_resnet_takes_all_its_tensors(shared: Path) -> None:
    path = shared / "models" / "resnet20-12fca82f.th"
    loaded = load_model(read_checkpoint(path))
    raw = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    state = loaded.module.state_dict()
    assert all(torch.equal(state[name.removeprefix("module.")], value) for name, value in raw.items())
    assert loaded.architecture.input_shape == (3, 32, 32)
    assert loaded.architecture.normalisation == Normalisation(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
