"""JUnit XML: a suite for each model, a case for each result; what fails the session is a failure, the rest is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath
from xml.etree import ElementTree as ET  # written, never read

from sparsity_audit.errors import ExitCode
from sparsity_audit.reporters.standing import standing_words
from sparsity_audit.reporters.summary import exit_words, gate_failures, parts_of
from sparsity_audit.reporters.tables import figures
from sparsity_audit.reporters.text import evidence_text, printable
from sparsity_audit.schema.report import AuditReport, RuleResult

_PREFIX = "sparsity-audit"


def to_junit(report: AuditReport) -> str:
    """Return the report as JUnit XML, as Jenkins's ``junit-10.xsd`` has it.

    CI servers show failures and errors as broken, and skipped cases as open: warnings below the gate, known and waived
    failures, and what could not be decided are skipped, with a type that tells them apart. Crashed rules, models that
    could not be audited, and a session that audited nothing are errors.
    """
    root = ET.Element("testsuites", {"name": _PREFIX})
    parts = parts_of(report)
    gating = {id(result) for result in gate_failures(report)}
    for name, results in parts:
        cases = [_case(name, result, fails=id(result) in gating) for result in results]
        # The session's seconds stand at one suite, so that their sum is right; models are not timed one by one.
        _suite(root, name, cases, report, report.duration_seconds if name == parts[0][0] else 0.0)
    for error in report.errors:
        case = _element("testcase", classname=_dotted(error.path), name="audit", time="0.000")
        case.append(_element("error", message=error.message, type=f"{_PREFIX}.unreadable", text=error.message))
        _suite(root, error.path, [case], report, 0.0)
    if report.exit_code not in (ExitCode.PASSED, ExitCode.FAILED) and root.find("*/*/error") is None:
        words = exit_words(report) or f"exit code {report.exit_code}"
        case = _element("testcase", classname=_PREFIX, name="session", time="0.000")
        case.append(_element("error", message=words, type=f"{_PREFIX}.session", text=words))
        _suite(root, _PREFIX, [case], report, 0.0)
    _tell_apart(root)
    _count(root, list(root.iter("testcase")))
    root.set("time", f"{report.duration_seconds:.3f}")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ET.Element, name: str, cases: list[ET.Element], report: AuditReport, seconds: float) -> None:
    suite = ET.SubElement(root, "testsuite", {"name": printable(name)})
    _count(suite, cases)
    suite.set("time", f"{seconds:.3f}")
    suite.set("timestamp", report.started.removesuffix("Z").partition("+")[0])
    suite.extend(cases)


def _count(element: ET.Element, cases: Iterable[ET.Element]) -> None:
    found = [child.tag for case in cases for child in [case, *case]]
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        element.set(attribute, str(found.count(tag)))
    if element.tag == "testsuite":  # the schema has no such attribute on the root
        element.set("skipped", str(found.count("skipped")))


def _case(name: str, result: RuleResult, *, fails: bool) -> ET.Element:
    place = "" if result.subject is None else f"[{result.subject}]"
    case = _element("testcase", classname=_dotted(name), name=f"{result.rule}{place} {result.name}", time="0.000")
    if (told := _told(result, fails=fails)) is not None:
        tag, kind, message = told
        case.append(_element(tag, message=message, type=f"{_PREFIX}.{kind}", text=_details(result)))
    return case


def _told(result: RuleResult, *, fails: bool) -> tuple[str, str, str] | None:
    """Return element, type and message of what became of a result; None where it passed."""
    standing = standing_words(result)
    message = f"{result.message} ({standing})" if standing else result.message
    if result.outcome == "error":
        return "error", "crashed", result.reason or result.message
    if fails:
        return "failure", result.severity or "error", message
    if result.outcome == "failed":
        kind = str(result.standing) if result.excused else "warning"
        return "skipped", kind, message
    if result.outcome in ("skipped", "inconclusive"):
        return "skipped", result.outcome, result.reason or result.message
    return None


def _details(result: RuleResult) -> str:
    lines = [result.message, f"value {figures(result)}"]
    lines += [f"{key.replace('_', ' ')}: {evidence_text(found)}" for key, found in result.evidence.items()]
    lines += [f"what to do: {remedy}" for remedy in result.remedies]
    return "\n".join(printable(line) for line in lines if line)


def _element(tag: str, *, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.Element(tag, {key: printable(value) for key, value in attributes.items()})
    element.text = text if text is None else "\n".join(printable(line) for line in text.split("\n"))
    return element


def _tell_apart(root: ET.Element) -> None:
    """Number cases of one class and name: GitLab keeps but one of them."""
    seen: Counter[tuple[str, str]] = Counter()
    for case in root.iter("testcase"):
        key = case.get("classname", ""), case.get("name", "")
        seen[key] += 1
        if seen[key] > 1:
            case.set("name", f"{key[1]} ({seen[key]})")


def _dotted(path: str) -> str:
    """Return a path as CI servers expect a class: they draw a tree at its dots."""
    parts = [part for part in PurePath(path).parts if part not in ("/", "..", ".")]
    return ".".join(part.replace(".", "_") for part in parts) or _PREFIX
