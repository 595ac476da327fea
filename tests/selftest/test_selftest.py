"""The self-test finds what was planted, and notices when the audit does not."""

from __future__ import annotations

import pytest
import torch
import typer
from torch import nn

from sparsity_audit.cli import selftest as command
from sparsity_audit.selftest import run
from sparsity_audit.selftest.networks import Concatenation, Residual, Specimen, networks
from sparsity_audit.selftest.planting import KINDS, RULES, calibrate, plant
from sparsity_audit.selftest.run import SelfCheck, check_network, random_corpus, run_selftest
from sparsity_audit.stats.feature_stats import FeatureStats


@pytest.fixture(scope="module")
def checks() -> list[SelfCheck]:
    return run_selftest()


def residual() -> Specimen:
    torch.manual_seed(0)
    return Specimen("residual", Residual(), ("second.norm",))


def test_every_rule_finds_exactly_what_was_planted(checks: list[SelfCheck]) -> None:
    assert [(check.network, check.rule, check.missed, check.invented) for check in checks] == [
        (network, rule, [], [])
        for network in ("basicnet", "resnet20", "vgg11", "residual", "depthwise", "concatenation", "shuffle")
        for rule in RULES
    ]
    assert all(check.planted for check in checks)


def test_every_norm_of_every_network_was_planted(checks: list[SelfCheck]) -> None:
    norms = {
        network.name: sum(isinstance(part, nn.BatchNorm2d) for part in network.module.modules())
        for network in networks()
    }
    by_scale = {check.network: len(check.planted) for check in checks if check.rule == "SA101"}
    assert by_scale == {name: 3 * count for name, count in norms.items()}
    assert norms["resnet20"] == 19


def test_what_is_planted_by_hand() -> None:
    """One layer behind a ReLU, one whose norm is added to a shortcut: kinds in their order, 0 to 5."""
    assert list(KINDS) == ["dead", "constant", "small", "between thresholds", "silent", "healthy"]
    module = nn.ModuleDict({"a": nn.BatchNorm2d(9), "b": nn.BatchNorm2d(9), "head": nn.BatchNorm1d(9)})
    wanted = plant(module, ("b",))
    in_a = {rule: sorted(i for path, i in found if path == "a") for rule, found in wanted.items()}
    in_b = {rule: sorted(i for path, i in found if path == "b") for rule, found in wanted.items()}
    assert in_a == {
        "SA101": [0, 1, 2],
        "SA102": [0, 4],
        "SA103": [1],
        "SA104": [0, 1, 2, 4],
        "SA106": [3],
        "SA107": [2, 4],
        "SA203": [4],
    }
    assert in_b == {**in_a, "SA102": [], "SA103": [0, 1], "SA104": [0, 1, 2], "SA107": [2], "SA203": []}
    assert module["a"].weight.tolist()[5:] == [1.0] * 4
    assert module["head"].weight.tolist() == [1.0] * 9


def test_calibrated_norms_put_out_unit_variance() -> None:
    net = residual().module
    images = torch.randn(32, 3, 16, 16) * 5 + 3
    calibrate(net, images)
    with torch.no_grad():
        out = net.stem(images)
    assert not net.training
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(16), atol=1e-2, rtol=0)


def test_an_audit_that_misses_or_invents_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = FeatureStats.inactive

    def confused(self: FeatureStats, *threshold: float) -> object:
        found = honest(self, *threshold).copy()
        found[0], found[15] = False, True  # the stem's dead filter, and its last healthy one
        return found

    monkeypatch.setattr(FeatureStats, "inactive", confused)
    by_rule = {check.rule: check for check in check_network(residual(), random_corpus())}
    union = by_rule["SA104"]
    assert (union.outcome, union.invented) == ("failed", [("stem.norm", 15)])
    assert by_rule["SA101"].outcome == "passed"


def test_a_layer_measured_in_another_place_is_noticed() -> None:
    wrong = Specimen("concatenation", Concatenation(), joined=())
    failed = {check.rule for check in check_network(wrong, random_corpus()) if check.outcome == "failed"}
    assert failed == {"SA102", "SA103", "SA104", "SA107", "SA203"}


def test_random_state_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "check_network", lambda *_: iter([]))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert run_selftest() == []
    assert torch.equal(torch.random.get_rng_state(), before)


def test_command_prints_a_table_and_exits_with_the_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = SelfCheck("net", "SA101", frozenset({("a", 1), ("b", 2)}), frozenset({("a", 1), ("b", 2)}))
    wrong = SelfCheck("net", "SA102", frozenset({("a", 1), ("a", 3)}), frozenset({("a", 1), ("b", 0)}))
    monkeypatch.setattr(run, "run_selftest", lambda: [sound])
    command.selftest()
    assert capsys.readouterr().out.splitlines()[-3].split() == ["net", "2/2", "0", "passed"]
    monkeypatch.setattr(run, "run_selftest", lambda: [sound, wrong])
    with pytest.raises(typer.Exit) as ended:
        command.selftest()
    out = capsys.readouterr().out
    assert ended.value.exit_code == 1
    assert "net SA102: missed a[3]; invented b[0]" in out
    assert "1 of 2 checks passed" in out
    assert "2/2      1/2" in out
