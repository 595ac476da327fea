"""Reports for machines: every state of ``report_builders``, with standings, rules and several models besides."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import report_builders as build
from report_parts import layer

from sparsity_audit.engine.rulepacks import load_rules
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.gate import BaselineInfo, Improvement, Waiver
from sparsity_audit.schema.report import AuditReport


def standings() -> AuditReport:
    keys = ["a", "b", "c", "d", "e"]
    results = [
        build.failed("SA101", "a", standing="known", standing_reason="0.34 in the baseline"),
        build.failed("SA101", "b", standing="worse", standing_reason="0.3 in the baseline"),
        build.failed("SA101", "c", standing="new", standing_reason="the baseline has no such failure"),
        build.failed("SA101", "d", standing="waived", standing_reason="waived until 2027-01-31: soon gone"),
        build.failed("SA102", "e", standing="expired", standing_reason="its waiver ended on 2026-01-31: soon gone"),
        build.failed("SA102", "a", "warning", standing="new", standing_reason="the baseline has no such failure"),
    ]
    better = Improvement(
        model="m", rule="SA101", layer="f", severity_before="error", severity_after=None, before=0.5, after=0.0
    )
    info = BaselineInfo(path="b.json", started="2026-01-01T00:00:00Z", tolerance=1e-4, improvements=[better])
    waiver = Waiver(rule="SA201", reason="once", expires=datetime.date(2027, 1, 31))
    made = build.model([layer(key) for key in keys], results, path="models/m.safetensors")
    return build.report([made], exit_code=1, baseline=info, unused_waivers=[waiver], rules=load_rules(["default"]))


def two_models() -> AuditReport:
    first = build.failed_with_warnings().models[0]
    second = first.model_copy(update={"path": "other/resnet20.safetensors"})
    return build.report([first, second], exit_code=1, rules=load_rules(["default"]))


def warnings_gate() -> AuditReport:
    return build.failed_with_warnings().model_copy(update={"config": AuditConfig(fail_on="warning")})


def nothing_audited() -> AuditReport:
    made = build.model([layer("a")], [build.undecided("skipped", "no data", layer_key="a")])
    return build.report([made], exit_code=5)


EVERY: dict[str, Callable[[], AuditReport]] = {
    "passed": build.all_passed,
    "failed": build.failed_with_warnings,
    "weights": build.weights_only,
    "crashed": build.crashed_rule,
    "unreadable": build.session_error,
    "nasty": build.nasty,
    "standings": standings,
    "two models": two_models,
    "warnings gate": warnings_gate,
    "nothing audited": nothing_audited,
}
