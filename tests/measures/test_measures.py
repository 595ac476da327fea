"""From statistics to the report's layers, and from these to named measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.engine.describe_graph import describe_graph
from sparsity_audit.engine.findings import Findings, gamma_inactive
from sparsity_audit.errors import ConfigError
from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.graph.instrument import observe
from sparsity_audit.measures.lookup import measure_for
from sparsity_audit.measures.registry import Measurement
from sparsity_audit.schema.report import CorpusInfo, Coverage, LayerReport, ModelReport
from sparsity_audit.schema.rule import Rule
from sparsity_audit.stats.feature_stats import POOLED_BUDGET, FeatureStats

IMAGES = 20


class Net(nn.Module):
    """``one``: norm and ReLU; ``two``: neither γ nor ReLU; ``three``: norm, then a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.bn1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.two = nn.Conv2d(6, 6, 1)
        self.three, self.bn3 = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        #                                 dead, constant, small, silent, healthy, small
        self.bn1.weight.data = torch.tensor([0.0, 0.0, 5e-4, 1.0, 1.0, -5e-4])
        self.bn1.bias.data = torch.tensor([-1.0, 0.5, -1.0, -90.0, 0.2, 0.5])

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.one(x)))
        return self.two(x) + self.bn3(self.three(x))


def graph_and_net(seed: int = 0) -> tuple[FeatureGraph, Net]:
    torch.manual_seed(seed)
    net = Net().eval()
    return build_graph(net, (3, 6, 6)), net


def stats_of(graph: FeatureGraph, x: Tensor, *, budget: int = POOLED_BUDGET) -> FeatureStats:
    fires = np.concatenate([np.full(layer.filters, layer.fires) for layer in graph.layers])
    stats = FeatureStats(fires, budget)
    with torch.no_grad():
        high, low = observe(graph)(x)[1].numpy()
    stats.update(high, low)
    return stats


def found_for(*, data: bool = True, broken: bool = False, budget: int = POOLED_BUDGET) -> Findings:
    graph, net = graph_and_net()
    stats = None
    if data:
        stats = stats_of(graph, torch.randn(IMAGES, 3, 6, 6), budget=budget)
        if broken:  # filter 0 is NaN on two images, 0 on all others
            high = np.zeros((2, graph.filters), np.float32)
            high[:, 0] = np.nan
            stats.update(high, high)
    return describe_graph(graph, net.state_dict(), stats)


def model_of(findings: Findings, images: int | None = IMAGES) -> ModelReport:
    corpus = None
    if images is not None:
        corpus = CorpusInfo(name="made-up", split="train", images=images, available=images, seed=None, sha256="0")
    return ModelReport(
        path="m",
        sha256="0",
        architecture=None,
        training=None,
        normalisation=None,
        corpus=corpus,
        error=None,
        coverage=findings.coverage,
        layers=findings.layers,
        norms=findings.norms,
        totals=findings.totals,
        nonfinite_tensors=[],
        results=[],
        plan=None,
        notes=findings.notes,
    )


def take(measure: str, model: ModelReport, layer: LayerReport | None = None, **args: str | float) -> Measurement:
    scope = "model" if layer is None else "layer"
    rule = Rule(id="SA999", name="x", scope=scope, measure=measure, args=args, warning={"max": 1}, summary="x")  # type: ignore[arg-type]
    function = measure_for(rule).function
    return function(model, **args) if layer is None else function(layer, model, **args)


def test_layers_of_the_report() -> None:
    one, two, three = found_for().layers
    assert (one.scale, one.activation, one.constant) == ([0, 1, 2, 5], [0, 2, 3], [1])
    assert one.constant_candidates == [1, 5]
    assert (two.scale, two.constant_candidates, two.gamma) == (None, None, None)
    assert (two.universality, two.firing_rate, two.selectivity) == (None, None, None)
    assert (three.norm, three.nonlinearity, three.scale, three.universality) == ("bn3", None, [], None)
    assert one.universality is not None
    assert one.universality[:4] == [0, 1, 0, 0]
    assert one.selectivity == pytest.approx(1 - np.mean([one.universality[i] for i in (1, 4, 5)]))
    assert two.lost["scale"].params == 4 * 6
    assert one.lost["scale"].params == 4 * 27


def test_coverage_needs_both_criteria() -> None:
    with_data, without = found_for().coverage, found_for(data=False).coverage
    assert with_data == Coverage(
        fraction=2 / 3,
        selectivity_fraction=1 / 3,
        audited=["one", "two", "three"],
        skipped=with_data.skipped,
    )
    assert [(skip.layer, skip.reason) for skip in with_data.skipped] == [("two", "scale: no normalisation follows")]
    assert (without.fraction, without.audited) == (None, ["one", "three"])


def test_not_finite_is_never_dead_and_not_covered() -> None:
    findings = found_for(broken=True)
    one = findings.layers[0]
    assert one.activation == [2, 3]
    assert one.nonfinite_images == 2
    assert one.maximum is not None
    assert one.maximum[0] is None
    assert findings.coverage.fraction == 1 / 3
    model = model_of(findings, IMAGES + 2)
    assert take("dead_fraction", model, one, criterion="activation").evidence["indices"] == [2, 3]
    assert take("constant_fraction", model, one).evidence["indices"] == []  # 0 on two images, 0.5 on the others
    assert take("nonfinite", model).value == 1
    selective = take("selectivity", model, one)
    assert selective.evidence["active"] == 3
    assert one.universality is not None
    assert selective.value == pytest.approx(1 - np.mean([one.universality[i] for i in (1, 4, 5)]))


@pytest.mark.parametrize(
    ("args", "dead"),
    [
        ({"criterion": "scale"}, [0, 1, 2, 5]),
        ({"criterion": "scale", "threshold": 1e-4}, [0, 1]),
        ({"criterion": "scale", "threshold": 1}, [0, 1, 2, 5]),
        ({"criterion": "activation"}, [0, 2, 3]),
        ({"criterion": "activation", "threshold": 0.51}, [0, 1, 2, 3, 5]),
        ({}, [0, 1, 2, 3, 5]),
    ],
)
def test_dead_fraction(args: dict[str, str | float], dead: list[int]) -> None:
    findings = found_for()
    found = take("dead_fraction", model_of(findings), findings.layers[0], **args)
    assert found.evidence["indices"] == dead
    assert found.value == len(dead) / 6
    assert found.n == (None if args.get("criterion") == "scale" else IMAGES)
    bound = None if args.get("criterion") == "scale" else 3 / IMAGES
    assert found.evidence.get("firing_rate_bound") == bound


def test_threshold_on_gamma_is_strict_and_nan_is_not_small() -> None:
    gamma = [1e-3, -1e-3, 9.99e-4, -9.99e-4, 0.0, float("nan")]
    assert gamma_inactive(np.array(gamma)).tolist() == [False, False, True, True, True, False]
    findings = found_for()
    layer = findings.layers[0].model_copy(update={"gamma": [*gamma[:5], None]})
    assert take("dead_fraction", model_of(findings), layer, criterion="scale").evidence["indices"] == [2, 3, 4]


def test_what_was_not_decided_has_a_reason_and_no_value() -> None:
    findings = found_for(data=False)
    model = model_of(findings, None)
    one, two, _ = findings.layers
    for found in (
        take("dead_fraction", model, two, criterion="scale"),
        take("dead_fraction", model, one, criterion="activation"),
        take("dead_fraction", model, one, threshold=1e-2),
        take("constant_fraction", model, one),
        take("selectivity", model, one),
        take("coverage", model),
        take("images_seen", model),
        take("error_over_chance", model),
        take("capacity_lost", model, criterion="activation"),
    ):
        assert found.value is None
        assert found.reason
    assert take("dead_fraction", model, one).evidence["indices"] == [0, 1, 2, 5]
    assert take("dead_fraction", model, one).n is None


def test_selectivity_says_how_exact_it_is_and_why_it_is_not_defined() -> None:
    exact, counted = found_for(), found_for(budget=0)
    model = model_of(counted)
    assert exact.layers[0].universality_bound == [0] * 6
    assert "±" not in take("selectivity", model, exact.layers[0]).message
    bounds = [0, 0, 0, 0, 0.02, 0.04]
    one = counted.layers[0].model_copy(update={"universality_bound": bounds})
    found = take("selectivity", model, one)
    assert found.evidence["bound"] == pytest.approx(0.06 / 3)  # active: 1, 4, 5
    assert "± 0.020" in found.message
    assert "no nonlinearity" in str(take("selectivity", model, counted.layers[1]).reason)


def test_model_without_any_gamma_is_not_called_free_of_dead_filters() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    findings = describe_graph(build_graph(net, (3, 8, 8)), net.state_dict(), None)
    model = model_of(findings, None)
    assert findings.totals.lost == {}
    for criterion in ("scale", "union"):
        assert take("capacity_lost", model, criterion=criterion).value is None
        assert take("dead_fraction", model, criterion=criterion).value is None


def test_model_measures() -> None:
    findings = found_for()
    model = model_of(findings)
    dead = take("dead_fraction", model, criterion="scale")
    assert (dead.value, dead.evidence["layers"], dead.evidence["undecided"]) == (4 / 12, 2, 1)
    lost = take("capacity_lost", model, criterion="scale")
    params, macs = 6 * 27 + 36 + 36, (6 * 27 + 36 + 36) * 36
    assert (model.totals.params, model.totals.macs) == (params, macs)
    assert lost.evidence["params_lost"] == 4 * 27 + 2 * 4 * 6
    assert lost.value == (4 * 27 + 2 * 4 * 6) / params
    assert take("images_seen", model).value == IMAGES
    assert take("coverage", model).value == 2 / 3


@pytest.mark.parametrize(
    ("scope", "measure", "args", "words"),
    [
        ("layer", "dead_fracton", {}, "did you mean 'dead_fraction'"),
        ("model", "selectivity", {}, "no measure 'selectivity' of scope 'model'"),
        ("layer", "dead_fraction", {"criterium": "scale"}, "did you mean 'criterion'"),
        ("layer", "dead_fraction", {"criterion": "gamma"}, "none of 'scale', 'activation', 'union'"),
        ("layer", "dead_fraction", {"threshold": "small"}, "not a number"),
        ("layer", "constant_fraction", {"tolerance": True}, "not a number"),
    ],
)
def test_rules_that_name_what_is_not_there(scope: str, measure: str, args: dict[str, object], words: str) -> None:
    rule = Rule.model_validate(
        {
            "id": "SA999",
            "name": "x",
            "scope": scope,
            "measure": measure,
            "args": args,
            "warning": {"max": 1},
            "summary": "x",
        }
    )
    with pytest.raises(ConfigError, match=words) as failure:
        measure_for(rule)
    assert "SA999" in str(failure.value)
