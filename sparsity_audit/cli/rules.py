"""``sparsity-audit rules``: list them, explain one, check a file of one's own."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sparsity_audit.schema.rule import Rule

app = typer.Typer(help="List, explain and validate rules.", no_args_is_help=True)

_PACKS = typer.Option("--rules", help="Rule pack or TOML file; repeatable.", metavar="PACK|FILE")


@app.command("list")
def list_rules(packs: Annotated[list[str] | None, _PACKS] = None) -> None:
    """List the rules of a pack with their limits."""
    from tabulate import tabulate

    from sparsity_audit.engine.rulepacks import load_rules, shipped_packs
    from sparsity_audit.reporters.rule_words import limit_words

    rules = load_rules(packs or ["default"])
    rows = [[rule.id, rule.name, rule.scope, limit_words(rule.warning), limit_words(rule.error)] for rule in rules]
    typer.echo(tabulate(rows, ["id", "name", "scope", "warning", "error"], tablefmt="simple"))
    typer.echo(f"\npacks: {', '.join(shipped_packs())}")


@app.command()
def explain(
    rule_id: Annotated[str, typer.Argument(metavar="ID", help="Id or name of a rule.")],
    packs: Annotated[list[str] | None, _PACKS] = None,
) -> None:
    """Explain a rule: what it measures, why it matters, what to do."""
    from sparsity_audit.engine.rulepacks import load_rules
    from sparsity_audit.errors import UsageError, did_you_mean

    rules = load_rules(packs or ["default"])
    for rule in rules:
        if rule_id.lower() in (rule.id.lower(), rule.name):
            typer.echo(_explained(rule))
            return
    raise UsageError(f"no rule {rule_id!r}{did_you_mean(rule_id, [rule.id for rule in rules])}")


@app.command()
def validate(file: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file of rules.")]) -> None:
    """Check a file of rules: schema, measures, arguments, limits."""
    from sparsity_audit.engine.rulepacks import load_pack_file

    rules = load_pack_file(file)
    typer.echo(f"{file}: {len(rules)} rule{'' if len(rules) == 1 else 's'}: {', '.join(rule.id for rule in rules)}")


def _explained(rule: Rule) -> str:
    from sparsity_audit.measures.lookup import measure_for
    from sparsity_audit.reporters.rule_words import limits_words

    arguments = ", ".join(f"{name} = {value}" for name, value in rule.args.items())
    measured = f"{rule.measure}{f' ({arguments})' if arguments else ''}"
    lines = [
        f"{rule.id} {rule.name} (version {rule.version}, scope {rule.scope})",
        "",
        _wrapped(f"{rule.summary.rstrip('.')}."),
        "",
        _wrapped(f"Measure: {measured}: {measure_for(rule).summary}", "  "),
        f"Limits: {limits_words(rule)}.",
    ]
    if rule.scope == "layer" and rule.layers != "*":
        lines.append(f"Layers: {rule.layers}")
    if rule.why:
        lines += ["", "Why it matters:", _wrapped(f"  {rule.why.strip()}", "  ")]
    if rule.remedies:
        lines += ["", "What to do:", *(_wrapped(f"  - {remedy}", "    ") for remedy in rule.remedies)]
    if rule.source:
        lines += ["", _wrapped(f"Source: {rule.source}", "  ")]
    return "\n".join(lines)


def _wrapped(text: str, indent: str = "") -> str:
    columns = min(shutil.get_terminal_size((100, 24)).columns, 120)
    return textwrap.fill(text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
