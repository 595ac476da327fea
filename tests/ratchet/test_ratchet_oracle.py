"""The ratchet against a naive one, over random sessions; and the cases that a random session seldom meets."""

from __future__ import annotations

import datetime
import fnmatch
import json
import math
import random

import pytest
from ratchet_parts import TODAY, compared, ended, model, ratchet, report, reread, result, study

from sparsity_audit.errors import ConfigError
from sparsity_audit.ratchet.matching import counterpart, worse_by
from sparsity_audit.schema.gate import Waiver
from sparsity_audit.schema.report import AuditReport, RuleResult

RULES, LAYERS, PATHS = ("SA101", "SA102", "SA103"), ("a", "b", None), ("m", "n")
VALUES = (0.2, 0.2 + 5e-5, 0.20015, 0.21, 0.3, 3.0, 3.0002, 3.0004, -1.0, math.nan, math.inf)


def drawn(rng: random.Random) -> AuditReport:
    """Return a session's report; rules, layers and models are left out at random."""
    models = []
    for path in PATHS:
        if models and rng.random() < 0.2:
            continue
        results = []
        for rule in RULES:
            for key in LAYERS:
                outcome = rng.choice(("failed", "failed", "failed", "passed", "skipped", "inconclusive", None))
                value = rng.choice(VALUES) if outcome == "failed" else 0.05
                severity = rng.choice(("error", "warning")) if outcome == "failed" else None
                limit = 0.1 if not value < 0 else 0.0
                if outcome is not None:
                    results.append(result(rule, key, outcome, value, severity=severity, limit=limit))
        models.append(model(path, results))
    return report(*models)


def drawn_waivers(rng: random.Random) -> list[Waiver]:
    days = [TODAY + datetime.timedelta(days=rng.choice((-1, 0, 30))) for _ in range(rng.randrange(3))]
    return [
        Waiver(rule=rng.choice(RULES), layer=rng.choice("*ab"), model=rng.choice("*mn"), reason="r", expires=day)
        for day in days
    ]


Spots = dict[tuple[str, str, str | None], RuleResult]


def spots(made: AuditReport) -> Spots:
    return {(part.path, found.rule, found.layer): found for part in made.models for found in part.results}


def badness(value: float | None) -> float:
    """Return how bad a failed value is: far from its range, on whichever side; what is no number is worst."""
    return math.inf if value is None or not math.isfinite(value) else value if value > 0 else -value


def is_worse(now: float | None, before: float | None, tolerance: float) -> bool:
    if badness(now) == math.inf:
        return badness(before) != math.inf
    if badness(before) == math.inf:
        return False
    # Above a maximum higher is worse, below a minimum lower is.
    distance = now - before if now > 0.1 else before - now
    return distance > tolerance * max(1.0, abs(before))


def naive(baseline: Spots | None, waivers: list[Waiver], name: str, found: RuleResult, tolerance: float) -> str | None:
    """Return the standing that a failure should have."""
    mine = [
        waiver
        for waiver in waivers
        if waiver.rule == found.rule
        and fnmatch.fnmatchcase(found.layer or "", waiver.layer)
        and fnmatch.fnmatchcase(name, waiver.model)
    ]
    if mine:
        return "waived" if max(waiver.expires for waiver in mine) >= TODAY else "expired"
    if baseline is None:
        return None
    before = baseline.get((name, found.rule, found.layer))
    if before is None or before.outcome != "failed" or before.standing in ("waived", "expired"):
        return "new"
    if is_worse(found.value, before.value, tolerance):
        return "worse"
    return "new" if before.severity == "warning" and found.severity == "error" else "known"


@pytest.mark.parametrize("seed", range(60))
def test_standings_codes_and_updates_are_those_of_a_naive_ratchet(seed):
    rng = random.Random(seed)  # noqa: S311
    tolerance = rng.choice((0.0, 1e-4, 0.02))
    fail_on = rng.choice(("error", "warning"))
    before = None if rng.random() < 0.1 else reread(drawn(rng))
    waivers = drawn_waivers(rng)
    settings = {"baseline_tolerance": tolerance, "fail_on": fail_on, "waivers": waivers}
    gate = ratchet(before, *PATHS, **settings)
    now = drawn(rng)
    if rng.random() < 0.5 and before is not None:  # mostly as before, so that sessions pass as well
        now = nearly(before, rng)
    found = ended(gate, *now.models)
    known = None if before is None else spots(before)
    gating = []
    for (path, _, _), item in spots(found).items():
        expected = naive(known, waivers, path, item, tolerance) if item.outcome == "failed" else None
        assert item.standing == expected
        if item.outcome == "failed" and expected not in ("known", "waived"):
            gating += [item] if fail_on == "warning" or item.severity == "error" else []
    assert found.exit_code == (1 if gating else 0)
    updated = gate.updated(found)
    assert (updated is None) == bool(gating)
    if updated is not None:
        check_update(known or {}, spots(found), reread(updated))


def nearly(before: AuditReport, rng: random.Random) -> AuditReport:
    """Return a session like an earlier one, some values a little other, some results gone or passed."""
    models = []
    for part in before.models:
        results = []
        for old in part.results:
            if old.outcome != "failed" or rng.random() < 0.2:
                results.append(result(old.rule, old.layer, rng.choice(("passed", "skipped")), 0.0))
            elif rng.random() < 0.9:
                changed = old.value if old.value is None else old.value + rng.choice((0, 0, 1e-5, -1e-5, -0.05))
                value = math.nan if changed is None else changed
                results.append(old.model_copy(update={"value": value}))
        models.append(model(part.path, results))
    return report(*models)


def check_update(old: Spots, now: Spots, updated: AuditReport) -> None:
    """Assert what the new baseline lets through: of each failure the better of old and new."""
    lets = {spot: item for spot, item in spots(updated).items() if item.outcome == "failed"}
    lets = {spot: item for spot, item in lets.items() if item.standing not in ("waived", "expired")}
    for spot in {*old, *now}:
        before, item = old.get(spot), now.get(spot)
        was = before is not None and before.outcome == "failed"
        if item is not None and item.outcome == "passed":
            assert spot not in lets
        elif item is None or item.outcome != "failed":
            assert (spot in lets) == was
            assert not was or lets[spot] == before
        elif item.standing == "waived" and not was:
            assert spot not in lets
        elif was:
            better = badness(item.value) < badness(before.value) and (before.severity, item.severity) != (
                "warning",
                "error",
            )
            assert badness(lets[spot].value) == badness(item.value if better else before.value)
            assert not (before.severity == "warning" and lets[spot].severity == "error")
        else:
            assert badness(lets[spot].value) == badness(item.value)
    assert {part.path for part in updated.models} >= {spot[0] for spot in old}


@pytest.mark.parametrize("seed", range(20))
def test_improvements_are_those_of_a_naive_ratchet(seed):
    rng = random.Random(1000 + seed)  # noqa: S311
    before = reread(drawn(rng))
    gate = ratchet(before, *PATHS)
    now = nearly(before, rng) if seed % 2 else drawn(rng)
    found = ended(gate, *now.models)
    old = {spot: item for spot, item in spots(before).items() if item.outcome == "failed"}
    expected = set()
    for spot, item in spots(found).items():
        if spot not in old:
            continue
        if item.outcome == "passed":
            expected.add(spot)
        elif item.outcome == "failed":
            milder = (old[spot].severity, item.severity) == ("error", "warning")
            if milder or gains(item, old[spot]):
                expected.add(spot)
    told = found.baseline.improvements
    assert {(better.model, better.rule, better.layer) for better in told} == expected
    assert len(told) == len(expected)


def gains(now: RuleResult, before: RuleResult) -> bool:
    if badness(now.value) == math.inf:
        return False
    if badness(before.value) == math.inf:
        return True
    gain = before.value - now.value if now.value > 0.1 else now.value - before.value
    return gain > 1e-4 * max(1.0, abs(before.value))


@pytest.mark.parametrize(
    ("now", "before", "limit", "expected"),
    [
        (0.5, 0.4, 0.1, 0.1),
        (0.4, 0.5, 0.1, -0.1),
        (0.4, 0.5, 0.9, 0.1),  # below a minimum
        (0.5, 0.4, 0.9, -0.1),
        (210.0, 200.0, 1.0, 0.05),
        (math.nan, 0.5, 0.1, math.inf),
        (math.nan, None, 0.1, 0.0),
        (math.nan, math.nan, 0.1, 0.0),
        (0.5, None, 0.1, -math.inf),
        (0.5, math.nan, 0.1, -math.inf),
        (math.inf, 0.5, 0.1, math.inf),
        (0.5, 0.4, None, 0.1),
    ],
)
def test_how_much_worse(now, before, limit, expected):
    assert worse_by(result("SA101", "a", "failed", now, limit=limit), before) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "names", "earlier", "expected"),
    [
        ("m", ["m"], ["m", "n"], "m"),
        ("x/m", ["x/m"], ["y/m", "y/n"], "y/m"),
        ("x/m", ["x/m", "y/m"], ["y/m"], None),  # that one is the other's
        ("x/m", ["x/m", "z/m"], ["y/m"], None),  # either could be
        ("x/m", ["x/m"], ["y/m", "z/m"], None),
        ("x/m", ["x/m", "y/m"], ["x/m", "y/m"], "x/m"),
        ("new", ["new"], ["old"], "old"),
        ("new", ["new", "other"], ["old"], None),
        ("new", ["new"], ["old", "older"], None),
        ("m", ["m", "m"], ["m", "m"], "m"),  # named twice
        ("m", ["m"], [], None),
    ],
)
def test_which_model_is_the_same(name, names, earlier, expected):
    found = counterpart(name, names, [model(path, []) for path in earlier])
    assert (None if found is None else found.path) == expected


def test_a_report_with_nan_spelt_out_excuses_nothing_but_nan():
    text = report(model("m", [result("SA101", "a", "failed", 0.5)])).to_json().replace("0.5", "NaN")
    before = AuditReport.model_validate(json.loads(text))
    assert math.isnan(before.models[0].results[0].value)
    gate = ratchet(None, "m", first=True)
    gate = type(gate)(gate.config, before, first=False, today=TODAY)
    nan = ended(gate, model("m", [result("SA101", "a", "failed", math.nan)]))
    assert nan.models[0].results[0].standing == "known"
    assert nan.models[0].results[0].standing_reason == "nan in the baseline"
    number = model("m", [result("SA101", "a", "failed", 0.5)])
    assert [better.before for better in ended(gate, number).baseline.improvements] != []
    assert gate.updated(ended(gate, number)).models[0].results[0].value == 0.5


def test_results_of_a_study_are_told_apart_by_their_runs():
    old = study("s", [compared("l2", "wd", value=0.3), compared("l2", "sgd", value=0.4)])
    gate = ratchet(report(old), "study.toml")
    now = study("s", [compared("l2", "sgd", value=0.4), compared("l2", "wd", value=0.35), compared("x", value=0.2)])
    found = ended(gate, now)
    assert [item.standing for item in found.studies[0].results] == ["known", "worse", "new"]
    assert found.exit_code == 1
    assert gate.updated(found) is None
    better = ended(gate, study("s", [compared("l2", "wd", value=0.2)]))
    assert better.exit_code == 0
    (told,) = better.baseline.improvements
    assert (told.model, told.rule, told.layer, told.before, told.after) == ("s", "SA301", "l2 against wd", 0.3, 0.2)
    kept = gate.updated(better)
    values = {item.subject: item.value for item in kept.studies[0].results}
    assert values == {
        "l2 against wd": 0.2,
        "l2 against sgd": 0.4,
    }


def test_an_update_keeps_studies_that_were_left_out():
    both = report(study("s", [compared("l2", "wd", value=0.3)]), study("t", [compared("l2", "wd", value=0.5)]))
    gate = ratchet(both, "s.toml")
    kept = gate.updated(ended(gate, study("s", [compared("l2", "wd", value=0.3)])))
    assert sorted(part.name for part in kept.studies) == ["s", "t"]
    other = ended(gate, study("u", [compared("l2", "wd", value=0.3)]))
    assert other.studies[0].results[0].standing == "new"


def test_a_model_is_no_study():
    gate = ratchet(report(study("m", [result("SA101", "a", "failed", 0.5)])), "m")
    assert ended(gate, model("m", [result("SA101", "a", "failed", 0.5)])).models[0].results[0].standing == "new"


def test_versions_of_a_study_are_held_against_each_other():
    gate = ratchet(report(study("s", [compared("l2", "wd", value=0.3, version=2)])), "s.toml")
    with pytest.raises(ConfigError, match="SA301 version 2, this session's is 1"):
        gate.stand(study("s", [compared("l2", "wd", value=0.3)]))


def test_a_session_with_unreadable_models_or_crashed_rules_updates_nothing():
    gate = ratchet(None, "m", first=True)
    crashed = ended(gate, model("m", [result("SA101", "a", "error"), result("SA101", "b", "passed", 0.0)]))
    assert crashed.exit_code == 3
    assert gate.updated(crashed) is None
    errors = [{"path": "n", "message": "n: broken"}]
    unread = ended(gate, model("m", [result("SA101", "a", "passed", 0.0)]), errors=errors)
    assert unread.exit_code == 4
    assert gate.updated(unread) is None
    assert gate.updated(ended(gate, model("m", [result("SA101", "a", "skipped")]))) is None


def test_more_than_one_step_of_updates_never_loosens():
    rng = random.Random(7)  # noqa: S311
    base, best = report(model("m", [result("SA101", "a", "failed", 0.5)])), 0.5
    for _ in range(200):
        value = best + rng.choice((-0.001, 0.0005, 0.0009, 0.0011, 0.3))
        gate = ratchet(base, "m", baseline_tolerance=1e-3)
        found = ended(gate, model("m", [result("SA101", "a", "failed", value)]))
        assert found.exit_code == (1 if value > best + 1e-3 else 0)
        new = gate.updated(found)
        base, best = (base, best) if new is None else (new, min(best, value))
        assert base.models[0].results[0].value == best
