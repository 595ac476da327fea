"""Write the pages of docs/ that have a source: rules from their TOML, commands from --help, the API from docstrings.

python scripts/docs.py            writes docs/rules/, docs/cli.md, docs/api.md
python scripts/docs.py --check    exits with 1 where one of them is not current
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import re
import sys
from pathlib import Path

import sparsity_audit
from sparsity_audit.cli.main import app, exit_code
from sparsity_audit.engine.rulepacks import load_rules, shipped_packs
from sparsity_audit.measures.lookup import measure_for
from sparsity_audit.reporters.rule_words import limit_words, limits_words
from sparsity_audit.resources import packaged
from sparsity_audit.schema.reading import read_toml
from sparsity_audit.schema.rule import Rule

DOCS = Path(__file__).resolve().parents[1] / "docs"
FAMILIES = {
    "SA1": "Dead filters",
    "SA2": "Selectivity",
    "SA3": "Training regimes",
    "SA4": "Pruning",
    "SA9": "Quality of the audit",
}
TOLD = "told, never fails"


def pages() -> dict[Path, str]:
    """Return every generated page by its path."""
    rules = load_rules(["default"])
    made = {DOCS / "rules" / f"{rule.id}.md": _rule_page(rule) for rule in rules}
    made[DOCS / "rules" / "index.md"] = _rule_index(rules)
    made[DOCS / "cli.md"] = _commands_page()
    made[DOCS / "api.md"] = _api_page()
    return made


def _escaped(text: str) -> str:
    return re.sub(r"([*_<>|\\`])", r"\\\1", " ".join(text.split()))


def _rule_index(rules: list[Rule]) -> str:
    lines = ["# Rules", "", "`sparsity-audit rules explain ID` prints what these pages say. Ids are never reused.", ""]
    for family, title in FAMILIES.items():
        lines += [f"## {title}", "", "| id | name | scope | warning | error |", "|---|---|---|---|---|"]
        for rule in (rule for rule in rules if rule.id.startswith(family)):
            warning, error = limit_words(rule.warning), limit_words(rule.error)
            told = f"{warning} | {error}" if warning or error else f"{TOLD} | "
            lines.append(f"| [{rule.id}]({rule.id}.md) | {rule.name} | {rule.scope} | {told} |")
        lines.append("")
    lines += ["## Packs", "", "| pack | rules | |", "|---|---|---|"]
    for pack in shipped_packs():
        summary = read_toml(packaged("rules").joinpath(f"{pack}.toml"), "rules")["summary"]
        lines.append(f"| `{pack}` | {len(load_rules([pack]))} | {_escaped(summary)} |")
    lines += ["", "`--rules PACK` chooses one; [Writing rules](../writing-rules.md) says how to make your own.", ""]
    return "\n".join(lines)


def _rule_page(rule: Rule) -> str:
    measure = measure_for(rule)
    arguments = ", ".join(f"{name} = {value}" for name, value in rule.args.items())
    given = f", with {arguments}" if arguments else ""
    lines = [
        f"# {rule.id}: {rule.name}",
        "",
        f"{_escaped(rule.summary)}.",
        "",
        "| scope | measure | limits | version |",
        "|---|---|---|---|",
        f"| {rule.scope} | `{rule.measure}`{_escaped(given)} | {_limits(rule)} | {rule.version} |",
        "",
        "## What it measures",
        "",
        f"{_escaped(measure.summary)}",
    ]
    if rule.scope == "study":
        lines += ["", f"It needs {_escaped(measure.needs)}."]
        lines += [f"For a single model: {_escaped(measure.instead)}."] if measure.instead else []
    if rule.why:
        lines += ["", "## Why it matters", "", _escaped(rule.why)]
    if rule.remedies:
        lines += ["", "## What to do", "", *(f"- {_escaped(remedy)}" for remedy in rule.remedies)]
    lines += ["", "## Other limits", "", "In the configuration, or in a pack of your own:", "", *_example(rule)]
    if rule.source:
        lines += ["", "## Source", "", f"{_escaped(rule.source)}"]
    return "\n".join(lines) + "\n"


def _limits(rule: Rule) -> str:
    words = limits_words(rule)
    return TOLD if words == "none" else words


def _example(rule: Rule) -> list[str]:
    limit = rule.error or rule.warning
    side, bound = ("max", 0.5) if limit is None else ("max", limit.max) if limit.max is not None else ("min", limit.min)
    severity = "error" if rule.error is not None or rule.warning is None else "warning"
    return ["```toml", "[limits]", f"{rule.id} = {{ {severity} = {{ {side} = {bound:g} }} }}", "```"]


def _commands_page() -> str:
    lines = ["# Commands", "", "What each command's `--help` prints.", ""]
    for name in _command_names():
        lines += [f"## {name}", "", "```text", help_of(name.split()), "```", ""]
    return "\n".join(lines)


def _command_names() -> list[str]:
    names = [str(command.name) for command in app.registered_commands]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        commands = group.typer_instance.registered_commands
        names += [f"{group.name} {command.name or command.callback.__name__}" for command in commands]  # type: ignore[union-attr]
    return names


def help_of(command: list[str]) -> str:
    """Return a command's help, 100 columns wide, without colours."""
    os.environ |= {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert exit_code([*command, "--help"]) == 0, command
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def _api_page() -> str:
    lines = [
        "# Python API",
        "",
        "`import sparsity_audit` costs nothing: each name is imported when it is first used.",
        "",
    ]
    for name in sparsity_audit.__all__:
        if not name.startswith("__"):
            lines += _described(f"sparsity_audit.{name}", getattr(sparsity_audit, name))
    report = importlib.import_module("sparsity_audit.schema.report").AuditReport
    lines += _described("sparsity_audit.schema.report.AuditReport", report)
    fixture = importlib.import_module("sparsity_audit.integrations.audit_model").audit_model
    lines += ["The pytest fixture `audit_model` is this function:", "", *_described("audit_model", fixture)]
    return "\n".join(lines).rstrip() + "\n"


def _described(name: str, found: object) -> list[str]:
    lines = [
        f"## {name}",
        "",
        *_signature(name.rpartition(".")[2], found),
        "```text",
        inspect.getdoc(found) or "",
        "```",
        "",
    ]
    if inspect.isclass(found):
        for key, member in vars(found).items():
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if inspect.isfunction(function) and not key.startswith("_"):
                lines += [f"### {name.rpartition('.')[2]}.{key}", "", *_signature(key, function)]
                lines += _text(function)
    return lines


def _text(found: object) -> list[str]:
    return ["```text", inspect.getdoc(found) or "", "```", ""]


def _signature(name: str, found: object) -> list[str]:
    if inspect.isclass(found) and "model_fields" in dir(found):
        return []  # a schema's fields are what `sparsity-audit schema` prints
    whole = inspect.signature(found)  # type: ignore[arg-type]
    kept = [parameter for key, parameter in whole.parameters.items() if key not in ("self", "cls")]
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", f"{name}{whole.replace(parameters=kept)}")
    if len(text) > 100:
        text = re.sub(r", (?=\*?\*?\w+: |\*, )", ",\n    ", text.replace("(", "(\n    ", 1))
    return ["```python", text, "```", ""]


def main() -> int:
    """Write the pages, or say which are not current."""
    made = pages()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text("utf-8") != text]
    left = [path for path in (DOCS / "rules").glob("*.md") if path not in made]
    if "--check" in sys.argv[1:]:
        for path in [*stale, *left]:
            print(f"{path.relative_to(DOCS.parent)}: not current; run python scripts/docs.py")
        return int(bool(stale or left))
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(made[path], "utf-8")
    for path in left:
        path.unlink()
    print(f"{len(stale)} of {len(made)} pages written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
