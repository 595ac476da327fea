"""The public CIFAR-10 ResNets against an oracle that shares no code with the audit.

The oracle is the network written out by hand on the file's own tensors, unfused, with every plane's extrema of
every image kept in one array; the definitions of Sec. 2.1 and 2.3 are applied to the whole arrays.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sparsity_audit import audit
from sparsity_audit.data.corpus import Corpus
from sparsity_audit.data.load import load_corpus
from sparsity_audit.schema.report import AuditReport

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 250  # not the audit's


class Oracle:
    """Option-A ResNet by hand: per filter the largest and smallest activation of every image, and the answers."""

    def __init__(self, file: Path, blocks: int) -> None:
        state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
        self.state = {name.removeprefix("module."): value for name, value in state.items()}
        self.blocks = blocks
        self.high: dict[str, list[np.ndarray]] = {}
        self.low: dict[str, list[np.ndarray]] = {}
        self.wrong = 0

    def _norm(self, x: torch.Tensor, conv: str, norm: str, stride: int) -> torch.Tensor:
        s = self.state
        x = F.conv2d(x, s[f"{conv}.weight"], stride=stride, padding=1)
        mean, var = s[f"{norm}.running_mean"], s[f"{norm}.running_var"]
        return F.batch_norm(x, mean, var, s[f"{norm}.weight"], s[f"{norm}.bias"])

    def _keep(self, conv: str, x: torch.Tensor) -> torch.Tensor:
        planes = x.reshape(*x.shape[:2], -1).numpy()
        self.high.setdefault(conv, []).append(planes.max(axis=2))
        self.low.setdefault(conv, []).append(planes.min(axis=2))
        return x

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        x = self._keep("conv1", F.relu(self._norm(x, "conv1", "bn1", 1)))
        for stage in (1, 2, 3):
            for block in range(self.blocks):
                path, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
                y = self._keep(f"{path}.conv1", F.relu(self._norm(x, f"{path}.conv1", f"{path}.bn1", stride)))
                y = self._keep(f"{path}.conv2", self._norm(y, f"{path}.conv2", f"{path}.bn2", 1))
                if stride == 2:
                    missing = (y.shape[1] - x.shape[1]) // 2
                    x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, missing, missing))
                x = F.relu(y + x)
        return F.linear(x.mean(dim=(2, 3)), self.state["linear.weight"], self.state["linear.bias"])

    @torch.inference_mode()
    def see(self, corpus: Corpus) -> Oracle:
        for start in range(0, len(corpus), BATCH):
            pixels = torch.from_numpy(np.array(corpus.images[start : start + BATCH])).permute(0, 3, 1, 2)
            x = (pixels / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
            answers = self.logits(x).argmax(dim=1).numpy()
            self.wrong += int((answers != corpus.labels[start : start + BATCH]).sum())
        return self

    def dead_by_scale(self) -> dict[str, list[int]]:
        norms = {name.removesuffix(".weight"): name for name in self.state if ".bn" in name or name.startswith("bn")}
        return {
            path.replace("bn", "conv"): np.flatnonzero(self.state[f"{path}.weight"].abs().numpy() < 1e-3).tolist()
            for path in norms
            if f"{path}.weight" in self.state
        }


def compare(report: AuditReport, oracle: Oracle) -> None:
    by_scale = oracle.dead_by_scale()
    for layer in report.models[0].layers:
        high, low = np.concatenate(oracle.high[layer.key]), np.concatenate(oracle.low[layer.key])
        peak = np.maximum(np.abs(high), np.abs(low)).max(axis=0)
        spread = high.max(axis=0).astype(float) - low.min(axis=0)
        assert layer.scale == by_scale[layer.key], layer.key
        assert layer.activation == np.flatnonzero(peak <= 1e-12).tolist(), layer.key
        assert layer.constant == np.flatnonzero((spread <= 1e-6) & (peak > 1e-12)).tolist(), layer.key
        if layer.key.endswith("conv2"):  # added to the shortcut: no nonlinearity of its own
            assert (layer.universality, layer.firing_rate, layer.selectivity) == (None, None, None)
            continue
        with np.errstate(invalid="ignore"):
            universal = np.where(peak > 1e-12, (high / peak > 1e-3).mean(axis=0), 0.0)
        # Pooled values within rounding of the threshold may fall on either side: one image in 10,000.
        assert layer.universality == pytest.approx(universal.tolist(), abs=1e-4), layer.key
        assert layer.firing_rate == pytest.approx((high > 1e-12).mean(axis=0).tolist(), abs=1e-4), layer.key


@pytest.fixture
def data_root(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARSITY_AUDIT_DATA", str(shared / "data"))
    return shared / "data"


@pytest.mark.shared
def test_resnet20_on_a_sample(shared: Path, data_root: Path) -> None:
    file = shared / "models" / "resnet20-12fca82f.th"
    report = audit(file, "cifar10", limit=1000, seed=3)
    (model,) = report.models
    assert model.architecture is not None
    assert (model.architecture.name, model.architecture.how) == ("zoo:resnet20", "detected")
    assert model.totals.lost["scale"].filters == 17
    assert (model.totals.filters, model.totals.params, model.coverage.fraction) == (
        688,
        432 + 6 * 2304 + 4608 + 5 * 9216 + 18432 + 5 * 36864,
        1.0,
    )
    compare(report, Oracle(file, 3).see(load_corpus("cifar10", "train", data_root).sample(1000, 3)))
    assert model.error is not None
    tested = Oracle(file, 3).see(load_corpus("cifar10", "test", data_root).sample(1000, 3))
    assert model.error.top1 == tested.wrong / 1000


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "blocks", "error", "dead", "filters"),
    [("resnet20-12fca82f.th", 3, 0.0827, 17, 688), ("resnet56-4bfd9763.th", 9, 0.0661, 56, 2032)],
)
def test_whole_of_cifar(
    shared: Path, data_root: Path, file: str, blocks: int, error: float, dead: int, filters: int
) -> None:
    path = shared / "models" / file
    report = audit(path, "cifar10")
    (model,) = report.models
    assert model.error is not None
    assert (model.error.top1, model.error.images) == (error, 10_000)
    assert (model.totals.lost["scale"].filters, model.totals.filters) == (dead, filters)
    assert model.coverage.fraction == 1.0
    compare(report, Oracle(path, blocks).see(load_corpus("cifar10", "train", data_root)))
