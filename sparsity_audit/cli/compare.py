"""``sparsity-audit compare``: runs become tables, verdicts and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sparsity_audit.schema.config import AuditConfig
    from sparsity_audit.schema.rule import Rule

Names = list[str] | None
_TARGET = "A folder of runs, or a study (a TOML file, or the id of a shipped one) whose runs lie in --runs."
_OUTPUT = "Folder for the report (JSON, Markdown) and the pictures (PNG, SVG)."
_PAPER = "Table of the paper to set beside, as in table1; repeatable."


def compare(
    targets: Annotated[list[str], typer.Argument(metavar="RUNS_DIR|STUDY", help=_TARGET, show_default=False)],
    runs: Annotated[str, typer.Option(help="Folder of the runs of studies.", metavar="DIR")] = "runs",
    manifest: Annotated[
        Names, typer.Option(help="Models trained elsewhere join: a TOML file; repeatable.", metavar="FILE")
    ] = None,
    paper: Annotated[Names, typer.Option(help=_PAPER, metavar="TABLE")] = None,
    claims: Annotated[
        str | None, typer.Option(help="TOML file of claims; the paper's by default.", metavar="FILE")
    ] = None,
    rules: Annotated[Names, typer.Option(help="Rule pack or TOML file; repeatable.", metavar="PACK|FILE")] = None,
    select: Annotated[Names, typer.Option(help="Only these rules; by commas.", metavar="IDS")] = None,
    ignore: Annotated[Names, typer.Option(help="Not these rules.", metavar="IDS")] = None,
    fail_on: Annotated[
        str | None, typer.Option(help="Severity that fails the session; default error.", metavar="error|warning")
    ] = None,
    json: Annotated[str | None, typer.Option(help="Write the report as JSON.", metavar="FILE")] = None,
    markdown: Annotated[str | None, typer.Option(help="Write the report as Markdown.", metavar="FILE")] = None,
    html: Annotated[str | None, typer.Option(help="Write the report as one page.", metavar="FILE")] = None,
    junit_xml: Annotated[str | None, typer.Option(help="Write JUnit XML.", metavar="FILE")] = None,
    sarif: Annotated[str | None, typer.Option(help="Write SARIF 2.1.0.", metavar="FILE")] = None,
    output: Annotated[str | None, typer.Option("-o", "--output", help=_OUTPUT, metavar="DIR")] = None,
    quiet: Annotated[int, typer.Option("-q", "--quiet", count=True, help="Failures only.", metavar="")] = 0,
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, help="Every result.", metavar="")] = 0,
    exit_zero: Annotated[bool | None, typer.Option("--exit-zero", help="Failed rules do not fail the session.")] = None,
) -> int:
    """Compare runs: the study rules (SA301-SA305), the paper's claims, tables over seeds, pictures.

    Exit codes are those of run: 0 passed, 1 a rule failed, 3 a rule crashed, 4 usage or unreadable input, 5 no
    finished run, or nothing to compare.
    """
    from pathlib import Path

    from sparsity_audit.cli.compare_output import check_folder, write
    from sparsity_audit.cli.console import show
    from sparsity_audit.cli.values import split_ids
    from sparsity_audit.engine.configuration import load_configuration
    from sparsity_audit.outputs import check_outputs
    from sparsity_audit.studies.claims import load_claims
    from sparsity_audit.studies.compare import Comparison
    from sparsity_audit.studies.compare import compare as compared

    overrides = {
        "rules": rules or None,
        "select": split_ids(select, "--select"),
        "ignore": split_ids(ignore, "--ignore"),
        "fail_on": fail_on,
        "json": json,
        "markdown": markdown,
        "html": html,
        "junit_xml": junit_xml,
        "sarif": sarif,
        "exit_zero": exit_zero,
    }
    config, config_file = load_configuration(overrides)
    check_outputs(config.outputs)
    check_folder(output)
    comparison = Comparison(
        targets,
        Path(runs),
        [Path(path) for path in manifest or []],
        paper or [],
        load_claims(Path(claims) if claims else None),
    )
    report = compared(comparison, config, _study_rules(config, config_file), config_file)
    show(report, verbose - quiet)
    write(report, output)
    return report.exit_code


def _study_rules(config: AuditConfig, config_file: str | None) -> list[Rule]:
    from sparsity_audit.engine.rulepacks import apply_limits, choose, load_rules
    from sparsity_audit.errors import UsageError

    limited = apply_limits(load_rules(config.rules), config.limits, config_file or "limits")
    rules = [rule for rule in choose(limited, config.select, config.ignore) if rule.scope == "study"]
    if not rules:
        raise UsageError("none of the chosen rules compares runs; SA301 to SA305 of the pack 'default' do")
    return rules
