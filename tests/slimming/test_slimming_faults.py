"""Networks with dead filters planted: what is planted, that the rest lives, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparsity_audit.errors import UsageError
from sparsity_audit.selftest.slimming_faults import (
    CALIBRATION_IMAGES,
    FAULTS,
    FaultyNetwork,
    noise_images,
    plant_faults,
)

SIDE = 32


@pytest.fixture(scope="module", params=FAULTS)
def faulty(request: pytest.FixtureRequest) -> FaultyNetwork:
    return plant_faults("resnet18", request.param, side=SIDE)


def norms(module: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {path: part for path, part in module.named_modules() if isinstance(part, nn.BatchNorm2d)}


def norm_of(key: str) -> str:
    """Return the path of the norm after a convolution, by torchvision's names for its ResNets."""
    return key.removesuffix("0") + "1" if "downsample" in key else key.replace("conv", "bn")


@torch.no_grad()
def extrema(module: nn.Module, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each norm's smallest and largest output, [channels], from hooks on an eager run."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def note(path: str, output: Tensor) -> None:
        plane = output.transpose(0, 1).flatten(1)
        found[path] = (plane.amin(1), plane.amax(1))

    hooks = [
        part.register_forward_hook(lambda _part, _args, output, path=path: note(path, output))
        for path, part in norms(module).items()
    ]
    module(images)
    for hook in hooks:
        hook.remove()
    return found


def test_a_share_of_every_norm_is_planted(faulty: FaultyNetwork) -> None:
    planted = {norm_of(key): filters for key, filters in faulty.planted.items()}
    assert planted.keys() == norms(faulty.module).keys()
    for path, norm in norms(faulty.module).items():
        gamma, beta = norm.weight.detach(), norm.bias.detach()
        here = torch.zeros(len(gamma), dtype=torch.bool)
        here[planted[path]] = True
        assert int(here.sum()) == len(planted[path]) == round(0.4 * len(gamma))
        assert gamma[~here].min() >= 0.5
        assert gamma[here].abs().unique().tolist() == pytest.approx([5e-4 if faulty.fault == "small" else 0.0])
        wanted = {"dead": [-0.5], "constant": [0.3]}.get(faulty.fault)
        if wanted is None:
            assert (gamma[here] > 0).any()
            assert (gamma[here] < 0).any()
            assert beta.abs().max() <= 0.2
        else:
            assert beta[here].unique().tolist() == pytest.approx(wanted)
            assert beta[~here].abs().max() <= 0.2
    assert faulty.filters == sum(map(len, planted.values()))


def test_producers_of_a_stream_are_planted_apart(faulty: FaultyNetwork) -> None:
    stream = [set(faulty.planted[key]) for key in ("conv1", "layer1.0.conv2", "layer1.1.conv2")]
    assert len(set.union(*stream)) > max(map(len, stream))


def test_what_is_planted_is_flat_and_the_rest_is_not(faulty: FaultyNetwork) -> None:
    holds = {norm_of(key): held for key, held in faulty.holds.items()}
    for path, (low, high) in extrema(faulty.module, noise_images(8, SIDE, 1)).items():
        spread = high - low
        filters = list(holds[path])
        healthy = [i for i in range(len(low)) if i not in holds[path]]
        assert spread[healthy].min() > 0.1
        # A batch-normalised value is within ±√M of the calibration's, and 2·√M·5e-4 is less than this.
        assert spread[filters].max() <= (0.05 if faulty.fault == "small" else 0.0)
        assert (high[filters] - torch.tensor(list(holds[path].values()))).abs().max() <= spread[filters].max()


@torch.no_grad()
def test_holding_is_exact_where_the_scale_is_zero(faulty: FaultyNetwork) -> None:
    images = noise_images(8, SIDE, 1)
    before = {name: value.clone() for name, value in faulty.module.state_dict().items()}
    logits, held = faulty.module(images), faulty.held()
    change = float((held(images) - logits).abs().max())
    assert (1e-6 < change < 0.1) if faulty.fault == "small" else change == 0
    for path, norm in norms(held).items():
        assert int((norm.weight == 0).sum()) == round(0.4 * len(norm.weight)), path
    assert all(torch.equal(value, before[name]) for name, value in faulty.module.state_dict().items())


@torch.no_grad()
def test_logits_compare_between_networks_and_tell_images_apart(faulty: FaultyNetwork) -> None:
    calibration = faulty.module(noise_images(CALIBRATION_IMAGES, SIDE, 0))
    assert float(calibration.std()) == pytest.approx(1, abs=1e-4)
    assert float(faulty.module(noise_images(32, SIDE, 1)).std(0).mean()) > 0.1


@torch.no_grad()
def test_the_graph_is_of_the_planted_network(faulty: FaultyNetwork) -> None:
    images = noise_images(2, SIDE, 1)
    assert torch.equal(faulty.graph.captured.program(images), faulty.module(images))


def test_the_same_arguments_give_the_same_network() -> None:
    state = torch.get_rng_state()
    first, again = (plant_faults("resnet18", "small", side=SIDE, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    other = plant_faults("resnet18", "small", side=SIDE, seed=4)
    assert first.planted == again.planted != other.planted
    tensors = again.module.state_dict()
    assert all(torch.equal(value, tensors[name]) for name, value in first.module.state_dict().items())


@torch.no_grad()
def test_norms_do_not_magnify_what_is_small() -> None:
    faulty = plant_faults("shufflenet_v2_x1_0", "small", share=0.2)
    images = noise_images(8, faulty.side, 1)
    assert float((faulty.held()(images) - faulty.module(images)).abs().max()) < 0.2


def test_a_filter_of_every_norm_stays() -> None:
    faulty = plant_faults("resnet18", "dead", share=1.0, side=SIDE)
    assert {int((norm.weight != 0).sum()) for norm in norms(faulty.module).values()} == {1}


@pytest.mark.slow
@torch.no_grad()
def test_loose_norms() -> None:
    plain, loose = (plant_faults("densenet121", "dead", side=SIDE, loose=loose) for loose in (False, True))
    assert plain.loose == {}
    assert {"features.denseblock1.denselayer1.norm1", "features.transition1.norm", "features.norm5"} <= set(loose.loose)
    paths = {layer.norm for layer in loose.graph.layers if layer.key in loose.planted}
    assert paths | set(loose.loose) == norms(loose.module).keys()
    assert not paths & set(loose.loose)
    for path, features in loose.loose.items():
        gamma = loose.module.get_parameter(f"{path}.weight")
        assert torch.nonzero(gamma == 0).flatten().tolist() == features
    small = plant_faults("densenet121", "small", side=SIDE, loose=True)
    held = small.held()
    assert all((held.get_parameter(f"{path}.weight")[places] == 0).all() for path, places in small.loose.items())


def test_a_network_that_torchvision_lacks() -> None:
    with pytest.raises(UsageError, match="resnet18"):
        plant_faults("resnet81", "dead")
