"""The gate of ``run``: what a baseline and waivers let through, and what they don't."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from cli_helpers import call, write_healthy, write_linear, write_net, write_sick

from sparsity_audit.cli import run_session
from sparsity_audit.files import write_whole

M = "m.safetensors"
GATE = ("--baseline", "base.json")
TODAY = datetime.date(2026, 5, 10)


@pytest.fixture
def today(monkeypatch):
    monkeypatch.setattr(run_session, "_today", lambda: TODAY)


def first(capsys, *models: object):
    ended = call(capsys, "run", *(models or (M,)), *GATE, "--update-baseline")
    assert ended.code == 0, ended.out + ended.err
    return ended


def gate(capsys, *arguments: object, model: object = M):
    return call(capsys, "run", model, *GATE, *arguments)


def standings(path: str = "out.json") -> dict[tuple[str, str | None], str | None]:
    report = json.loads(Path(path).read_text())
    results = [result for model in report["models"] for result in model["results"]]
    return {(r["rule"], r["layer"]): r["standing"] for r in results if r["outcome"] == "failed"}


def known(path: str = "base.json") -> dict[tuple[str, str | None], float]:
    report = json.loads(Path(path).read_text())
    results = [result for model in report["models"] for result in model["results"]]
    return {(r["rule"], r["layer"]): r["value"] for r in results if r["outcome"] == "failed"}


def configure(text: str) -> None:
    Path("sparsity-audit.toml").write_text(text)


def waiver(expires: str = "2026-06-01", **changes: str) -> str:
    keys = {"rule": "SA101", "layer": "b.*", "reason": "retrained in June"} | changes
    return "[[waivers]]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items()) + f"expires = {expires}\n"


def test_the_first_baseline_makes_all_known_and_the_same_model_passes(tmp_path, capsys):
    write_sick(tmp_path / M)
    made = first(capsys)
    assert "1 known" in made.out
    assert "written" in made.out.split("baseline base.json")[1]
    content = Path("base.json").read_bytes()
    ended = gate(capsys, "--json", "out.json")
    assert ended.code == 0
    assert standings() == {("SA101", "b.conv"): "known"}
    assert "1 known" in ended.out.splitlines()[-1]
    assert "SA101 b.conv: 4 of 10 filters inactive (|γ| < 0.001) (known: 0.4 in the baseline)" in ended.out
    assert "known" in gate(capsys, "-q").out
    assert "SA101 dead-filter-fraction-by-scale[b.conv] KNOWN 40.0 %" in gate(capsys, "-v").out
    assert Path("base.json").read_bytes() == content


def test_a_plain_report_is_a_baseline_too(tmp_path, capsys):
    write_sick(tmp_path / M)
    assert call(capsys, "run", M, "--json", "base.json").code == 1
    assert gate(capsys).code == 0


@pytest.mark.parametrize("width", [10, 512, 2048])
def test_one_more_dead_filter_fails(tmp_path, capsys, width):
    dead = int(0.4 * width)
    write_net(tmp_path / M, a=[1e-5] * dead + [1.0] * (width - dead))
    first(capsys)
    content = Path("base.json").read_bytes()
    write_net(tmp_path / M, a=[1e-5] * (dead + 1) + [1.0] * (width - dead - 1))
    ended = gate(capsys, "--json", "out.json", "--update-baseline")
    assert ended.code == 1
    assert standings()["SA101", "a.conv"] == "worse"
    assert "(worse: " in ended.out
    assert Path("base.json").read_bytes() == content  # a session that fails tightens nothing
    assert gate(capsys, "--update-baseline", "--exit-zero").code == 0
    assert Path("base.json").read_bytes() == content


def test_an_improvement_is_told_and_an_update_keeps_it(tmp_path, capsys):
    write_sick(tmp_path / M, 5)
    first(capsys)
    write_sick(tmp_path / M, 4)
    ended = gate(capsys)
    assert ended.code == 0
    assert "BETTER SA101[b.conv] 50.0 % → 40.0 %: still fails" in ended.out
    assert "1 improvement, --update-baseline tightens it" in " ".join(ended.out.split())
    write_sick(tmp_path / M, 5)
    assert gate(capsys).code == 0
    write_sick(tmp_path / M, 4)
    assert "written anew" in " ".join(gate(capsys, "--update-baseline").out.split())
    assert known() == {("SA101", "b.conv"): 0.4}
    write_sick(tmp_path / M, 5)
    assert gate(capsys).code == 1


def test_what_passes_now_is_told_and_fails_when_it_comes_back(tmp_path, capsys):
    write_sick(tmp_path / M, 4)
    first(capsys)
    write_sick(tmp_path / M, 0)
    ended = gate(capsys, "-q", "--update-baseline")
    assert ended.code == 0
    assert "BETTER SA101[b.conv] 40.0 % → 0.0 %: passes now" in ended.out
    write_sick(tmp_path / M, 4)
    assert gate(capsys, "--json", "out.json").code == 1
    assert standings() == {("SA101", "b.conv"): "new"}


def test_the_tolerance_does_not_add_up(tmp_path, capsys):
    codes = []
    for dead in (40, 41, 42, 41):
        write_net(tmp_path / M, a=[1e-5] * dead + [1.0] * (100 - dead))
        codes.append(gate(capsys, "--update-baseline", "--baseline-tolerance", "0.015").code)
        assert known()["SA101", "a.conv"] == 0.4
    assert codes == [0, 0, 1, 0]


def test_a_warning_that_became_an_error_fails(tmp_path, capsys):
    write_sick(tmp_path / M, 2)
    first(capsys)
    assert gate(capsys, "--fail-on", "warning").code == 0
    configure("[limits]\nSA101 = { error = { max = 0.15 } }\n")
    ended = gate(capsys)
    assert ended.code == 1
    assert "new: a warning in the baseline, at 0.2: the limits were others" in ended.out


def test_tighter_limits_make_new_failures(tmp_path, capsys):
    write_net(tmp_path / M, a=[1e-5] + [1.0] * 19)
    first(capsys)
    configure("[limits]\nSA101 = { error = { max = 0.01 } }\n")
    assert gate(capsys, "--json", "out.json").code == 1
    assert standings() == {("SA101", "a.conv"): "new"}


def test_a_new_rule_and_a_new_layer_that_fail_are_new(tmp_path, capsys):
    write_net(tmp_path / M, a=[1e-5] * 4 + [1.0] * 6, b=[1.0] * 10)
    call(capsys, "run", M, *GATE, "--select", "SA904", "--update-baseline")
    assert gate(capsys, "--json", "out.json").code == 1
    assert standings() == {("SA101", "a.conv"): "new"}
    first_bytes = Path("base.json").read_bytes()
    Path("base.json").unlink()
    first(capsys)
    assert Path("base.json").read_bytes() != first_bytes
    write_net(tmp_path / M, a=[1e-5] * 4 + [1.0] * 6, b=[1e-5] * 4 + [1.0] * 6)
    assert gate(capsys, "--json", "out.json").code == 1
    assert standings() == {("SA101", "a.conv"): "known", ("SA101", "b.conv"): "new"}


def test_warnings_gate_with_fail_on_warning(tmp_path, capsys):
    write_sick(tmp_path / M, 2)
    first(capsys)
    write_sick(tmp_path / M, 3)
    assert gate(capsys, "--json", "out.json").code == 0
    assert standings() == {("SA101", "b.conv"): "worse"}
    assert gate(capsys, "--fail-on", "warning").code == 1
    assert gate(capsys, "--fail-on", "warning", "--exit-zero").code == 0
    gate(capsys, "--update-baseline")  # passes, and keeps the better value
    assert known() == {("SA101", "b.conv"): 0.2}


def test_the_first_stop_is_at_a_failure_that_counts(tmp_path, capsys):
    write_net(tmp_path / M, a=[1e-5] * 4 + [1.0] * 6, b=[1.0] * 10)
    first(capsys)
    write_net(tmp_path / M, a=[1e-5] * 4 + [1.0] * 6, b=[1e-5] * 4 + [1.0] * 6)
    ended = gate(capsys, "-x", "--json", "out.json")
    assert ended.code == 1
    assert standings() == {("SA101", "a.conv"): "known", ("SA101", "b.conv"): "new"}
    assert json.loads(Path("out.json").read_text())["models"][0]["results"][-1]["layer"] == "b.conv"


def test_a_baseline_from_another_folder_speaks_of_the_only_model(tmp_path, capsys):
    write_sick(tmp_path / "old.safetensors")
    first(capsys, "old.safetensors")
    (tmp_path / "deep").mkdir()
    write_sick(tmp_path / "deep" / "new.safetensors")
    assert gate(capsys, "--update-baseline", model="deep/new.safetensors").code == 0
    assert [model["path"] for model in json.loads(Path("base.json").read_text())["models"]] == ["deep/new.safetensors"]


def test_a_model_is_not_excused_by_another_of_the_same_file_name(tmp_path, capsys):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        write_sick(tmp_path / folder / M)
    first(capsys, f"a/{M}")
    ended = call(capsys, "run", f"a/{M}", f"b/{M}", *GATE, "--json", "out.json")
    assert ended.code == 1
    found = [m["results"] for m in json.loads(Path("out.json").read_text())["models"]]
    assert [[r["standing"] for r in results if r["outcome"] == "failed"] for results in found] == [["known"], ["new"]]


@pytest.mark.parametrize("narrower", [["--select", "SA904"], ["-k", "a.conv"], ["one"]])
def test_an_update_keeps_what_was_not_checked(tmp_path, capsys, narrower):
    for name in ("m", "n"):
        write_sick(tmp_path / f"{name}.safetensors", 4)
    first(capsys, M, "n.safetensors")
    rules = {rule["id"] for rule in json.loads(Path("base.json").read_text())["rules"]}
    models = [M] if narrower == ["one"] else [M, "n.safetensors"]
    options = [] if narrower == ["one"] else narrower
    assert call(capsys, "run", *models, *options, *GATE, "--update-baseline").code == 0
    assert call(capsys, "run", M, "n.safetensors", *GATE).code == 0
    kept = json.loads(Path("base.json").read_text())
    assert {rule["id"] for rule in kept["rules"]} == rules
    assert sorted(model["path"] for model in kept["models"]) == [M, "n.safetensors"]
    write_sick(tmp_path / "n.safetensors", 5)
    assert call(capsys, "run", M, "n.safetensors", *GATE).code == 1


def test_nothing_audited_writes_no_baseline(tmp_path, capsys):
    write_linear(tmp_path / M)
    assert gate(capsys, "--update-baseline").code == 5
    write_sick(tmp_path / M)
    assert gate(capsys, "--update-baseline", "-k", "nothinghasthisname").code == 5
    assert not Path("base.json").exists()


def replaced(old: str, new: str):
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda text: text[:500], ["not JSON"]),
        (lambda _: "[]", ["is no report"]),
        (lambda _: json.dumps({"model_sha256": "0", "layers": []}), ["is no audit report", "run --json"]),
        (lambda text: json.dumps({**json.loads(text), "more": 1}), ["more is an unknown key"]),
        (replaced('"key": "b.conv"', '"key": "c\\u001b[31m"'), ["another model", "no layer 'b.conv'", "--update-b"]),
        (replaced('"filters": 10,\n     "scale": []', '"filters": 11,\n     "scale": []'), ["'a.conv' has 11 filters"]),
        (replaced('"threshold": 0.001', '"threshold": 0.01'), ["measured otherwise"]),
    ],
)
def test_a_baseline_that_does_not_fit_is_one_line(tmp_path, capsys, change, parts):
    write_sick(tmp_path / M)
    first(capsys)
    text = change(Path("base.json").read_text())
    Path("base.json").write_text(text)
    ended = gate(capsys, "--update-baseline", "--json", "out.json")
    ended.refused("base.json", *parts)
    assert "\x1b" not in ended.err
    assert not Path("out.json").exists()
    assert Path("base.json").read_text() == text


def test_another_version_or_other_arguments_of_a_rule_are_refused(tmp_path, capsys):
    write_sick(tmp_path / M)
    first(capsys)
    report = json.loads(Path("base.json").read_text())
    report["rules"] = []  # as in reports of older versions
    for result in report["models"][0]["results"]:
        result["version"] = 7
    Path("base.json").write_text(json.dumps(report))
    gate(capsys).refused("base.json", "SA101 version 7, this session's is 1")
    Path("base.json").unlink()
    first(capsys)
    report = json.loads(Path("base.json").read_text())
    report["rules"][0]["args"] = {"threshold": 0.5}
    Path("base.json").write_text(json.dumps(report))
    gate(capsys, "--select", "SA904").refused("base.json", "SA101", "threshold = 0.5")


def test_a_refused_baseline_of_one_model_leaves_the_file(tmp_path, capsys):
    write_sick(tmp_path / M)
    write_sick(tmp_path / "n.safetensors")
    first(capsys, M, "n.safetensors")
    content = Path("base.json").read_bytes()
    write_net(tmp_path / "n.safetensors", a=[1.0] * 10)
    ended = call(capsys, "run", M, "n.safetensors", *GATE, "--update-baseline")
    ended.refused("n.safetensors", "layer 'b.conv' is not there")
    assert Path("base.json").read_bytes() == content


def test_absent_and_unnamed_baselines(tmp_path, capsys):
    write_healthy(tmp_path / M)
    gate(capsys).refused("--baseline base.json", "no such file", "--update-baseline makes the first")
    call(capsys, "run", M, "--update-baseline").refused("--update-baseline", "name its file with --baseline")
    (tmp_path / "folder").mkdir()
    call(capsys, "run", M, "--baseline", "folder").refused("folder")
    call(capsys, "run", M, "--baseline", "no/b.json", "--update-baseline").refused("there is no folder no")
    gate(capsys, "--baseline-tolerance", "-1").refused("--baseline-tolerance")
    gate(capsys, "--baseline-tolerance", "nan").refused("--baseline-tolerance")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", M]


def test_a_baseline_is_no_output_and_no_other_input(tmp_path, capsys):
    write_healthy(tmp_path / M)
    gate(capsys, "--json", "base.json", "--update-baseline").refused("--json base.json", "the input base.json")
    gate(capsys, "--sarif", "./base.json", "--update-baseline").refused("--sarif")
    content = (tmp_path / M).read_bytes()
    call(capsys, "run", M, "--baseline", M, "--update-baseline").refused(M)
    assert (tmp_path / M).read_bytes() == content
    assert not Path("base.json").exists()


@pytest.mark.parametrize("key", ["baseline", "json"])
def test_a_path_that_is_none_is_one_line(tmp_path, capsys, key):
    write_healthy(tmp_path / M)
    configure(f'{key} = "b\\u0000.json"\n')
    call(capsys, "run", M).refused("is no name of a file")


def test_a_crash_while_writing_leaves_the_old_baseline(tmp_path, capsys, monkeypatch):
    write_sick(tmp_path / M, 5)
    first(capsys)
    content = Path("base.json").read_bytes()
    write_sick(tmp_path / M, 4)

    def broken(path: Path, text: bytes) -> None:
        monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        write_whole(path, text)

    monkeypatch.setattr("sparsity_audit.outputs.write_whole", broken)
    gate(capsys, "--update-baseline").refused("base.json: cannot be written: No space left")
    assert Path("base.json").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.json", M]


def test_collecting_writes_no_baseline(tmp_path, capsys):
    write_sick(tmp_path / M)
    assert gate(capsys, "--update-baseline", "--collect-only").code == 0
    assert not Path("base.json").exists()


@pytest.mark.usefixtures("today")
def test_a_configuration_finds_its_baseline_from_anywhere(tmp_path, capsys, monkeypatch):
    write_sick(tmp_path / M)
    configure(f'models = ["{M}"]\nbaseline = "gate/base.json"\n')
    (tmp_path / "gate").mkdir()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert call(capsys, "run", "--update-baseline").code == 0
    assert (tmp_path / "gate" / "base.json").exists()
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "run").code == 0
    ended = call(capsys, "run", "--config", str(tmp_path / "sparsity-audit.toml"))
    assert ended.code == 0
    assert "baseline gate/base.json" in ended.out
    write_sick(tmp_path / M, 5)
    assert call(capsys, "run").code == 1


@pytest.mark.usefixtures("today")
@pytest.mark.parametrize(
    ("text", "standing"),
    [
        (waiver(), "waived"),
        (waiver("2026-05-10"), "waived"),  # the last day
        (waiver("2026-05-09"), "expired"),
        (waiver(layer="a.*"), None),
        (waiver(layer="*", model="m.*"), "waived"),
        (waiver(model="n.*"), None),
        (waiver(layer="B.*"), None),
        (waiver(rule="SA104"), None),
        (waiver("2026-05-09") + waiver("2026-05-11"), "waived"),  # prolonged
    ],
)
def test_waivers(tmp_path, capsys, text, standing):
    write_sick(tmp_path / M)
    configure(text)
    ended = call(capsys, "run", M, "--json", "out.json")
    assert standings() == {("SA101", "b.conv"): standing}
    assert ended.code == (0 if standing == "waived" else 1)
    if standing is not None:
        assert "retrained in June" in ended.out


@pytest.mark.usefixtures("today")
def test_an_expired_waiver_fails_though_the_baseline_knows(tmp_path, capsys):
    write_sick(tmp_path / M)
    first(capsys)
    content = Path("base.json").read_bytes()
    configure(waiver("2026-05-09"))
    ended = gate(capsys, "--json", "out.json", "--update-baseline")
    assert ended.code == 1
    assert standings() == {("SA101", "b.conv"): "expired"}
    assert "its waiver ended on 2026-05-09" in ended.out
    assert Path("base.json").read_bytes() == content


@pytest.mark.usefixtures("today")
@pytest.mark.parametrize("made_before", [False, True])
def test_a_baseline_does_not_swallow_what_was_waived(tmp_path, capsys, made_before):
    if made_before:
        write_sick(tmp_path / M, 0)
        first(capsys)
    write_sick(tmp_path / M)
    configure(waiver())
    assert gate(capsys, "--update-baseline").code == 0
    assert gate(capsys).code == 0
    Path("sparsity-audit.toml").unlink()
    assert gate(capsys, "--json", "out.json").code == 1
    assert standings() == {("SA101", "b.conv"): "new"}


@pytest.mark.usefixtures("today")
def test_what_was_known_before_a_waiver_is_known_after_it(tmp_path, capsys):
    write_sick(tmp_path / M, 5)
    first(capsys)
    configure(waiver())
    for dead in (5, 6, 4):
        write_sick(tmp_path / M, dead)
        assert gate(capsys, "--update-baseline").code == 0
    Path("sparsity-audit.toml").unlink()
    assert gate(capsys).code == 0
    write_sick(tmp_path / M, 5)
    assert gate(capsys).code == 1


@pytest.mark.usefixtures("today")
def test_a_waiver_for_a_worse_value_leaves_a_known_warning_a_warning(tmp_path, capsys):
    write_sick(tmp_path / M, 2)
    first(capsys)
    configure(waiver() + "[limits]\nSA101 = { error = { max = 0.15 } }\n")
    assert gate(capsys, "--update-baseline").code == 0
    configure("[limits]\nSA101 = { error = { max = 0.15 } }\n")
    assert gate(capsys).code == 1


@pytest.mark.usefixtures("today")
def test_a_waived_warning(tmp_path, capsys):
    write_sick(tmp_path / M, 2)
    assert call(capsys, "run", M, "--fail-on", "warning").code == 1
    configure(waiver())
    ended = call(capsys, "run", M, "--fail-on", "warning")
    assert ended.code == 0
    assert "1 waived" in ended.out.splitlines()[-1]


@pytest.mark.usefixtures("today")
@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (waiver(), [], True),
        (waiver(layer="gone.*"), [], True),
        (waiver(rule="SA102"), [], False),  # skipped: nobody can tell
        (waiver(model="other.*"), [], False),
        (waiver(), ["--select", "SA904"], False),
        (waiver(), ["-k", "a.conv"], False),
    ],
)
def test_waivers_that_nothing_needs_are_told(tmp_path, capsys, text, options, told):
    write_net(tmp_path / M, a=[1.0] * 10, b=[1.0] * 10)
    configure(text)
    ended = call(capsys, "run", M, "-q", "--json", "out.json", *options)
    assert ended.code == 0
    assert ("no failure needs it" in " ".join(ended.out.split())) is told
    assert bool(json.loads(Path("out.json").read_text())["unused_waivers"]) is told


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (waiver(rule="SA110"), ["unknown rule 'SA110'", "SA1"]),
        (waiver(rule="sa101"), ["waivers.0.rule"]),
        (waiver(reason=""), ["waivers.0.reason"]),
        (waiver('"soon"'), ["waivers.0.expires", "soon"]),
        (waiver("2026-02-30"), ["not TOML"]),
        (waiver("true"), ["waivers.0.expires"]),
        ('[[waivers]]\nrule = "SA101"\nreason = "x"\n', ["waivers.0.expires", "is missing"]),
        ('[[waivers]]\nrule = "SA101"\nexpires = 2026-06-01\n', ["waivers.0.reason", "is missing"]),
        (waiver(until="x"), ["waivers.0.until", "unknown key"]),
    ],
)
def test_waivers_that_say_too_little_are_one_line(tmp_path, capsys, text, parts):
    write_healthy(tmp_path / M)
    configure(text)
    call(capsys, "run", M).refused("sparsity-audit.toml", *parts)


def test_a_crash_of_a_rule_comes_before_all_standings(tmp_path, capsys, monkeypatch):
    write_sick(tmp_path / M)
    first(capsys)
    content = Path("base.json").read_bytes()
    monkeypatch.setattr("sparsity_audit.engine.evaluate._measure", lambda *_: ZeroDivisionError("planted"))
    assert gate(capsys, "--update-baseline").code == 3
    assert Path("base.json").read_bytes() == content
