"""``run`` of several models with records, or of a study: the study rules apply to all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparsity_audit.checkpoints.folder import RUN_RECORD
from sparsity_audit.engine.session import exit_code_of
from sparsity_audit.schema.report import AuditReport, StudyReport
from sparsity_audit.schema.rule import Rule
from sparsity_audit.schema.study_report import RunFacts

TOGETHER = "models of this session"
RUNS = Path("runs")
"""Where ``study run`` leaves a study's runs."""


def names_study(model: str) -> bool:
    """Tell a study from a spec and from weights: a TOML file that has a base."""
    if Path(model).suffix.lower() != ".toml":
        return False
    from sparsity_audit.specs import study

    return study.names_study(model)


def compares(models: Sequence[str]) -> bool:
    """Tell whether a session has runs to compare: a study, or several run folders."""
    records = sum((Path(model) / RUN_RECORD).is_file() for model in models)
    return records > 1 or any(names_study(model) for model in models)


def with_studies(report: AuditReport, models: Sequence[str], rules: Sequence[Rule]) -> AuditReport:
    """Return the report with what the study rules say of the session's runs, and the exit code that follows.

    A study's runs are looked for in ``runs``; nothing is trained for it.

    Raises:
        SparsityAuditError: a study that cannot be read.
    """
    from sparsity_audit.specs.study import load_study
    from sparsity_audit.studies.gather import Gathered, gather
    from sparsity_audit.studies.report import study_report

    studies: list[StudyReport] = []
    for model in models:
        if names_study(model):
            study = load_study(model)
            studies.append(study_report(study.id, study.spec.title, study.spec.source, gather(study, RUNS), rules, ()))
    runs = _facts(report)
    if len(runs) > 1:
        studies.append(study_report(TOGETHER, "The runs given", None, Gathered(runs, []), rules, ()))
    complete = report.model_copy(update={"studies": studies, "rules": list(rules)})
    return complete.model_copy(update={"exit_code": int(exit_code_of(complete, complete.config))})


def _facts(report: AuditReport) -> list[RunFacts]:
    """Return the facts of the audited models that have a record, this session's audit in them."""
    from sparsity_audit.studies.facts import run_facts
    from sparsity_audit.training.run_folder import RunFolder

    found = []
    for model in report.models:
        record = RunFolder(Path(model.path)).read_record() if Path(model.path).is_dir() else None
        if record is not None and record.status == "finished":
            found.append(run_facts(Path(model.path), record, audit=model))
    return found
