"""SARIF 2.1.0, as GitHub's code scanning reads it: a result for each failed rule and layer."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from sparsity_audit.errors import ExitCode
from sparsity_audit.reporters.places import audit_file, relative
from sparsity_audit.reporters.sarif_rules import described_rules
from sparsity_audit.reporters.standing import standing_words
from sparsity_audit.reporters.summary import by_rule, ended, error_words, exit_words, parts_of
from sparsity_audit.reporters.tables import figures, place
from sparsity_audit.reporters.text import clip, markdown_code, markdown_text, printable
from sparsity_audit.schema.report import AuditReport, RuleResult

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MOST = 5_000
"""Results that GitHub shows of one run; it takes 25,000 and keeps these by severity."""
LARGEST = 10_000_000
"""Bytes of a file, compressed by gzip, that GitHub takes."""
_STEPS = (MOST, 1_000, 200, 0)
_LONGEST, _LONGEST_NAME = 1_000, 200
_LINK = re.compile(r"[\\\[\]]")
_BASELINE = {"known": "unchanged", "worse": "updated", "new": "new", "expired": "unchanged"}


def to_sarif(report: AuditReport, root: Path) -> str:
    """Return the failed and crashed results as SARIF.

    What passed or was not decided is not in it: GitHub makes an alert of every result, whatever its kind. Known and
    waived failures carry an accepted suppression, which viewers honour; GitHub shows an alert all the same, so that
    they stay in sight, and its check looks at new alerts alone. Results of the baseline that are gone are left out,
    too: GitHub closes an alert that a run does not have any more.

    Of a session that broke (exit codes 2 to 5) ``executionSuccessful`` is false. GitHub then refuses the file and
    leaves alerts as they are, rather than close those of models that nobody looked at.

    The fingerprint is of rule, model and layer: by itself the uploader hashes the line that a result lies at, which all
    results share, and would take them for one.

    Args:
        root: the repository's folder, from which locations are counted; absolute.
    """
    results = [(name, result) for name, found in parts_of(report) for result in found if _tells(result)]
    results.sort(key=lambda pair: _level(pair[1]) != "error")
    for most in _STEPS:
        log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(report, root, results, most)]}
        text = json.dumps(log, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        if len(text) <= LARGEST // 4 or len(gzip.compress(text.encode())) <= LARGEST:  # a character is 4 bytes at most
            break
    return text


def _run(report: AuditReport, root: Path, results: list[tuple[str, RuleResult]], most: int) -> dict[str, Any]:
    rules = described_rules(report)
    order = {rule["id"]: index for index, rule in enumerate(rules)}
    told = [_result(name, result, report, root, order) for name, result in results[:most]]
    _number(told)
    if any(result.excused for _, result in results):  # the standard wants them on all results or on none
        told = [{"suppressions": [], **result} for result in told]
    return {
        "tool": {
            "driver": {
                "name": "sparsity-audit",
                "semanticVersion": report.tool.version,
                "version": report.tool.version,
                "rules": rules,
            }
        },
        "automationDetails": {"id": "sparsity-audit/"},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The repository's folder."}}},
        "invocations": [_invocation(report, len(results), len(told))],
        "results": told,
    }


def _number(results: list[dict[str, Any]]) -> None:
    """Tell findings apart that one rule has of one place, as where a session names a model twice."""
    seen: Counter[str] = Counter()
    for result in results:
        finding = result["partialFingerprints"]["primaryLocationLineHash"]
        seen[finding] += 1
        result["partialFingerprints"]["primaryLocationLineHash"] = f"{finding}:{seen[finding]}"


def _tells(result: RuleResult) -> bool:
    return result.outcome in ("failed", "error")


def _level(result: RuleResult) -> str:
    return "warning" if result.severity == "warning" else "error"


def _invocation(report: AuditReport, results: int, told: int) -> dict[str, Any]:
    notes = [("error", error_words(error)) for error in report.errors]
    notes += [
        ("error", f"{group[0].rule} crashed ×{len(group):,}: {group[0].reason or group[0].message}")
        for group in by_rule(ended(report.results(), "error"))
    ]
    if report.exit_code in (ExitCode.INTERRUPTED, ExitCode.NOTHING_AUDITED):
        notes.append(("error", exit_words(report) or f"exit code {report.exit_code}"))
    if results > told:
        notes.append(("warning", f"{results - told:,} of {results:,} results are left out: GitHub shows {MOST:,}"))
    found: dict[str, Any] = {
        "executionSuccessful": not report.errors and report.exit_code in (ExitCode.PASSED, ExitCode.FAILED),
        "exitCode": report.exit_code,
    }
    if notes:
        found["toolExecutionNotifications"] = [
            {"level": level, "message": {"text": _plain(clip(text, _LONGEST))}} for level, text in notes
        ]
    return found


def _result(name: str, result: RuleResult, report: AuditReport, root: Path, order: dict[str, int]) -> dict[str, Any]:
    about = result.subject or ""
    found: dict[str, Any] = {
        "ruleId": result.rule,
        "ruleIndex": order[result.rule],
        "level": _level(result),
        "message": _message(name, result),
        "locations": [_location(audit_file(report, name), about, root)],
        "partialFingerprints": {"primaryLocationLineHash": _fingerprint(result.rule, relative(name, root), about)},
        "properties": {"model": printable(name), **_figures(result)},
    }
    if report.baseline is not None and result.standing in _BASELINE:
        found["baselineState"] = _BASELINE[result.standing]
    if result.excused:
        reason = printable(standing_words(result))
        found["suppressions"] = [{"kind": "external", "status": "accepted", "justification": reason}]
    return found


def _figures(result: RuleResult) -> dict[str, float | str | None]:
    """Return value, limit and unit; JSON has no NaN and no infinity."""
    numbers = {"value": result.value, "limit": result.limit}
    known = {key: x if x is not None and math.isfinite(x) else None for key, x in numbers.items()}
    return {**known, "unit": result.unit}


def _message(name: str, result: RuleResult) -> dict[str, str]:
    said = result.reason or result.message if result.outcome == "error" else result.message
    found = "crashed" if result.outcome == "error" else figures(result)
    standing = f" ({standing_words(result)})" if result.standing else ""
    remedy = f" To do: {result.remedies[0]}." if result.remedies else ""
    rest = f"{clip(said, _LONGEST)} ({found}){standing}.{remedy}"
    about, model = clip(place(result), _LONGEST_NAME), clip(name, _LONGEST_NAME)
    marked = f"{markdown_code(about)} of {markdown_code(model)}: {markdown_text(rest)}"
    return {"text": _plain(f"{about} of {model}: {rest}"), "markdown": marked}


def _plain(text: str) -> str:
    """Return foreign text for a message, in which ``[x](1)`` would be a link (SARIF 2.1.0, 3.11.6)."""
    return _LINK.sub(lambda match: f"\\{match[0]}", printable(text))


def _location(file: str, layer: str, root: Path) -> dict[str, Any]:
    path = relative(file, root)
    if PurePosixPath(path).is_absolute():
        artifact = {"uri": Path(path).as_uri()}
    else:
        artifact = {"uri": quote(path), "uriBaseId": "%SRCROOT%"}
    found: dict[str, Any] = {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": 1}}}
    if layer:
        found["logicalLocations"] = [{"fullyQualifiedName": printable(layer), "kind": "module"}]
    return found


def _fingerprint(rule: str, model: str, layer: str) -> str:
    """Return what tells a finding from every other, from run to run."""
    finding = "\0".join([rule, model, layer]).encode("utf-8", "surrogatepass")
    return hashlib.sha256(finding).hexdigest()[:16]
