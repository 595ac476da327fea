"""What ``prune`` and ``apply-plan`` share: what they read, print and write."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.checkpoints.folder import CONFIG, INDEX_SUFFIX, WEIGHTS
from sparsity_audit.cli.console import say
from sparsity_audit.cli.plan_file import plan_in
from sparsity_audit.cli.run_printer import Printer
from sparsity_audit.engine.configuration import load_configuration
from sparsity_audit.engine.corpora import Corpora, check_normalisation
from sparsity_audit.engine.session import check_device, tool_info
from sparsity_audit.engine.subject import Subject, prepare, with_graph
from sparsity_audit.errors import ExitCode, UsageError
from sparsity_audit.outputs import check_distinct, check_writable, write_atomically
from sparsity_audit.reporters import prune_terminal, terminal
from sparsity_audit.reporters.prune_markdown import prune_markdown
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.plan import PruningClass
from sparsity_audit.schema.prune_report import PruneReport
from sparsity_audit.schema.reading import read_json

if TYPE_CHECKING:
    from sparsity_audit.slimming.session import Pruned

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Call:
    """One call of ``prune`` or ``apply-plan``, but for what should go."""

    model: str
    output: str | None
    dry_run: bool
    plan: str | None
    json: str | None
    markdown: str | None
    keys: dict[str, Any]
    """Of the configuration, as the command line gives them."""
    trust_code: bool
    quiet: bool


class Wanted(NamedTuple):
    """What should go: the fields of ``PruneOptions``, which stand in a module that imports torch."""

    pruning_class: PruningClass
    gamma_threshold: float
    min_width: int
    round_to: int
    max_error_increase: float | None
    scatter: Literal["measured", "always", "never"]
    latency: bool
    objective: Literal["params", "macs", "latency"] | None


class Ready(NamedTuple):
    """A model and its images."""

    subject: Subject
    config: AuditConfig
    corpora: Corpora


def prune_model(call: Call, wanted: Wanted) -> int:
    """Do what ``prune`` does and return its exit code."""
    _check_wanted(wanted)

    def work(ready: Ready, printer: Printer) -> Pruned:
        from sparsity_audit.slimming.session import PruneOptions, prune

        return prune(*ready, PruneOptions(**wanted._asdict()), printer.progress)

    def check(config: AuditConfig) -> None:
        if config.data is None and wanted.pruning_class == "silent":
            raise UsageError("--class silent: whether filters are silent is judged on images: give --data")
        if config.data is None and wanted.max_error_increase is not None:
            raise UsageError("--max-error-increase: the error is measured on labelled images: give --data")

    return _execute(call, [], check, work)


def apply_to_model(call: Call, plan: str, *, latency: bool) -> int:
    """Do what ``apply-plan`` does and return its exit code."""
    # The plan is looked at before images are read and a graph is captured.
    chosen = plan_in(read_json(Path(plan), "plan"), plan, read_checkpoint(Path(call.model)).sha256)

    def work(ready: Ready, printer: Printer) -> Pruned:
        from sparsity_audit.slimming.session import apply_plan

        return apply_plan(*ready, chosen, latency=latency, progress=printer.progress)

    return _execute(call, [plan], lambda _config: None, work)


def _check_wanted(wanted: Wanted) -> None:
    limit = wanted.max_error_increase
    if not 0 < wanted.gamma_threshold < math.inf:
        raise UsageError(f"--threshold {wanted.gamma_threshold:g}: should be above 0 and finite")
    if limit is not None and not 0 <= limit <= 1:
        raise UsageError(f"--max-error-increase {limit:g}: should be from 0 to 1; 0.01 is one point")
    if wanted.objective is not None and limit is None:
        raise UsageError("--objective: orders what goes under --max-error-increase: give both")


def _execute(
    call: Call,
    inputs: list[str],
    check: Callable[[AuditConfig], None],
    work: Callable[[Ready, Printer], Pruned],
) -> int:
    """Check, read, work, write and print, in this order; nothing is written before all of it is made."""
    config, config_file = load_configuration(call.keys)
    _check_outputs(call, [*inputs, *([config_file] if config_file else [])])
    check(config)
    check_normalisation(config)
    check_device(config.device)
    printer = Printer(-1 if call.quiet else 0)
    if not call.quiet:
        import torch  # noqa: F401  # so that the header can name its version

        say(terminal.session_head(tool_info(config.device), config_file, colour=printer.colour, width=printer.width))
    with printer:
        ready = _ready(call, config, printer)
        pruned = work(ready, printer)
    report, said = _write(call, pruned)
    if not call.quiet:
        say(f"\n{prune_terminal.body(report, width=printer.width)}\n")
    say(prune_terminal.end(report, said, width=printer.width))
    return ExitCode.PASSED


def _check_outputs(call: Call, inputs: list[str]) -> None:
    """Find out before the work whether its results can be written, and over nothing that is read."""
    if call.output is None and not call.dry_run:
        raise UsageError("give -o FILE.safetensors for the slim model, or --dry-run to see only what would go")
    if call.output is not None and Path(call.output).suffix.lower() != SUFFIX:
        raise UsageError(
            f"-o {call.output}: slim models are safetensors files: name it {Path(call.output).stem}{SUFFIX}"
        )
    asked = {"-o": call.output, "--plan": call.plan, "--json": call.json, "--markdown": call.markdown}
    outputs = {option: path for option, path in asked.items() if path is not None}
    for option, path in outputs.items():
        check_writable(path, option)
    check_distinct(outputs, [*_files_of(Path(call.model)), *inputs])


def _files_of(model: Path) -> list[str]:
    """Return the files that a model may be read from: of a folder, or an index of shards, more than what was named."""
    inside = [model / name for name in (*WEIGHTS, CONFIG)] if model.is_dir() else []
    folder = model.parent if model.name.endswith(INDEX_SUFFIX) else model
    shards = folder.glob(f"*-of-*{SUFFIX}") if folder.is_dir() else ()
    return [str(path) for path in (model, *inside, *shards)]


def _ready(call: Call, config: AuditConfig, printer: Printer) -> Ready:
    corpora = Corpora(config, progress=printer.progress)
    corpora.load()
    subject = prepare(call.model, config, corpora.statistics, trust_code=call.trust_code)
    if subject.known is None:  # without data a look at the weights is enough for ``run``, but not here
        from sparsity_audit.models.load import load_model

        known = with_graph(load_model(subject.checkpoint, trust_code=call.trust_code), None, config)
        subject = replace(subject, weights=None, known=known)
    return Ready(subject, config, corpora)


def _write(call: Call, pruned: Pruned) -> tuple[PruneReport, list[str]]:
    """Write what was asked for, the model first; return the report as it was written, and a line on each file.

    Raises:
        CheckpointError, UsageError: a file cannot be written after all; each is whole, or as it was.
    """
    output = None if call.dry_run or pruned.slim is None else call.output
    report = pruned.report.model_copy(update={"output": output})
    texts = [("plan", call.plan, f"{report.plan.to_json()}\n"), ("JSON report", call.json, f"{report.to_json()}\n")]
    if call.markdown is not None:
        texts.append(("Markdown", call.markdown, prune_markdown(report)))
    if output is not None:
        pruned.save(output)
    said = [_model_line(call, output)]
    for name, path, text in texts:
        if path is not None:
            _write_text(path, text, output)
            said.append(f"{name}: {path}")
    return report, said


def _model_line(call: Call, output: str | None) -> str:
    if output is not None:
        return f"slim model: {output}"
    if call.output is None:
        return "no model was written (--dry-run): -o FILE.safetensors writes it"
    return f"{call.output} was not written: {'--dry-run' if call.dry_run else 'there is nothing to remove'}"


def _write_text(path: str, text: str, written: str | None) -> None:
    try:
        write_atomically(path, text)
    except UsageError as failure:
        raise UsageError(f"{failure}; {written} is written" if written is not None else str(failure)) from None
