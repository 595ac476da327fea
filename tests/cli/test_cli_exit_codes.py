"""Every exit code, through the real program at least once; the precedence of several."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from cli_helpers import DIGITS_MODEL, call, run_program, write_healthy, write_linear, write_net, write_sick

from sparsity_audit.measures import registry

CRASHING = """
import sys
from sparsity_audit.measures.registry import measure
from sparsity_audit.cli.main import main

@measure("model")
def crashing(model):
    "Crashes."
    raise ZeroDivisionError("no such luck")

sys.argv[0] = "sparsity-audit"
main()
"""
CRASHING_RULE = """
[[rule]]
id = "BAD001"
name = "crashing"
scope = "model"
measure = "crashing"
error = { max = 1 }
summary = "crashes"
"""


@pytest.fixture
def crashing_rule(tmp_path):
    """A rule file whose measure crashes."""

    @registry.measure("model")
    def crashing(_model):
        raise ZeroDivisionError("no such luck")

    (tmp_path / "bad.toml").write_text(CRASHING_RULE)
    yield tmp_path / "bad.toml"
    del registry.MEASURES["crashing", "model"]


def test_codes_without_torch_through_the_real_program(tmp_path):
    healthy = write_healthy(tmp_path / "healthy.safetensors")
    sick = write_sick(tmp_path / "sick.safetensors")
    linear = write_linear(tmp_path / "linear.safetensors")
    (tmp_path / "bad.toml").write_text(CRASHING_RULE)
    assert run_program("run", healthy).code == 0
    failed = run_program("run", sick)
    assert failed.code == 1
    assert failed.err == ""
    crashed = run_program("run", healthy, "--rules", "bad.toml", cwd=tmp_path, code=CRASHING)
    assert crashed.code == 3
    assert "ZeroDivisionError: no such luck" in crashed.out
    assert "Traceback" not in crashed.out + crashed.err
    assert run_program("run", tmp_path / "absent.pth").code == 4
    assert run_program("run", "--no-such-option").code == 4
    assert run_program("run", linear).code == 5


def test_warnings_pass_unless_asked_and_exit_zero_masks_only_failures(tmp_path, capsys):
    warned = write_sick(tmp_path / "warned.safetensors", dead=2)
    sick = write_sick(tmp_path / "sick.safetensors")
    linear = write_linear(tmp_path / "linear.safetensors")
    assert call(capsys, "run", warned).code == 0
    assert call(capsys, "run", warned, "--fail-on", "warning").code == 1
    masked = call(capsys, "run", sick, "--exit-zero")
    assert masked.code == 0
    assert "--exit-zero" in masked.out
    assert call(capsys, "run", linear, "--exit-zero").code == 5
    assert call(capsys, "run", "absent.pth", "--exit-zero").code == 4


def test_a_limit_is_broken_above_it_not_at_it(tmp_path, capsys):
    at_the_limit = write_sick(tmp_path / "three.safetensors", dead=3)
    above = write_sick(tmp_path / "four.safetensors", dead=4)
    assert call(capsys, "run", at_the_limit, "--select", "SA101").code == 0
    assert call(capsys, "run", above, "--select", "SA101").code == 1


def test_a_crashing_measure_is_an_error_of_its_rule_and_the_others_go_on(tmp_path, capsys, crashing_rule):
    sick = write_sick(tmp_path / "sick.safetensors")
    ended = call(capsys, "run", sick, "--rules", crashing_rule, "--rules", "default", "--json", "out.json")
    assert ended.code == 3
    results = json.loads((tmp_path / "out.json").read_text())["models"][0]["results"]
    outcomes = {(result["rule"], result["outcome"]) for result in results}
    assert ("BAD001", "error") in outcomes
    assert ("SA101", "failed") in outcomes


def test_precedence_over_several_models(tmp_path, capsys, crashing_rule):
    sick = write_sick(tmp_path / "sick.safetensors")
    linear = write_linear(tmp_path / "linear.safetensors")
    crash = ("--rules", "default", "--rules", crashing_rule)
    assert call(capsys, "run", sick, "absent.pth", *crash).code == 3
    assert call(capsys, "run", linear, sick, "absent.pth").code == 4
    assert call(capsys, "run", linear, "absent.pth").code == 4
    # 5 only where nothing was audited in the whole session.
    assert call(capsys, "run", linear, sick).code == 1
    assert call(capsys, "run", linear, linear).code == 5


def test_nothing_audited(tmp_path, capsys):
    sick = write_sick(tmp_path / "sick.safetensors")
    assert call(capsys, "run", write_linear(tmp_path / "linear.safetensors"), "--select", "SA904").code == 5
    assert call(capsys, "run", sick, "-k", "nothing-is-called-so").code == 5
    assert call(capsys, "run", sick, "--select", "SA1", "--ignore", "SA1").code == 5
    assert call(capsys, "run", sick, "--select", "SA102").code == 5
    assert call(capsys, "run", sick, "--collect-only", "-k", "nothing-is-called-so").code == 5
    assert call(capsys, "run", sick, "--select", "SA101,SA102").code == 1


def test_an_internal_error_is_one_line(tmp_path, capsys, monkeypatch):
    def broken(*_args, **_more):
        raise RuntimeError("of ours\nsecond line")

    monkeypatch.setattr("sparsity_audit.engine.session.examine", broken)
    ended = call(capsys, "run", write_sick(tmp_path / "sick.safetensors"), "--json", "out.json")
    assert ended.code == 3
    assert ended.err.count("\n") == 1
    assert "RuntimeError: of ours second line" in ended.err
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runn"], "'run'"),
        (["run", "--splt", "x"], "--split"),
        (["run"], "no MODEL"),
        (["inspect"], "MODEL"),
        (["schema", "repot"], "'report'"),
        (["run", "m", "--limit", "many"], "--limit"),
        (["run", "m", "--limit", "0"], "--limit 0"),
        (["run", "m", "--batch-size", "0"], "--batch-size 0"),
        (["run", "m", "--fail-on", "warn"], "'warning' or 'error'"),
        (["run", "m", "--split", "tset"], "'train' or 'test'"),
        (["run", "m", "--memory-budget", "0"], "--memory-budget"),
        (["run", "m", "--mean", "a,b"], "--mean"),
        (["run", "m", "--mean", "0.5"], "--std"),
        (["run", "m", "--mean", "0.5", "--std", "0"], "--std"),
        (["run", "m", "--mean", "nan", "--std", "1"], "--mean"),
        (["run", "m", "--mean", "0.5,0.5", "--std", "1"], "--mean has 2"),
        (["run", "m", "--select", ","], "--select"),
        (["run", "m", "--select", "SA999"], "SA999"),
        (["run", "m", "-k", "(a"], "parenthesis"),
        (["run", "m", "-k", "and"], "name is missing"),
        (["run", "m", "-k", "a b"], "'b' was not expected"),
        (["rules", "explain", "SA1O1"], "'SA101'"),
        (["rules", "validate", "absent.toml"], "absent.toml"),
    ],
)
def test_wrong_usage_is_4_and_one_line(capsys, arguments, said):
    call(capsys, *arguments).refused(said)


def test_a_command_is_asked_for_with_the_help_at_hand(capsys):
    for arguments in ([], ["rules"]):
        ended = call(capsys, *arguments)
        ended.refused("a command is missing")
        assert "Usage:" in ended.out


def test_help_and_version_pass(capsys):
    assert "Exit codes" in call(capsys, "run", "--help").out
    assert call(capsys, "--version").code == 0


def test_a_factory_that_exits_does_not_choose_the_exit_code(tmp_path, capsys, monkeypatch):
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    net = write_net(tmp_path / "m.safetensors", a=[1.0])
    ended = call(capsys, "run", net, "--arch", "python:leaving:make", "--trust-code")
    ended.refused("ended the program")


def test_ctrl_c_during_the_pass(tmp_path):
    slow = """
import signal, time
from sparsity_audit.cli.main import main
from sparsity_audit.stats.feature_stats import FeatureStats

# A shell that starts the tests in the background hands an ignored Ctrl-C down.
signal.signal(signal.SIGINT, signal.default_int_handler)

def update(self, high, low):
    print("PASS", flush=True)
    time.sleep(60)

FeatureStats.update = update
main()
"""
    command = [sys.executable, "-c", slow, "run", DIGITS_MODEL, "--data", "digits", "--limit", "200"]
    outputs = ["--json", "out.json", "--markdown", "out.md"]
    with subprocess.Popen(
        [*command, *outputs], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("PASS"):
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err == "sparsity-audit: interrupted; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["rules", "list"], ["schema", "report"], ["zoo", "list"]])
def test_a_reader_who_leaves_is_no_failure(command):
    process = subprocess.Popen(
        [sys.executable, "-m", "sparsity_audit", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()  # long before the program has anything to say
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), said) == (0, b"")
