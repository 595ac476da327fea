"""``sparsity-audit zoo``: the trainings that are shipped, and each of them as a spec to be saved and trained again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sparsity_audit.schema.spec import ZooSpec
    from sparsity_audit.schema.study import PrintedValues
    from sparsity_audit.specs.catalogue import Entry
    from sparsity_audit.specs.load import NamedSpec
    from sparsity_audit.specs.study import LoadedStudy

app = typer.Typer(help="List and show the specs and studies that can be trained.", no_args_is_help=True)

_COLUMNS = ("by_activation", "by_scale", "error", "top5_error", "pruned_error")
_HEADERS = ("activation %", "scale %", "error %", "top-5 error %", "error pruned %")


@app.command("list")
def list_zoo(
    words: Annotated[
        str | None, typer.Argument(metavar="[FILTER]", help="Only what has this in its id or settings.")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option("--study", help="One study, with reference rows and conflicts.", metavar="ID|FILE"),
    ] = None,
) -> None:
    """List the shipped specs, and the rows of the studies with what the paper printed of them."""
    from sparsity_audit.errors import UsageError
    from sparsity_audit.specs.catalogue import catalogue, row_entries
    from sparsity_audit.specs.study import load_study

    chosen = load_study(study) if study else None
    every = row_entries(chosen) if chosen else catalogue()
    entries = [entry for entry in every if _matches(entry, words)]
    if not entries:
        raise UsageError(f"nothing in the list has {words!r} in its id or settings; zoo list shows all")
    typer.echo(_study_text(chosen, entries) if chosen else _list_text(entries))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID|FILE", help="A spec, a row of a study, or a study.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Change a value first; repeatable.", metavar="KEY=VALUE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Print a spec with every default filled in, as TOML that can be trained; or a study with its rows."""
    from sparsity_audit.errors import UsageError
    from sparsity_audit.specs.catalogue import row_entries
    from sparsity_audit.specs.load import load_spec
    from sparsity_audit.specs.study import load_study, names_study
    from sparsity_audit.specs.toml_text import spec_toml

    if names_study(name):
        if sets:
            raise UsageError(f"--set changes a spec, and {name} is a study; name one of its rows")
        study = load_study(name)
        typer.echo(study.spec.to_json() if as_json else _study_text(study, row_entries(study)))
        return
    named = load_spec(name, sets or ())
    if as_json:
        typer.echo(named.spec.to_json())
        return
    typer.echo(
        "".join(f"# {_one_line(line)}\n" for line in _remarks(named, sets or ())) + spec_toml(named.spec), nl=False
    )


def _matches(entry: Entry, words: str | None) -> bool:
    return words is None or words.lower() in f"{entry.id}\n{entry.summary}".lower()


def _list_text(entries: Sequence[Entry]) -> str:
    """Return the specs, then each study with its rows."""
    from sparsity_audit.specs.study import load_study

    specs = [entry for entry in entries if entry.study is None]
    parts = [f"specs\n\n{_table(specs)}"] if specs else []
    for name in dict.fromkeys(entry.study for entry in entries if entry.study is not None):
        rows = [entry for entry in entries if entry.study == name]
        parts.append(f"{_heading(load_study(name))}\n\n{_table(rows)}")
    return "\n\n".join(parts)


def _heading(study: LoadedStudy) -> str:
    source = f" ({study.spec.source})" if study.spec.source else ""
    return _one_line(f"{study.id}: {study.spec.title}{source}")


def _table(entries: Sequence[Entry]) -> str:
    return _tabulated([([entry.id, entry.summary], entry.printed) for entry in entries], ["id", "settings"])


def _tabulated(lines: Sequence[tuple[list[str], PrintedValues | None]], headers: list[str]) -> str:
    """Return a table of texts, followed by those printed numbers that at least one line has."""
    from tabulate import tabulate

    from sparsity_audit.specs.describe import percent

    numbers = [["" if printed is None else percent(getattr(printed, key)) for key in _COLUMNS] for _, printed in lines]
    kept = [index for index in range(len(_COLUMNS)) if any(row[index] for row in numbers)]
    body = [
        [*map(_one_line, texts), *(row[index] for index in kept)]
        for (texts, _), row in zip(lines, numbers, strict=True)
    ]
    alignment = ["left"] * len(headers) + ["right"] * len(kept)
    names = [*headers, *(_HEADERS[index] for index in kept)]
    return tabulate(body, names, tablefmt="simple", colalign=alignment, disable_numparse=True)


def _study_text(study: LoadedStudy, entries: Sequence[Entry]) -> str:
    """Return all that a study holds: rows, notes, what others printed, where the paper contradicts itself."""
    spec = study.spec
    seeds = ", ".join(map(str, spec.seeds))
    parts = [_heading(study), f"base {_one_line(spec.base)}, seeds {seeds}", _table(entries)]
    shown = {entry.id for entry in entries}
    noted = [(row.id, row.note) for row in spec.row if row.id in shown] + [(row.id, row.note) for row in spec.reference]
    notes = [f"  {name}: {_one_line(note)}" for name, note in noted if note]
    if notes:
        parts.append("\n".join(["notes", *notes]))
    if spec.reference:
        lines = [([row.id, row.source], row.printed) for row in spec.reference]
        parts.append(f"reference rows: nothing to train\n\n{_tabulated(lines, ['id', 'source'])}")
    for conflict in spec.conflict:
        found = [f"  found: {_one_line(each)}" for each in conflict.found]
        heading = f"conflict: {_one_line(conflict.what)}"
        parts.append("\n".join([heading, *found, f"  chosen: {_one_line(conflict.chosen)}"]))
    return "\n\n".join(parts)


def _remarks(named: NamedSpec, sets: Sequence[str]) -> list[str]:
    """Return what stands above a spec: where it is from, what was printed, what its training can do."""
    from sparsity_audit.specs.describe import printed_line
    from sparsity_audit.specs.study import load_study

    lines = [named.origin]
    if named.study is not None:
        lines.append(f"study {_heading(load_study(named.study))}")
    printed = printed_line(named.printed) if named.printed else ""
    if printed:
        lines.append(f"printed{' without --set' if sets else ''}: {printed}")
    if named.note:
        lines.append(f"note: {named.note}")
    lines += [f"--set {text}" for text in sets]
    return [*lines, f"digest: {named.spec.digest()}", *_reach(named.spec)]


def _reach(spec: ZooSpec) -> list[str]:
    """Return how long the training is and how far it can move a parameter, where its steps are known beforehand."""
    from sparsity_audit.specs.budget import decay_budget, known_steps_per_epoch, rate_sum

    # Counted in iterations, a schedule does not ask how long an epoch is.
    per_epoch = 1 if spec.schedule.unit == "iterations" else known_steps_per_epoch(spec)
    if per_epoch is None:
        return []
    budget = decay_budget(spec, per_epoch)
    told = "none" if budget is None else f"{budget:.4g} e-folds (from γ = 1, inactive by scale takes 6.9)"
    return [
        f"steps: {spec.schedule.iterations(per_epoch)}, learning rates sum to {rate_sum(spec, per_epoch):.4g}",
        f"decay budget: {told}",
    ]


def _one_line(text: str) -> str:
    from sparsity_audit.reporters.text import printable

    return printable(" ".join(text.split()))
