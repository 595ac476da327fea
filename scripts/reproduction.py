"""Put what came of the studies into docs/reproduction.md, between the marks that name each table.

    python scripts/reproduction.py

Every number comes from zoo/results/, by the code of ``sparsity-audit compare``. Nothing is trained or measured here.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from collect_results import FOLDERS, RESULTS

from sparsity_audit.engine.rulepacks import load_rules
from sparsity_audit.measures.quantities import QUANTITIES
from sparsity_audit.reporters.study_tables import claims_tally, runs_table
from sparsity_audit.reporters.text import DASH, markdown_text, number, percent, plural, points
from sparsity_audit.schema.report import RuleResult, StudyReport
from sparsity_audit.schema.study_report import ClaimResult
from sparsity_audit.specs.sources import shipped_ids
from sparsity_audit.specs.study import expand, load_study, rows
from sparsity_audit.studies.claims import load_claims
from sparsity_audit.studies.gather import gather
from sparsity_audit.studies.locate import find_runs
from sparsity_audit.studies.report import study_report

DOCUMENT = RESULTS.parent.parent / "docs" / "reproduction.md"
DECIDED = ("reproduced", "not reproduced")


@dataclass(frozen=True)
class Study:
    """A study's report, and how to write of it."""

    report: StudyReport

    def words(self, text: str) -> str:
        """Return a text of the report for a cell: rows without the study's name before them."""
        return markdown_text(text.replace(f"{self.report.name}-", ""))


def studies() -> dict[str, Study]:
    """Return what the results say of each study, by the study rules of the default pack and the paper's claims."""
    rules, claims = load_rules(["default"]), load_claims()
    found = {}
    for name, folder in FOLDERS.items():
        study = load_study(name)
        gathered = gather(study, RESULTS / folder)
        found[name] = Study(study_report(name, study.spec.title, study.spec.source, gathered, rules, claims))
    return found


def table(headers: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; cells are Markdown already."""
    heads = list(headers)
    return "".join(f"| {' | '.join(line)} |\n" for line in [heads, ["---"] * len(heads), *lines])


def runs_block(found: dict[str, Study]) -> str:
    """Return what was trained and on what, and what was not, by the records."""
    lines = []
    for name, study in found.items():
        planned = {run.spec.digest(): run for run in expand(load_study(name))}
        records = [run.record for run in find_runs(RESULTS / FOLDERS[name]).values() if run.record.digest in planned]
        sessions = [session for record in records for session in record.sessions]
        seconds = [sum(session.seconds for session in record.sessions) for record in records]
        lines.append(
            [
                f"`{name}`",
                f"{len(study.report.rows)}",
                ", ".join(map(str, sorted({run.spec.seed for run in planned.values()}))),
                f"{len(records)} of {len(planned)}",
                f"{statistics.median(seconds):.0f} s" if seconds else DASH,
                ", ".join(sorted({session.torch for session in sessions})) or DASH,
                ", ".join(sorted({f"{session.device}, {session.threads}" for session in sessions})) or DASH,
            ]
        )
    heads = ["study", "rows", "seeds asked for", "runs finished", "median time of a run", "torch", "device, threads"]
    return table(heads, lines)


def claims_block(study: Study) -> str:
    """Return a row for each claim; those that the study holds no runs for are named below."""
    lines = [
        [
            study.words(claim.claim),
            study.words(claim.source),
            f"**{claim.outcome}**",
            _effect(claim),
            str(claim.n) if claim.n else DASH,
            study.words(_said(claim)),
        ]
        for claim in study.report.claims
        if claim.outcome != "not run" or claim.runs
    ]
    heads = ["claim", "source", "outcome", "effect (95 % interval)", "seeds", "in words"]
    silent = [
        study.words(claim.claim) for claim in study.report.claims if claim.outcome == "not run" and not claim.runs
    ]
    text = f"{claims_tally(study.report).capitalize()}.\n\n{table(heads, lines)}"
    if silent:
        text += f"\nNot run (this study holds no runs that they speak of): {'; '.join(silent)}.\n"
    return text


def _effect(claim: ClaimResult) -> str:
    """Return an effect with its interval, in the unit of what is claimed."""
    if claim.value is None:
        return DASH
    quantity = next(QUANTITIES[known.quantity] for known in load_claims() if known.id == claim.id)
    effect = quantity.difference(claim.value)
    if claim.interval is None:
        return effect
    return f"{effect} ({quantity.difference(*claim.interval).removesuffix(' points')})"


def _said(claim: ClaimResult) -> str:
    """Return one line on a claim: what was compared, or why it is undecided."""
    if claim.outcome not in DECIDED:
        return claim.reason or claim.message
    if len(claim.runs) > 2:
        return f"mean over the comparisons of {len(claim.runs)} rows, each listed on its own"
    return claim.message.split(", +")[0].split(", -")[0]


def details_block(study: Study) -> str:
    """Return what each claim rests on, comparison by comparison."""
    lines = [
        f"- {study.words(claim.claim)} ({claim.outcome}): {study.words(claim.message)}\n"
        for claim in study.report.claims
        if claim.message
    ]
    summary = "<details><summary>The comparisons behind each claim</summary>"
    return f"{summary}\n\n{''.join(lines)}\n</details>\n"


def contrary_block(study: Study) -> str:
    """Return the claims that did not come out as printed."""
    lines = [
        f"- {study.words(claim.claim)} ({claim.source}). Here {_effect(claim)}: {study.words(_said(claim))}.\n"
        for claim in study.report.claims
        if claim.outcome == "not reproduced"
    ]
    return "".join(lines) or "None of the claims that could be decided.\n"


def rules_block(study: Study) -> str:
    """Return a row for each comparison that a study rule judged."""
    lines = [_rule_line(study, result) for result in study.report.results]
    heads = ["rule", "outcome", "harm (95 % interval)", "limit", "seeds", "in words"]
    return table(heads, lines)


def _rule_line(study: Study, result: RuleResult) -> list[str]:
    value = points(result.value) if result.value is not None else DASH
    if result.interval is not None:
        value += f" ({points(result.interval[0])} to {points(result.interval[1])})"
    outcome = f"**{result.outcome}**" + (f" ({result.severity})" if result.severity else "")
    words = result.message
    if result.reason is not None:
        words = f"{result.reason}: {words}" if words else result.reason
    selectivity = result.evidence.get("selectivity")
    if isinstance(selectivity, float):
        words += f"; selectivity per halving {100 * selectivity:+.1f} points"
    seeds = str(result.n) if result.n else DASH
    return [f"{result.rule} {result.name}", outcome, value, percent(result.limit), seeds, study.words(words)]


def rows_block(study: Study) -> str:
    """Return the table of all rows, those that were not run too."""
    report = study.report
    budgets = {run.name: run.decay_budget for run in report.runs}
    shown = runs_table(report)
    heads = [header.replace("\n", " ") for header in shown.headers]
    lines = [
        [f"`{study.words(line[0])}`", *line[1:], _budget(budgets.get(row.id)), row.settings]
        for line, row in zip(shown.rows, report.rows, strict=True)
    ]
    return table([*heads, "decay budget", "settings"], lines)


def _budget(value: float | None) -> str:
    return DASH if value is None else number(round(value, 1))


def missing_block(study: Study) -> str:
    """Return the runs that are not there, row by row."""
    seeds: dict[str, list[str]] = {}
    for run in study.report.missing:
        seeds.setdefault(run.name, []).append(str(run.seed))
    if not seeds:
        return "All runs of this study are there.\n"
    listed = "; ".join(f"`{study.words(name)}` seed {', '.join(those)}" for name, those in seeds.items())
    return f"Not run, {plural(len(study.report.missing), 'run')}: {listed}.\n"


def full_size_block() -> str:
    """Return the paper's own tables, none of which is trained here."""
    tables = [name for name in shipped_ids("study") if name not in FOLDERS]
    return table(["study", "rows", "outcome"], [[f"`{name}`", str(_rows(name)), "not run"] for name in tables])


def _rows(name: str) -> int:
    return len(rows(load_study(name)))


def blocks() -> dict[str, str]:
    """Return the content of every marked block by its mark."""
    found = studies()
    parts: dict[str, Callable[[Study], str]] = {
        "claims": claims_block,
        "contrary": contrary_block,
        "details": details_block,
        "rules": rules_block,
        "rows": rows_block,
        "missing": missing_block,
    }
    content = {"runs": runs_block(found), "full-size": full_size_block()}
    content |= {f"{name}: {part}": make(study) for name, study in found.items() for part, make in parts.items()}
    return content


def pattern(mark: str) -> re.Pattern[str]:
    """Return the pattern of a marked block; its group 2 is the block's content."""
    return re.compile(rf"(<!-- {re.escape(mark)} -->\n)(.*?)(<!-- /{re.escape(mark)} -->)", re.DOTALL)


def main() -> None:
    """Rewrite docs/reproduction.md."""
    text = DOCUMENT.read_text("utf-8")
    for mark, content in blocks().items():
        text, times = pattern(mark).subn(lambda match, content=content: match[1] + content + match[3], text)
        if times != 1:
            raise SystemExit(f"{DOCUMENT.name}: the mark {mark!r} stands there {times} times, not once")
    DOCUMENT.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
