"""What ``run`` does once its options are read."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparsity_audit.cli.run_printer import Printer
from sparsity_audit.cli.run_specs import with_trained_models
from sparsity_audit.engine.configuration import load_configuration
from sparsity_audit.engine.evaluate import items
from sparsity_audit.engine.keywords import keyword_filter
from sparsity_audit.engine.rulepacks import apply_limits, choose, load_rules
from sparsity_audit.engine.session import Session
from sparsity_audit.engine.subject import Subject
from sparsity_audit.errors import ExitCode, UsageError
from sparsity_audit.outputs import check_outputs, check_writable, worth_writing, write_atomically, write_report
from sparsity_audit.ratchet.ratchet import Ratchet, load_ratchet
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import AuditReport
from sparsity_audit.schema.rule import Rule
from sparsity_audit.studies.together import compares, names_study, with_studies


@dataclass(frozen=True)
class Request:
    """One call of ``run``: what the configuration knows, and what only the command line can say."""

    overrides: dict[str, Any]
    config: str | None
    """The configuration's file; the nearest where left out."""
    trust_code: bool
    weights_only: bool
    keyword: str | None
    exit_first: bool
    verbosity: int
    collect_only: bool
    update_baseline: bool


def execute(request: Request) -> int:
    """Run the session and return its exit code."""
    config, config_file = _configuration(request)
    known = apply_limits(load_rules(config.rules), config.limits, config_file or "limits")
    rules = choose(known, config.select, config.ignore)
    if not config.models:
        raise UsageError("no MODEL: name a weight file, or models = [...] in the configuration")
    inputs = [*config.models, *config.rules, *(path for path in (config_file, config.baseline) if path is not None)]
    check_outputs(config.outputs, inputs)
    ratchet = load_ratchet(config, known, config_file, _today(), update=request.update_baseline)
    if request.update_baseline:
        check_writable(str(config.baseline), "--baseline")
    config = with_trained_models(config, quiet=request.verbosity < 0, only_existing=request.collect_only)
    ratchet = replace(ratchet, config=config) if ratchet is not None else None
    printer = Printer(request.verbosity, github=config.format == "github")
    comparing = compares(config.models)
    session = Session(
        config,
        [rule for rule in rules if rule.scope != "study"] if comparing else rules,
        config_file=config_file,
        trust_code=request.trust_code,
        keep=keyword_filter(request.keyword) if request.keyword else None,
        stop_at=config.fail_on if request.exit_first else None,
        judge=ratchet.stand if ratchet is not None else None,
        listener=printer,
    )
    if request.collect_only:
        return _list_items(session, config.models)
    with printer:
        printer.head(config, config_file)
        report = session.run([model for model in config.models if not names_study(model)])
        if comparing:
            report = with_studies(report, config.models, rules)
        if ratchet is not None:
            studies = [ratchet.stand(study) for study in report.studies]
            report = ratchet.conclude(report.model_copy(update={"studies": studies}))
        printer.compared(report)
        if ratchet is not None and request.update_baseline:
            report = _updated(report, ratchet)
        write_report(report, worth_writing(report))
        printer.end(report)
    printer.annotate(report)
    return report.exit_code


def _configuration(request: Request) -> tuple[AuditConfig, str | None]:
    named = [key for key in ("data", "arch") if request.overrides.get(key) is not None]
    if request.weights_only and named:
        raise UsageError(f"--weights-only and --{named[0]} don't go together: leave one of them out")
    config, file = load_configuration(request.overrides, file=Path(request.config) if request.config else None)
    return (config.model_copy(update={"data": None, "arch": None}) if request.weights_only else config), file


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _updated(report: AuditReport, ratchet: Ratchet) -> AuditReport:
    """Write the baseline anew where nothing fails, and say so in the report."""
    new, info = ratchet.updated(report), report.baseline
    if new is None or info is None:
        return report
    write_atomically(info.path, new.to_json() + "\n")
    return report.model_copy(update={"baseline": info.model_copy(update={"updated": True})})


def _list_items(session: Session, models: Sequence[str]) -> int:
    """Print every item that would be checked, one a line, as ``pytest --collect-only`` does."""
    count = 0
    for path in models:
        subject = session.prepare(path)
        for rule, key in _selected(session, subject):
            print(f"{path}::{rule.id}[{key}]" if key is not None else f"{path}::{rule.id}")
            count += 1
    print(f"\n{count} items collected")
    return ExitCode.PASSED if count else ExitCode.NOTHING_AUDITED


def _selected(session: Session, subject: Subject) -> list[tuple[Rule, str | None]]:
    collected = items(session.rules, subject.layer_keys)
    return [(rule, key) for rule, key in collected if session.keep is None or session.keep(rule, key)]
