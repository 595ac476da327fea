"""The report of a comparison: facts, rows, results of the rules, outcomes of the claims."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from sparsity_audit.schema.claim import Claim
from sparsity_audit.schema.report import StudyReport
from sparsity_audit.schema.rule import Rule
from sparsity_audit.schema.spec import TrainingSettings
from sparsity_audit.schema.study import PrintedValues
from sparsity_audit.schema.study_report import RunFacts, StudyRowFacts
from sparsity_audit.specs.describe import regularizer_text, settings_line
from sparsity_audit.specs.slug import short_number
from sparsity_audit.studies.claims import hold_claims
from sparsity_audit.studies.gather import Gathered
from sparsity_audit.studies.judge import evaluate_study

COLUMNS = (
    "by_scale",
    "by_activation",
    "by_constant",
    "selectivity",
    "capacity_lost",
    "error",
    "pruned_error",
    "train_loss",
    "test_loss",
)
"""What a row has means of: names of ``RunFacts``."""


def study_report(
    name: str, title: str, source: str | None, gathered: Gathered, rules: Sequence[Rule], claims: Sequence[Claim]
) -> StudyReport:
    """Return the report of gathered runs.

    Args:
        source: the table of the paper that the study follows; None for others.
        rules: those of scope study are applied.
    """
    return StudyReport(
        name=name,
        title=title,
        source=source,
        runs=gathered.runs,
        missing=gathered.missing,
        rows=study_rows(gathered),
        results=evaluate_study(rules, gathered.runs),
        claims=hold_claims(claims, gathered.runs),
        notes=gathered.notes,
    )


def study_rows(gathered: Gathered) -> list[StudyRowFacts]:
    """Return a study's rows in its order, those that were not run too; then whatever else was gathered, by name."""
    planned = {run.row_id: run for run in gathered.planned}
    names = dict.fromkeys([*planned, *(run.name for run in gathered.runs)])
    rows = []
    for name in names:
        runs = [run for run in gathered.runs if run.name == name]
        spec = planned[name].spec if name in planned else runs[0].spec
        settings = settings_line(spec) if spec is not None else _elsewhere_line(runs[0].training)
        rows.append(_row(name, settings, runs, planned[name].printed if name in planned else None))
    return rows


def _row(name: str, settings: str, runs: Sequence[RunFacts], printed: PrintedValues | None) -> StudyRowFacts:
    known = {column: [value for run in runs if (value := getattr(run, column)) is not None] for column in COLUMNS}
    return StudyRowFacts(
        id=name,
        settings=settings,
        seeds=[run.seed for run in runs if run.seed is not None],
        means={column: statistics.fmean(values) if values else None for column, values in known.items()},
        deviations={column: statistics.stdev(values) if len(values) > 1 else None for column, values in known.items()},
        printed=printed,
    )


def _elsewhere_line(training: TrainingSettings | None) -> str:
    """Return what is known of a training without a spec."""
    parts = []
    if training is not None and training.optimizer is not None:
        parts.append(f"{training.optimizer.name} {short_number(training.optimizer.lr)}")
    if training is not None and training.regularizer is not None:
        parts.append(regularizer_text(training.regularizer))
    if training is not None and training.batch_size is not None:
        parts.append(f"batch {training.batch_size}")
    return ", ".join(parts) or "nothing known of its training"
