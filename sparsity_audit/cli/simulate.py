"""``sparsity-audit simulate``: how fast each optimizer and regulariser takes a scalar to 0 that sees low gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sparsity_audit.studies.simulate import Simulation

Texts = list[str] | None
_OPTIMIZERS = "sgd, adam, adadelta, adagrad, amsgrad, rmsprop, adamax; by commas or repeated; all by default."
_REGULARIZER = "l2 or wd; both by default."
_STRENGTH = "λ; by commas or repeated; 1e-4, 1e-3, 2e-3, 5e-3, 1e-2 by default."
_PLOT = "Draw the curves: a .png or .svg file."
_GLUE = "\0"
"""Keeps an optimizer, its regularizer and its steps on one line."""


def simulate(
    optimizers: Annotated[Texts, typer.Option(help=_OPTIMIZERS, metavar="NAMES")] = None,
    regularizer: Annotated[Texts, typer.Option(help=_REGULARIZER, metavar="l2|wd")] = None,
    strength: Annotated[Texts, typer.Option(help=_STRENGTH, metavar="LAMBDAS")] = None,
    steps: Annotated[int, typer.Option(help="Steps of each optimizer.", metavar="N", min=1)] = 5000,
    draws: Annotated[int, typer.Option(help="Scalars per curve, each with its own gradients.", metavar="N", min=1)] = (
        200
    ),
    seed: Annotated[int, typer.Option(help="Seed of the gradients.", metavar="N", min=0)] = 0,
    json: Annotated[str | None, typer.Option(help="Write the curves as JSON.", metavar="FILE")] = None,
    plot: Annotated[str | None, typer.Option(help=_PLOT, metavar="FILE")] = None,
) -> None:
    """Simulate scalars that the loss has nearly stopped to move, and show how fast the regulariser takes them to 0.

    The experiment of the paper's Figure 4: scalars start at 1, their gradients have std 1e-3 for 100 steps and 1e-5
    after them, the optimizers run at the paper's learning rates. Below 1e-3 a filter's scale counts as inactive.

    Exit codes: 0 done, 2 interrupted, 4 usage or a file that cannot be written.
    """
    from sparsity_audit.cli.values import split_values
    from sparsity_audit.outputs import write_atomically
    from sparsity_audit.studies.simulate import KINDS, OPTIMIZERS, STRENGTHS
    from sparsity_audit.studies.simulate import simulate as simulated

    _check_outputs(json, plot)
    names = split_values(optimizers, "--optimizers", "nothing given") or OPTIMIZERS
    kinds = split_values(regularizer, "--regularizer", "nothing given") or KINDS
    strengths = _numbers(split_values(strength, "--strength", "nothing given")) or STRENGTHS
    simulation = simulated(names, kinds, strengths, steps=steps, draws=draws, seed=seed)
    if json is not None:
        write_atomically(json, f"{simulation.to_json()}\n")
    if plot is not None:
        _draw(simulation, plot)
    typer.echo(_text(simulation))


def _check_outputs(json: str | None, plot: str | None) -> None:
    from pathlib import Path

    from sparsity_audit.outputs import check_distinct, check_writable

    outputs = {option: path for option, path in (("--json", json), ("--plot", plot)) if path is not None}
    for option, path in outputs.items():
        check_writable(path, option)
    check_distinct(outputs, ())
    if plot is not None:
        from sparsity_audit.plots.write import check_format

        check_format(Path(plot))


def _draw(simulation: Simulation, path: str) -> None:
    from pathlib import Path

    from sparsity_audit.plots.decay import decay_figure
    from sparsity_audit.plots.write import write_figure

    write_figure(decay_figure(simulation), Path(path))


def _numbers(texts: Texts) -> list[float] | None:
    try:
        return None if texts is None else [float(text) for text in texts]
    except ValueError:
        from sparsity_audit.errors import UsageError

        raise UsageError(f"--strength {','.join(texts or [])}: not numbers separated by commas") from None


def _text(simulation: Simulation) -> str:
    """Return the table, and the order of the curves for each λ."""
    from tabulate import tabulate

    from sparsity_audit.reporters.text import plural, points
    from sparsity_audit.specs.slug import short_number

    headers = ["optimizer", "lr", "regularizer", "λ", "steps to 0.5", "steps to 1e-3", "|θ| at the end", "below 1e-3 %"]
    rows = [
        [
            curve.optimizer,
            short_number(curve.lr),
            curve.kind,
            short_number(curve.strength),
            _steps(curve.to_half, simulation.steps),
            _steps(curve.to_threshold, simulation.steps),
            f"{curve.end:.2g}",
            points(curve.inactive),
        ]
        for curve in simulation.curves
    ]
    alignment = ("left", "right", "left", *["right"] * 5)
    table = tabulate(rows, headers, tablefmt="simple", colalign=alignment, disable_numparse=True)
    notes = [
        f"steps: until |θ| is first below, median of {plural(simulation.draws, 'draw')} (seed {simulation.seed})",
        f"at the end: after {plural(simulation.steps, 'step')}, the mean of |θ| and the share of draws below 1e-3",
    ]
    return "\n".join([table, "", *notes, "", *_orders(simulation)])


def _steps(steps: int | None, whole: int) -> str:
    return f"not in {whole}" if steps is None else str(steps)


def _orders(simulation: Simulation) -> list[str]:
    """Return a paragraph a λ: what comes below 1e-3, the fastest first."""
    import textwrap

    from sparsity_audit.specs.slug import short_number

    lines = []
    for strength in dict.fromkeys(curve.strength for curve in simulation.curves):
        arrived = [f"{curve.optimizer} {curve.kind} {curve.to_threshold}" for curve in simulation.order(strength)]
        order = ", ".join(text.replace(" ", _GLUE) for text in arrived) or "none"
        text = f"λ = {short_number(strength)}, fastest to 1e-3 first: {order}"
        lines += textwrap.wrap(text, 100, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return [line.replace(_GLUE, " ") for line in lines]
