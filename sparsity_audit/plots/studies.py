"""The pictures of a comparison, those that its runs have enough for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from matplotlib.figure import Figure

from sparsity_audit.errors import CheckpointError, UsageError
from sparsity_audit.plots.history import affine_figure
from sparsity_audit.plots.layerwise import layerwise_figure
from sparsity_audit.plots.tradeoff import tradeoff_figure
from sparsity_audit.plots.universality import universality_figure
from sparsity_audit.plots.write import write_figure
from sparsity_audit.schema.report import ModelReport, StudyReport
from sparsity_audit.schema.study_report import RunFacts
from sparsity_audit.studies.audited import read_audit
from sparsity_audit.studies.locate import AUDIT
from sparsity_audit.training.history import History
from sparsity_audit.training.run_folder import RunFolder

T = TypeVar("T")

MOST_ROWS = 8
"""Trainings in one picture of bars."""
MOST_COLUMNS = 4
"""Trainings side by side in one picture."""
LATE = -2
"""The layer whose history is drawn: the last but one, as in Figure 2."""


def write_study_figures(study: StudyReport, folder: Path) -> list[Path]:
    """Write the pictures of a comparison as PNG and SVG, and return their paths.

    Sparsity over error for all runs; the layers of the first trainings, the γ and β of a late layer and the
    universality of filters for one seed of the first few, in the study's order. A picture without anything to show
    is left out.

    Raises:
        UsageError: a file cannot be written.
    """
    written = []
    for name, draw in _pictures(study):
        try:
            figure = draw()
        except UsageError:  # nothing to draw
            continue
        for suffix in (".png", ".svg"):
            path = folder / f"{Path(study.name).stem}-{name}{suffix}"
            write_figure(figure, path)
            written.append(path)
    return written


def _pictures(study: StudyReport) -> Iterator[tuple[str, Callable[[], Figure]]]:
    runs = study.runs
    names = list(dict.fromkeys(run.name for run in runs))
    yield "tradeoff", lambda: tradeoff_figure(runs)
    yield "layers", lambda: layerwise_figure([run for run in runs if run.name in names[:MOST_ROWS]])
    histories = _first(study, _history)
    layers = [layer.key for layer in runs[0].layers] if runs else []
    if histories and len(layers) >= -LATE:
        yield "history", lambda: affine_figure(histories, layers[LATE])
    audits = _first(study, _audit)
    if audits:
        yield "universality", lambda: universality_figure(audits, layers[-4:])


def _first(study: StudyReport, read: Callable[[RunFacts], T | None]) -> dict[str, T]:
    """Return what the first run of each of the first few rows has."""
    found: dict[str, T] = {}
    for run in study.runs:
        if len(found) == MOST_COLUMNS:
            break
        if run.name not in found and (value := read(run)) is not None:
            found[run.name] = value
    return found


def _history(run: RunFacts) -> History | None:
    path = RunFolder(Path(run.path)).history
    try:
        return History.load(path) if path.exists() else None
    except CheckpointError:
        return None


def _audit(run: RunFacts) -> ModelReport | None:
    folder = Path(run.path)
    try:
        return read_audit(folder / AUDIT, RunFolder(folder).model)
    except CheckpointError:
        return None
