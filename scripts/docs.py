"""Write the pages of docs/ that have a source: rules from their TOML, commands from --help, the API from docstrings.

python scripts/docs.py            writes docs/rules/, docs/cli.md, docs/api.md
python scripts/docs.py --check    exits with 1 where one of them is not current
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

from docs_api import api_page
from docs_text import cell, prose

from sparsity_audit.cli.main import app, exit_code
from sparsity_audit.engine.rulepacks import load_rules, shipped_packs
from sparsity_audit.measures.lookup import measure_for
from sparsity_audit.measures.registry import Measure
from sparsity_audit.reporters.rule_words import limit_words
from sparsity_audit.resources import packaged
from sparsity_audit.schema.reading import read_toml
from sparsity_audit.schema.rule import Limit, Rule

DOCS = Path(__file__).resolve().parents[1] / "docs"
FAMILIES = {
    "SA1": "Dead filters",
    "SA2": "Selectivity",
    "SA3": "Training regimes",
    "SA4": "Pruning",
    "SA9": "Quality of the audit",
}
UNITS = {
    "fraction": "a share, 0–1, shown in percent",
    "count": "a count",
    "ratio": "a ratio",
}
SCOPES = {
    "layer": "on each layer",
    "model": "on the whole model",
    "study": "on several trainings together",
}
TOLD = "told only"


def pages() -> dict[Path, str]:
    """Return every generated page by its path."""
    packs = {pack: load_rules([pack]) for pack in ("default", *shipped_packs())}
    made = {DOCS / "rules" / f"{rule.id}.md": _rule_page(rule, packs) for rule in packs["default"]}
    made[DOCS / "rules" / "index.md"] = _rule_index(packs["default"])
    made[DOCS / "rules" / "packs.md"] = _packs_page(packs)
    made[DOCS / "cli.md"] = _commands_page()
    made[DOCS / "api.md"] = api_page()
    return made


def _rule_index(rules: list[Rule]) -> str:
    lines = [
        "# Rules",
        "",
        f"The {len(rules)} rules that ship, with the limits of the pack `default`. A value outside a limit breaks the "
        "rule, as a warning or as an error. Rules without a limit tell their value and never fail. "
        "`sparsity-audit rules explain ID` prints what these pages say. Ids are never reused.",
        "",
        "[Packs](packs.md) sets the limits of all shipped packs side by side; [Writing rules](../writing-rules.md) "
        "says how to make your own.",
    ]
    for family, title in FAMILIES.items():
        lines += ["", f"## {title}", "", "| id | name | looks at | warning | error |", "|---|---|---|---|---|"]
        for rule in (rule for rule in rules if rule.id.startswith(family)):
            limits = f"{limit_words(rule.warning) or _nothing(rule)} | {limit_words(rule.error)}"
            lines.append(f"| [{rule.id}]({rule.id}.md) | {rule.name} | {rule.scope} | {limits} |")
    return "\n".join(lines) + "\n"


def _nothing(rule: Rule) -> str:
    return TOLD if rule.warning is None and rule.error is None else ""


def _packs_page(packs: dict[str, list[Rule]]) -> str:
    lines = ["# Packs", "", "A pack is a file of rules. `--rules PACK` chooses one; without it, `default` applies.", ""]
    lines += ["| pack | rules | what for |", "|---|---|---|"]
    for pack, rules in packs.items():
        summary = read_toml(packaged("rules").joinpath(f"{pack}.toml"), "rules")["summary"]
        lines.append(f"| `{pack}` | {len(rules)} | {cell(summary)} |")
    lines += [
        "",
        "Several may be named (`--rules strict --rules my_rules.toml`); of two rules with one id the later counts. "
        "Your own pack can take a shipped one as its base and change limits: [Writing rules](../writing-rules.md).",
        "",
        "## Limits side by side",
        "",
        "A warning's limit, then an error's. A dash: the rule is not in the pack. *Told only*: the value is printed, "
        "and cannot fail.",
        "",
        f"| rule | {' | '.join(packs)} |",
        "|---" * (len(packs) + 1) + "|",
    ]
    for rule in packs["default"]:
        cells = [_in_pack(rule.id, rules) for rules in packs.values()]
        lines.append(f"| [{rule.id}]({rule.id}.md) {rule.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _in_pack(rule_id: str, rules: list[Rule]) -> str:
    rule = next((rule for rule in rules if rule.id == rule_id), None)
    if rule is None:
        return "–"
    return "; ".join(filter(None, map(limit_words, (rule.warning, rule.error)))) or TOLD


def _rule_page(rule: Rule, packs: dict[str, list[Rule]]) -> str:
    measure = measure_for(rule)
    lines = [f"# {rule.id}: {rule.name}", "", f"{prose(rule.summary)}.", "", *_measured(rule, measure)]
    if rule.why:
        lines += ["", "## Why it matters", "", prose(rule.why)]
    lines += ["", "## Limits", "", *_limits(rule, packs)]
    lines += ["", "## How it is configured", "", *_example(rule)]
    if rule.remedies:
        lines += ["", "## What to do", "", *(f"- {prose(remedy)}" for remedy in rule.remedies)]
        if rule.id.startswith(("SA1", "SA4")):
            lines += ["", "[Pruning](../pruning.md) takes the filters out and checks the result."]
        if rule.scope != "study" and not rule.told_only:
            lines += ["", "What you accept for a time, [waive](../ci.md#waivers) with a reason."]
    if rule.source:
        lines += ["", "## Source", "", f"{prose(rule.source)}. [The method](../method.md) has the definitions."]
    return "\n".join(lines) + "\n"


def _measured(rule: Rule, measure: Measure) -> list[str]:
    doc = " ".join((measure.function.__doc__ or "").split("\n\n")[0].split())
    more = [" ".join(part.split()) for part in (measure.function.__doc__ or "").split("\n\n")[1:]]
    lines = ["## What it measures", "", prose(doc), *(line for part in more if part for line in ("", prose(part)))]
    lines += ["", f"It is measured {SCOPES[rule.scope]} by `{rule.measure}`; the value is {UNITS[measure.unit]}."]
    if rule.scope == "study":
        lines += ["", f"It needs {prose(measure.needs)}."]
        lines += [f"For a single model there are {prose(measure.instead)}."] if measure.instead else []
    if known := measure.parameters():
        lines += ["", "| argument | in this rule | by default |", "|---|---|---|"]
        for name, parameter in known.items():
            given = f"`{_value(rule.args[name])}`" if name in rule.args else ""
            default = "–" if parameter.default in (None, parameter.empty) else f"`{_value(parameter.default)}`"
            lines.append(f"| `{name}` | {given} | {default} |")
    return lines


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _limits(rule: Rule, packs: dict[str, list[Rule]]) -> list[str]:
    lines = ["| pack | warning | error |", "|---|---|---|"]
    for pack, rules in packs.items():
        for found in (found for found in rules if found.id == rule.id):
            warning, error = limit_words(found.warning), limit_words(found.error)
            lines.append(f"| `{pack}` | {warning or _nothing(found)} | {error} |")
    left_out = [f"`{pack}`" for pack, rules in packs.items() if rule.id not in [found.id for found in rules]]
    if left_out:
        lines += ["", f"Not in {' and '.join(left_out)}. [All packs](packs.md)."]
    if rule.told_only:
        lines += ["", "The rule has no limit of its own: its value is told, and fails nothing until you set one."]
    return lines


def _example(rule: Rule) -> list[str]:
    shipped = packaged("rules").joinpath("default.toml").read_text("utf-8")
    start = shipped.index(f'[[rule]]\nid = "{rule.id}"')
    definition = shipped[start : shipped.index("\n", shipped.index("\nsummary = ", start) + 1)]
    changed, words = _changed(rule)
    return [
        "As it ships:",
        "",
        "```toml",
        definition,
        "```",
        "",
        words,
        "",
        "```toml",
        "[limits]",
        f"{rule.id} = {changed}",
        "```",
        "",
        "The same table stands in `sparsity-audit.toml`, in an audit file or in a pack of your own; under "
        f'`[tool.sparsity-audit.limits]` in `pyproject.toml`. `ignore = ["{rule.id}"]` leaves the rule out.',
    ]


def _changed(rule: Rule) -> tuple[str, str]:
    """Return other limits for a rule, and what they do."""
    limit = rule.error or rule.warning
    if limit is None:
        return "{ warning = { max = 0.5 } }", "With a limit, so that it can fail:"
    if limit.max == 0:
        return f"{{ error = false, warning = {_limit(limit)} }}", "Told as a warning that fails nothing by default:"
    name = "error" if rule.error is not None else "warning"
    if rule.error is None:
        return f"{{ error = {_limit(limit)} }}", f"The {name}'s limit as an error, so that it fails the session:"
    stricter = Limit(
        max=None if limit.max is None else limit.max / 2, min=None if limit.min is None else limit.min * 10
    )
    dropped = "warning = false, " if rule.warning is not None else ""
    return f"{{ {dropped}error = {_limit(stricter)} }}", "Stricter, and without the warning:"


def _limit(limit: Limit) -> str:
    sides = [(side, bound) for side, bound in (("min", limit.min), ("max", limit.max)) if bound is not None]
    return f"{{ {', '.join(f'{side} = {bound:g}' for side, bound in sides)} }}"


def _commands_page() -> str:
    lines = ["# Commands", "", "What `--help` prints, command by command. Exit codes are in "]
    lines[-1] += "[Reading a report](reading-a-report.md#exit-codes)."
    for name in ["", *_command_names()]:
        lines += ["", f"## {name or 'sparsity-audit'}", "", "```text", help_of(name.split()), "```"]
    return "\n".join(lines) + "\n"


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
