"""``prune --pareto`` and ``prune --compare``: many slim models of one, and the methods of others beside ours."""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sparsity_audit.cli.console import say
from sparsity_audit.cli.prune_session import Call, Ready, Wanted, _files_of, _ready
from sparsity_audit.cli.run_printer import Printer
from sparsity_audit.engine.configuration import load_configuration
from sparsity_audit.engine.corpora import check_normalisation
from sparsity_audit.engine.session import check_device, tool_info
from sparsity_audit.errors import ExitCode, UsageError
from sparsity_audit.outputs import check_distinct, check_writable, write_atomically
from sparsity_audit.reporters import slim_tables, terminal
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.slim_tables import ComparisonReport, ParetoReport, TuningSettings

if TYPE_CHECKING:
    from sparsity_audit.schema.prune_report import PruneReport
    from sparsity_audit.schema.slim_tables import ParetoPoint
    from sparsity_audit.slimming.slim import Slim

MOST_POINTS = 100


class Tuning(NamedTuple):
    """What is done to each network after its verification, as the command line gives it."""

    bn_reestimate: int | None = None
    finetune: int | None = None
    finetune_lr: float | None = None


def run_pareto(call: Call, wanted: Wanted, folder: str, *, points: int = 8, tuning: Tuning | None = None) -> int:
    """Do what ``prune --pareto`` does and return its exit code; the folder appears whole or not at all."""
    tuning = tuning or Tuning()
    _check(call, wanted, "--pareto", tuning)
    if not 2 <= points <= MOST_POINTS:
        raise UsageError(f"--points {points}: should be from 2 to {MOST_POINTS}")
    _check_folder(Path(folder))

    def work(ready: Ready, printer: Printer) -> tuple[ParetoReport, list[str]]:
        from sparsity_audit.slimming.pareto import ParetoOptions, family

        options = ParetoOptions(
            points=points,
            objective=wanted.objective,
            gamma_threshold=wanted.gamma_threshold,
            min_width=wanted.min_width,
            round_to=wanted.round_to,
            scatter=wanted.scatter,
            latency=wanted.latency,
            tuning=_settings(tuning, ready),
        )
        if call.dry_run:
            report = family(*ready, options, lambda _point, _slim, _report: None, printer.progress)
            return report, ["nothing was written (--dry-run)"]
        with _appearing(Path(folder)) as place:
            report = family(*ready, options, _writer(place, ready), printer.progress)
            _write_family(place, report)
        return report, [f"slim models, table and picture: {folder}"]

    return _execute(call, "--pareto", work, slim_tables.pareto_terminal, slim_tables.pareto_markdown)


def run_compare(call: Call, wanted: Wanted, *, share: float | None = None, tuning: Tuning | None = None) -> int:
    """Do what ``prune --compare`` does and return its exit code."""
    tuning = tuning or Tuning()
    _check(call, wanted, "--compare", tuning)
    if share is not None and not 0 < share < 1:
        raise UsageError(f"--share {share:g}: should be between 0 and 1: a share of all filters")

    def work(ready: Ready, printer: Printer) -> tuple[ComparisonReport, list[str]]:
        from sparsity_audit.slimming.comparators import CompareOptions, compare

        options = CompareOptions(
            pruning_class=wanted.pruning_class,
            share=share,
            objective=wanted.objective,
            gamma_threshold=wanted.gamma_threshold,
            min_width=wanted.min_width,
            round_to=wanted.round_to,
            scatter=wanted.scatter,
            latency=wanted.latency,
            tuning=_settings(tuning, ready),
        )
        return compare(*ready, options, printer.progress), []

    return _execute(call, "--compare", work, slim_tables.comparison_terminal, slim_tables.comparison_markdown)


def _check(call: Call, wanted: Wanted, option: str, tuning: Tuning) -> None:
    """Refuse options that have no meaning here, or values that cannot be."""
    alone = {"-o": call.output, "--plan": call.plan, "--max-error-increase": wanted.max_error_increase}
    for name, value in alone.items():
        if value is not None:
            raise UsageError(f"{name}: is for one slim model: leave it out with {option}")
    if not 0 < wanted.gamma_threshold < math.inf:
        raise UsageError(f"--threshold {wanted.gamma_threshold:g}: should be above 0 and finite")
    for name, number in (("--bn-reestimate", tuning.bn_reestimate), ("--finetune", tuning.finetune)):
        if number is not None and number < 1:
            raise UsageError(f"{name} {number}: should be at least 1")
    if tuning.bn_reestimate == 1:
        raise UsageError("--bn-reestimate 1: batch norm cannot normalise a single image: give more")
    if tuning.finetune_lr is not None and tuning.finetune is None:
        raise UsageError("--finetune-lr: is the rate of --finetune: give both")
    if tuning.finetune_lr is not None and not 0 < tuning.finetune_lr < math.inf:
        raise UsageError(f"--finetune-lr {tuning.finetune_lr:g}: should be above 0 and finite")


def _settings(tuning: Tuning, ready: Ready) -> TuningSettings | None:
    """Return the tuning in full; flips as the model's own spec has them, else as the paper: all but digits."""
    if tuning.finetune is None and tuning.bn_reestimate is None:
        return None
    metadata, corpus = ready.subject.metadata, ready.corpora.statistics
    spec = None if metadata is None else metadata.spec
    flip = spec.data.flip if spec is not None else corpus is not None and corpus.name != "digits"
    settings = TuningSettings(
        steps=tuning.finetune or 0,
        bn_images=tuning.bn_reestimate or 0,
        batch_size=max(ready.config.batch_size, 2),
        seed=ready.config.seed,
        flip=flip,
    )
    return settings if tuning.finetune_lr is None else settings.model_copy(update={"lr": tuning.finetune_lr})


def _execute(
    call: Call,
    option: str,
    work: Callable[[Ready, Printer], tuple[ParetoReport, list[str]]]
    | Callable[[Ready, Printer], tuple[ComparisonReport, list[str]]],
    told: Callable[..., str],
    markdown: Callable[..., str],
) -> int:
    """Check, read, work, write and print, in this order."""
    config, config_file = load_configuration(call.keys)
    _check_outputs(call, config, option, config_file)
    printer = Printer(-1 if call.quiet else 0)
    if not call.quiet:
        import torch  # noqa: F401  # so that the header can name its version

        say(terminal.session_head(tool_info(config.device), config_file, colour=printer.colour, width=printer.width))
    with printer:
        report, said = work(_ready(call, config, printer), printer)
    for name, path, text in (
        ("JSON report", call.json, f"{report.to_json()}\n"),
        ("Markdown", call.markdown, markdown(report)),
    ):
        if path is not None:
            write_atomically(path, text)
            said.append(f"{name}: {path}")
    if not call.quiet:
        say(f"\n{told(report, width=printer.width)}\n")
    say(slim_tables.end(report, said, width=printer.width))
    return ExitCode.PASSED


def _check_outputs(call: Call, config: AuditConfig, option: str, config_file: str | None) -> None:
    if config.data is None:
        raise UsageError(f"{option}: compares errors, and these are measured on labelled images: give --data")
    outputs = {name: path for name, path in (("--json", call.json), ("--markdown", call.markdown)) if path is not None}
    for name, path in outputs.items():
        check_writable(path, name)
    check_distinct(outputs, [*_files_of(Path(call.model)), *([config_file] if config_file else [])])
    check_normalisation(config)
    check_device(config.device)


def _check_folder(folder: Path) -> None:
    """Find out before the work whether a family can be written there."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--pareto {folder}: is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"--pareto {folder}: is not empty; name a new folder")
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"--pareto {folder}: there is no folder {parent}; create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"--pareto {folder}: cannot be written: Permission denied")


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Give a folder beside the wanted one, which takes its place at the end, or is gone where something failed."""
    place = folder.absolute().with_name(f".{folder.absolute().name}.{secrets.token_hex(4)}.tmp")
    try:
        place.mkdir()
        yield place
        if folder.is_dir():
            folder.rmdir()
        place.replace(folder)
    except OSError as failure:
        raise UsageError(f"--pareto {folder}: cannot be written: {failure.strerror}") from None
    finally:  # Ctrl-C too leaves nothing behind
        shutil.rmtree(place, ignore_errors=True)


def _writer(place: Path, ready: Ready) -> Callable[[ParetoPoint, Slim, PruneReport], None]:
    from sparsity_audit.slimming.slim_file import write_slim

    corpus = ready.corpora.statistics
    names = None if corpus is None else list(corpus.class_names)

    def write(point: ParetoPoint, slim: Slim, report: PruneReport) -> None:
        write_slim(place / f"{point.name}.safetensors", slim, report, ready.subject, names)

    return write


def _write_family(place: Path, report: ParetoReport) -> None:
    from sparsity_audit.plots.pareto import pareto_figure
    from sparsity_audit.plots.write import write_figure

    write_atomically(str(place / "pareto.json"), f"{report.to_json()}\n")
    write_atomically(str(place / "pareto.md"), slim_tables.pareto_markdown(report))
    if report.points:
        figure = pareto_figure(report)
        for suffix in (".png", ".svg"):
            write_figure(figure, place / f"pareto{suffix}")
