"""Parts of a session, put together as they are printed one after another; and the whole of a finished one."""

from __future__ import annotations

from sparsity_audit.reporters import study_terminal, terminal
from sparsity_audit.reporters.summary import error_words
from sparsity_audit.reporters.text import printable
from sparsity_audit.schema.report import AuditReport, ModelReport, StudyReport


def model_text(model: ModelReport, *, verbosity: int, width: int) -> str:
    """Return one model's facts, marks, ledger, recommendation and failures; below verbosity 0 failures alone."""
    told = terminal.failures(model, verbosity=verbosity, width=width)
    if verbosity < 0:
        return f"{printable(model.path)}\n{told}" if told else ""
    parts = [
        terminal.model_head(model),
        terminal.rule_lines(model, verbosity=verbosity, width=width),
        terminal.ledger(model, width=width),
        terminal.recommendation(model, verbosity=verbosity, width=width),
        told,
    ]
    return "\n\n".join(part for part in parts if part)


def study_text(study: StudyReport, *, verbosity: int, width: int) -> str:
    """Return what was found of several runs together; below verbosity 0 failures alone."""
    told = terminal.failures(study, verbosity=verbosity, width=width)
    if verbosity < 0:
        return told
    beside = study_terminal.beside_paper(study, width=width)
    if not study.results and not study.claims:  # a table of the paper
        parts = [study_terminal.study_head(study), beside or "no run of this table's regimes is there"]
    else:
        parts = [
            study_terminal.study_head(study),
            study_terminal.study_table(study, width=width),
            beside,
            terminal.rule_lines(study, verbosity=verbosity, width=width),
            told,
            study_terminal.claims(study, verbosity=verbosity, width=width),
        ]
    return "\n\n".join(part for part in parts if part)


def session_text(report: AuditReport, *, colour: bool, verbosity: int = 0, width: int = 80) -> str:
    """Return a finished session as ``run`` would have printed it."""
    parts = []
    if verbosity >= 0:
        parts.append(terminal.session_head(report.tool, report.config_file, colour=colour, width=width))
    parts += [printable(error_words(error)) for error in report.errors]
    parts += [model_text(model, verbosity=verbosity, width=width) for model in report.models]
    parts += [study_text(study, verbosity=verbosity, width=width) for study in report.studies]
    told = "\n\n".join(part for part in parts if part)
    end = terminal.session_end(report, colour=colour, verbosity=verbosity, width=width)
    return f"{told}\n{end}" if told else end
