"""Fine-tuning beside a training loop written out, re-estimated statistics beside those taken by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit import Corpus
from sparsity_audit.errors import DataError, TrainingError, UsageError
from sparsity_audit.schema.report import NormalisationInfo
from sparsity_audit.schema.slim_tables import TuningSettings
from sparsity_audit.slimming.finetune import finetune, reestimate, tune

SIDE, CLASSES, IMAGES = 6, 3, 40
INFO = NormalisationInfo(mean=[0.3, 0.5], std=[0.2, 0.4], pixel_scale=255.0, source="option")


class Net(nn.Module):
    """Two norms, one of them without γ and β; its own code has a path for training alone, which does not work."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c1, self.n1 = nn.Conv2d(2, 5, 3, bias=False), nn.BatchNorm2d(5, momentum=0.3)
        self.c2, self.n2 = nn.Conv2d(5, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False)
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if self.training:
            raise RuntimeError("auxiliary heads")
        x = F.relu(self.n2(self.c2(F.relu(self.n1(self.c1(x))))))
        return {"logits": self.head(self.dropout(x.mean((2, 3))))}


def made(dropout: float = 0.0) -> Net:
    net = Net(dropout).eval()
    net.c1.weight.requires_grad_(False)
    return net


def corpus(count: int = IMAGES, seed: int = 0) -> Corpus:
    chance = np.random.RandomState(seed)
    pixels = chance.randint(0, 256, (count, SIDE, SIDE, 2)).astype(np.uint8)
    return Corpus.from_arrays(pixels, chance.randint(0, CLASSES, count), class_names=["a", "b", "c"])


def shown(data: Corpus) -> Tensor:
    pixels = torch.from_numpy(np.array(data.images)).float() / 255
    return ((pixels - torch.tensor(INFO.mean)) / torch.tensor(INFO.std)).permute(0, 3, 1, 2)


def settings(**given: object) -> TuningSettings:
    return TuningSettings.model_validate({"steps": 5, "lr": 0.05, "batch_size": IMAGES, **given})


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("sgd", lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9)),
        ("adam", lambda parameters: torch.optim.Adam(parameters, lr=0.05, betas=(0.9, 0.99), eps=1e-8)),
    ],
)
def test_it_is_the_loop_written_out(name: str, build: Callable[..., torch.optim.Optimizer]) -> None:
    """A batch of all images has the same gradient in any order."""
    data, net = corpus(), made()
    by_hand = copy.deepcopy(net)
    by_hand.requires_grad_(True)
    optimizer = build(by_hand.parameters())
    for norm in (by_hand.n1, by_hand.n2):
        norm.train()
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(by_hand(shown(data))["logits"], torch.from_numpy(data.labels)).backward()
        optimizer.step()
    found = finetune(net, data, INFO, settings(optimizer=name)).state_dict()
    for key, value in by_hand.state_dict().items():
        torch.testing.assert_close(found[key], value, rtol=2e-4, atol=2e-5, msg=key)
    assert not torch.allclose(found["c1.weight"], net.c1.weight, atol=1e-3)


@pytest.mark.parametrize("work", [finetune, tune])
def test_the_network_and_chance_stay_as_they_are(work: Callable[..., nn.Module]) -> None:
    net = made(0.5)
    before, flags = copy.deepcopy(net.state_dict()), [parameter.requires_grad for parameter in net.parameters()]
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    tuned = work(net, corpus(), INFO, settings(bn_images=20))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [parameter.requires_grad for parameter in net.parameters()] == flags
    assert not net.training
    assert not any(part.training for part in tuned.modules())
    assert [part.momentum for part in (tuned.n1, tuned.n2)] == [0.3, 0.1]  # type: ignore[union-attr]


def test_it_follows_from_the_seed() -> None:
    """Dropout and the order of the images both come from it."""

    def weights(**given: object) -> Tensor:
        net = made(0.5)
        torch.seed()  # whatever the generators were at
        return finetune(net, corpus(), INFO, settings(**given)).state_dict()["c2.weight"]

    one = weights(batch_size=8)
    assert torch.equal(one, weights(batch_size=8))
    assert not torch.allclose(one, weights(batch_size=8, seed=1))
    assert not torch.allclose(weights(), weights(seed=1))  # the same batch: dropout alone


def test_flips_mirror_images_from_left_to_right() -> None:
    """Images that are their own mirror image don't know whether they were flipped."""
    data = corpus()
    half = np.array(data.images)[:, :, : SIDE // 2]
    mirrored = Corpus.from_arrays(np.concatenate([half, half[:, :, ::-1]], axis=2), data.labels)

    def weights(of: Corpus, **given: object) -> Tensor:
        return finetune(made(), of, INFO, settings(**given)).state_dict()["c1.weight"]

    torch.testing.assert_close(weights(mirrored, flip=True), weights(mirrored))
    assert not torch.allclose(weights(data, flip=True), weights(data), atol=1e-4)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    finetune(made(), corpus(), INFO, settings(steps=3), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3, 3)


def test_divergence_is_one_line() -> None:
    with pytest.raises(TrainingError, match=r"loss is (nan|inf).*lower rate than 1e\+30"):
        finetune(made(), corpus(), INFO, settings(lr=1e30))


class Failing(Net):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if self.n1.training:
            raise ValueError("not\nlike this")
        return super().forward(x)


@pytest.mark.parametrize(
    "work",
    [lambda net: finetune(net, corpus(), INFO, settings()), lambda net: reestimate(net, corpus(), INFO, 9, 9, 0)],
)
def test_a_network_that_fails_while_it_trains_is_one_line(work: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(UsageError, match=r"Failing fails while it trains: not$"):
        work(Failing().eval())


def test_statistics_are_those_of_one_batch_by_hand() -> None:
    data, net = corpus(), made(0.5)
    found = reestimate(net, data, INFO, IMAGES, 100, 0)
    first = net.c1(shown(data))
    second = net.c2(F.relu(F.batch_norm(first, None, None, net.n1.weight, net.n1.bias, training=True)))
    for norm, seen in ((found.n1, first), (found.n2, second)):
        torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]
        torch.testing.assert_close(norm.running_var, seen.var((0, 2, 3)), rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]


def test_batches_of_even_size_are_averaged_and_a_sample_is_drawn() -> None:
    """26 images in batches of 20 at most are two of 13: the mean of their means is the mean of all."""
    data, net = corpus(), made()
    found = reestimate(net, data, INFO, 26, 20, 3)
    seen = net.c1(shown(data.sample(26, 3)))
    torch.testing.assert_close(found.n1.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]
    assert int(found.n1.num_batches_tracked) == 2  # type: ignore[union-attr, arg-type]
    assert torch.equal(reestimate(net, data, INFO, 26, 20, 3).n1.running_var, found.n1.running_var)  # type: ignore[union-attr]


def test_weights_stay_and_the_own_mode_too() -> None:
    net = made()
    found = reestimate(net, corpus(), INFO, 30, 10, 0)
    assert not any(part.training for part in found.modules())
    assert [found.n1.momentum, found.n2.momentum] == [0.3, 0.1]  # type: ignore[union-attr]
    for name, value in net.state_dict().items():
        same = torch.equal(found.state_dict()[name], value)
        assert same is (("running" not in name) and ("tracked" not in name))


def test_constants_keep_their_statistics() -> None:
    """A carrier's kernel is 0, and its constant may stand in the mean of a norm without β."""
    net = made()
    net.c2.weight.data[1] = 0
    assert net.n2.running_mean is not None
    assert net.n2.running_var is not None
    net.n2.running_mean[1], net.n2.running_var[1] = -0.7, 0.25
    found = reestimate(net, corpus(), INFO, 30, 10, 0)
    assert float(found.n2.running_mean[1]) == pytest.approx(-0.7)  # type: ignore[union-attr, index]
    assert float(found.n2.running_var[1]) == 0.25  # type: ignore[union-attr, index]
    assert float(found.n2.running_var[0]) != float(net.n2.running_var[0])  # type: ignore[union-attr, index]


def test_tuning_trains_first() -> None:
    data, wanted = corpus(), settings(bn_images=20)
    by_hand = reestimate(finetune(made(), data, INFO, wanted), data, INFO, 20, IMAGES, 0).state_dict()
    assert all(
        torch.equal(by_hand[name], value) for name, value in tune(made(), data, INFO, wanted).state_dict().items()
    )
    assert torch.equal(tune(made(), data, INFO, settings(steps=0)).state_dict()["c1.weight"], made().c1.weight)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="none with running statistics"):
        reestimate(nn.Sequential(nn.Flatten(), nn.Linear(72, 3)), corpus(), INFO, 10, 10, 0)
    with pytest.raises(DataError, match="at least 2 images"):
        finetune(made(), corpus(1), INFO, settings())
