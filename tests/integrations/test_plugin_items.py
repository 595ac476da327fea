"""What pytest collects of an audit file, what items say, and pytest's own options on them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from audit_folder import RULE, AuditFolder, write_net

from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.engine.rulepacks import load_rules


def ids(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "::" in line and not line.startswith(("FAILED", "ERROR"))]


def test_an_item_for_each_model_and_rule(folder: AuditFolder) -> None:
    folder.good()
    folder.sick()
    folder.audit("good.safetensors", "sick.safetensors", "good.safetensors", text="select = []")
    rules = [f"{rule.id}-{rule.name}" for rule in load_rules(["default"]) if rule.scope != "study"]
    expected = [f"m.audit.toml::{model}.safetensors::{rule}" for model in ("good", "sick") for rule in rules]
    assert ids(folder.run("--co", "-q")) == expected
    one = folder.run(expected[-1], "-v")
    one.assert_outcomes(**{"passed": 1} if "PASSED" in one.stdout.str() else {"skipped": 1})


def test_a_failure_tells_what_run_tells_and_nothing_else(folder: AuditFolder) -> None:
    folder.sick()
    folder.audit("sick.safetensors")
    result = folder.run("m.audit.toml", "-rf")
    assert result.ret == 1
    text = result.stdout.str()
    rule = next(rule for rule in load_rules(["default"]) if rule.id == "SA101")
    for part in ("4 of 10 filters inactive", "40.0 %", "30.0 %", "b.conv", "what to do:"):
        assert part in text
    told = " ".join(text.split())
    for remedy in rule.remedies:
        assert " ".join(remedy.split()) in told
    result.stdout.fnmatch_lines(["FAILED m.audit.toml::sick.safetensors::SA101-*"])


def test_the_short_summary_has_the_gist(folder: AuditFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    folder.sick()
    folder.audit("sick.safetensors")
    result = folder.run("m.audit.toml")
    result.stdout.fnmatch_lines([f"FAILED *{RULE} - b.conv 40.0 %, limit 30.0 %"])


def test_verbosity(folder: AuditFolder) -> None:
    folder.sick()
    folder.audit("sick.safetensors")
    folder.run("m.audit.toml", "-v").stdout.fnmatch_lines([f"m.audit.toml::sick.safetensors::{RULE} FAILED*"])
    assert "4 of 10 filters" in folder.run("m.audit.toml", "-q").stdout.str()
    assert "1 failed" in folder.run("m.audit.toml", "-qq").stdout.str()


def test_keywords_and_the_marker_choose_items(folder: AuditFolder) -> None:
    folder.good()
    folder.sick()
    folder.audit("good.safetensors", "sick.safetensors", text='select = ["SA101", "SA102"]')
    folder.pytester.makepyfile(test_own="def test_own():\n    pass\n")
    folder.run("-k", "good and SA101").assert_outcomes(passed=1, deselected=4)
    folder.run("-m", "sparsity_audit").assert_outcomes(passed=1, failed=1, skipped=2, deselected=1)
    folder.run("-m", "not sparsity_audit").assert_outcomes(passed=1, deselected=4)
    assert folder.run("m.audit.toml", "-k", "nothing").ret == 5


def test_x_ends_at_the_first_failure_and_lf_takes_it_up(folder: AuditFolder) -> None:
    folder.sick("a.safetensors")
    folder.sick("b.safetensors")
    folder.good("c.safetensors")
    folder.audit("a.safetensors", "b.safetensors", "c.safetensors")
    folder.run("-x").assert_outcomes(failed=1)
    folder.pytester.runpytest_inprocess().assert_outcomes(failed=2, passed=1)
    folder.pytester.runpytest_inprocess("--lf").assert_outcomes(failed=2, deselected=1)


def test_strict_sessions(folder: AuditFolder) -> None:
    folder.good()
    folder.audit("good.safetensors")
    result = folder.run("--strict-markers", "--strict-config", "-W", "error")
    result.assert_outcomes(passed=1)
    assert result.ret == 0


def test_junit_xml(folder: AuditFolder) -> None:
    folder.good()
    folder.sick()
    folder.audit("good.safetensors", "sick.safetensors", text='select = ["SA101", "SA102"]')
    folder.run("--junit-xml", "out.xml")
    suite = ElementTree.parse(folder.path / "out.xml").getroot().find("testsuite")  # noqa: S314  # our own
    assert suite is not None
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["4", "1", "0", "2"]
    cases = {(case.get("classname"), str(case.get("name"))[:5]): case for case in suite.iter("testcase")}
    failed = cases["m.audit.toml.sick.safetensors", "SA101"]
    failure = failed.find("failure")
    assert failure is not None
    assert "4 of 10 filters inactive" in str(failure.text)
    assert [(p.get("name"), p.get("value")) for p in failed.iter("property")] == [("sparsity_audit", "decided")]
    assert cases["m.audit.toml.good.safetensors", "SA102"].find("skipped") is not None


def test_several_audits_beside_ordinary_tests_from_another_folder(
    folder: AuditFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.path / "sub").mkdir()
    (folder.path / "elsewhere").mkdir()
    folder.good("sub/net.safetensors")
    folder.sick("other.safetensors")
    folder.audit("net.safetensors", name="sub/m.audit.toml")
    folder.audit("sub/net.safetensors", "other.safetensors", name="top.audit.toml")
    folder.pytester.makepyfile(test_own="def test_own():\n    pass\n")
    folder.run().assert_outcomes(passed=3, failed=1)
    monkeypatch.chdir(folder.path / "elsewhere")
    result = folder.pytester.runpytest_inprocess("--rootdir", str(folder.path / "sub"), "../sub", "../top.audit.toml")
    result.assert_outcomes(passed=2, failed=1)
    folder.run("../sub/m.audit.toml", "--co", "-q").stdout.fnmatch_lines(["*m.audit.toml::net.safetensors::SA101*"])


def test_per_layer(folder: AuditFolder) -> None:
    folder.sick()
    folder.audit("sick.safetensors", text='select = ["SA101", "SA904"]')
    result = folder.run("--sparsity-audit-per-layer", "--co", "-q")
    assert [line.partition("::SA")[2] for line in ids(result)][:2] == [f"{RULE[2:]}[{key}.conv]" for key in "ab"]
    assert sum("SA904" in line for line in ids(result)) == 1
    result = folder.run("--sparsity-audit-per-layer", "-k", "SA101", "-rf")
    result.assert_outcomes(passed=1, failed=1, deselected=1)
    result.stdout.fnmatch_lines([f"FAILED *{RULE}[[]b.conv[]]*"])


def test_per_layer_takes_the_rules_globs(folder: AuditFolder) -> None:
    folder.sick()
    (folder.path / "own.toml").write_text(
        '[[rule]]\nid = "SA199"\nname = "only-b"\nversion = 1\nscope = "layer"\nmeasure = "dead_fraction"\n'
        'layers = "b*"\nerror = { max = 0.1 }\nsummary = "s"\nwhy = "w"\nremedies = ["r"]\nsource = "x"\n'
        'args = { criterion = "scale", threshold = 1e-3 }\n'
    )
    folder.audit("sick.safetensors", text='rules = ["own.toml"]\nselect = []')
    found = ids(folder.run("--sparsity-audit-per-layer", "--co", "-q"))
    assert found == ["m.audit.toml::sick.safetensors::SA199-only-b[b.conv]"]


def test_per_layer_norms_alone_and_convolutions_without_norm(folder: AuditFolder) -> None:
    ones = np.ones(4, np.float32)
    leaves = ("weight", "bias", "running_mean", "running_var")
    tensors = {f"head.{leaf}": ones for leaf in leaves} | {"plain.weight": np.ones((4, 3, 3, 3), np.float32)}
    write_safetensors(folder.path / "net.safetensors", tensors, {})
    folder.audit("net.safetensors")
    found = ids(folder.run("--sparsity-audit-per-layer", "--co", "-q"))
    assert found == [f"m.audit.toml::net.safetensors::{RULE}[head]"]
    folder.run("--sparsity-audit-per-layer").assert_outcomes(passed=1)


def test_per_layer_of_a_torch_file(folder: AuditFolder) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 10, 3), torch.nn.BatchNorm2d(10))
    with torch.no_grad():
        net[1].weight[:5] = 0
    torch.save(net.state_dict(), folder.path / "net.pth")
    folder.audit("net.pth")
    result = folder.run("--sparsity-audit-per-layer", "-v")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*net.pth::{RULE}[[]0[]] FAILED*"])


def test_foreign_names_are_made_printable(folder: AuditFolder) -> None:
    nasty = "a|b<x>\n\x1b[31mNASTY@1"
    write_net(folder.path / "net.safetensors", **{nasty: [1e-5] * 10})
    folder.audit("net.safetensors")
    for options in ((), ("--sparsity-audit-per-layer",)):
        result = folder.run("-v", *options)
        result.assert_outcomes(failed=1)
        assert "\\x1b[31mNASTY@1" in result.stdout.str()
        assert not re.search("\x1b", result.stdout.str())


def test_a_layer_whose_own_name_holds_an_at_sign(folder: AuditFolder) -> None:
    write_net(folder.path / "net.safetensors", **{"x@y": [1e-5] * 10})
    folder.audit("net.safetensors")
    folder.run("--sparsity-audit-per-layer").assert_outcomes(failed=1)


FACTORY = """
import torch
from torch import nn

class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.conv, self.bn = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 10)

    def forward(self, x):
        x = self.first(x).relu()
        for _ in range(2):
            x = self.bn(self.conv(x)).relu()
        return self.fc(x.mean((2, 3)))
"""


def test_a_convolution_that_is_called_twice_has_one_item(folder: AuditFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.pytester.makepyfile(twice_net=FACTORY)
    monkeypatch.syspath_prepend(str(folder.path))
    import twice_net

    net = twice_net.Twice()
    with torch.no_grad():
        net.bn.weight[:3], net.bn.bias[:3] = 1e-5, -1
    write_safetensors(folder.path / "net.safetensors", net.state_dict(), {})
    folder.audit("net.safetensors", text='data = "digits"\nlimit = 50\narch = "python:twice_net:Twice"')
    options = ("--sparsity-audit-per-layer", "-rfs", "--sparsity-audit-trust-code")
    result = folder.run_process(*options)
    result.assert_outcomes(failed=1, skipped=1)  # `first` has no norm, so no scale
    told = result.stdout.str()
    assert "conv 75.0 %" in told
    assert "conv@2 75.0 %" in told
    refused = folder.run_process("--sparsity-audit-per-layer")
    refused.assert_outcomes(failed=2)
    assert "--trust-code" in refused.stdout.str()
