"""Networks by name: the zoo's own, and torchvision's as ``torchvision:NAME``."""

from __future__ import annotations

from torch import nn

from sparsity_audit.errors import UsageError, did_you_mean
from sparsity_audit.models.basicnet import BasicNet
from sparsity_audit.models.cifar_resnet import BLOCKS, CifarResNet
from sparsity_audit.models.recognise import ZooMatch, candidates, read_zoo
from sparsity_audit.models.shapes import Shapes, differences
from sparsity_audit.models.skeleton import build_skeleton, module_shapes
from sparsity_audit.models.vgg import STAGES, VGG
from sparsity_audit.schema.spec import NetworkSpec

TORCHVISION = "torchvision:"
AUXILIARY = {"googlenet": ["aux1.", "aux2."], "inception_v3": ["AuxLogits."]}
"""torchvision models with heads that only training uses, and the prefixes of their tensors."""


def zoo_names() -> list[str]:
    """Return the names of the zoo's networks."""
    return ["basicnet", *STAGES, *BLOCKS]


def has_leaky_twin(name: str) -> bool:
    """Return whether a zoo network also comes with LeakyReLU, which its tensors do not show."""
    return name not in BLOCKS


def build_network(spec: NetworkSpec, in_channels: int, classes: int) -> nn.Module:
    """Return a fresh network in training mode: [N, in_channels, H, W] → logits [N, classes].

    Raises:
        UsageError: an unknown name, or a key that this network does not have.
    """
    name = spec.name
    if name == "basicnet":
        return BasicNet(spec, in_channels, classes)
    if name in STAGES:
        _refuse(spec, "first", "width")
        return VGG(spec, in_channels, classes)
    _refuse(spec, "first", "width", "head")
    if spec.activation != "relu":
        raise UsageError(f"network {name!r} has ReLU only, not activation = {spec.activation!r}")
    if name in BLOCKS:
        return CifarResNet(name, in_channels, classes)
    if name.startswith(TORCHVISION):
        return build_torchvision(name.removeprefix(TORCHVISION), in_channels, classes, auxiliary=False)
    raise UsageError(f"unknown network {name!r}{did_you_mean(name, zoo_names())}")


def _refuse(spec: NetworkSpec, *keys: str) -> None:
    given = [key for key in keys if getattr(spec, key) is not None]
    if given:
        raise UsageError(f"network {spec.name!r} has no {' and no '.join(given)}; leave it out of the spec")


def build_torchvision(name: str, in_channels: int, classes: int, *, auxiliary: bool = True) -> nn.Module:
    """Return a torchvision classification model without weights; ``auxiliary``: with its training-only heads.

    Raises:
        UsageError: an unknown name, or another channel count than 3.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(f"unknown network 'torchvision:{name}'{did_you_mean(name, known)}")
    if in_channels != 3:
        raise UsageError(f"network 'torchvision:{name}' takes 3 input channels, not {in_channels}")
    # Unless told so, GoogLeNet and Inception take long over weights of their own and warn that they will stop.
    more = {"init_weights": False, "aux_logits": auxiliary} if name in AUXILIARY else {}
    module: nn.Module = models.get_model(name, weights=None, num_classes=classes, **more)
    return module


def input_side(match: ZooMatch) -> int:
    """Return height and width in pixels of the images that the paper trained such a network on (Sec. 4)."""
    if match.name in BLOCKS:
        return 32
    return {200: 64, 1000: 224}.get(match.classes, 32)


def build_match(match: ZooMatch) -> nn.Module:
    """Return a zoo network without values."""
    return build_skeleton(lambda: build_network(match.spec, match.in_channels, match.classes))


def infer_zoo(shapes: Shapes) -> list[ZooMatch]:
    """Return the zoo networks that have exactly these tensors; batch counters may be absent."""
    matches = [read_zoo(name, shapes) for name in candidates(shapes)]
    return [match for match in matches if not differences(module_shapes(build_match(match)), shapes)]
