"""``sparsity-audit selftest``: whether this installation finds what was planted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sparsity_audit.selftest.run import SelfCheck


def selftest() -> None:
    """Plant dead, constant, small, silent and healthy filters in several networks and check what the rules find.

    Exits with 1 where a rule misses a planted filter or finds one that was not planted.
    """
    from sparsity_audit.errors import ExitCode
    from sparsity_audit.selftest.run import run_selftest

    checks = run_selftest()
    typer.echo(selftest_table(checks))
    failed = [check for check in checks if check.outcome == "failed"]
    for check in failed:
        typer.echo(f"{check.network} {check.rule}: missed {_few(check.missed)}; invented {_few(check.invented)}")
    typer.echo(f"\n{len(checks) - len(failed)} of {len(checks)} checks passed")
    if failed:
        raise typer.Exit(int(ExitCode.FAILED))


def selftest_table(checks: list[SelfCheck]) -> str:
    """Return a table with a row for each network and a column for each rule: planted filters found / planted."""
    from tabulate import tabulate

    rules = list(dict.fromkeys(check.rule for check in checks))
    rows = []
    for network in dict.fromkeys(check.network for check in checks):
        own = {check.rule: check for check in checks if check.network == network}
        invented = sum(len(check.invented) for check in own.values())
        outcome = "passed" if all(check.outcome == "passed" for check in own.values()) else "failed"
        rows.append([network, *(_share(own[rule]) for rule in rules), invented, outcome])
    return tabulate(rows, ["network", *rules, "invented", "outcome"], tablefmt="simple", disable_numparse=True)


def _share(check: SelfCheck) -> str:
    return f"{len(check.planted & check.found)}/{len(check.planted)}"


def _few(filters: list[tuple[str, int]]) -> str:
    shown = ", ".join(f"{path}[{index}]" for path, index in filters[:5])
    return f"{shown} and {len(filters) - 5} more" if len(filters) > 5 else shown or "none"
