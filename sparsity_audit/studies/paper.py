"""The paper's tables beside runs of one's own: the same regime, never the same experiment."""

from __future__ import annotations

from collections.abc import Sequence

from sparsity_audit.schema.report import StudyReport
from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.schema.study_report import MissingRun, RunFacts
from sparsity_audit.specs.describe import settings_line
from sparsity_audit.specs.study import LoadedStudy, StudyRun, expand
from sparsity_audit.studies.gather import Gathered
from sparsity_audit.studies.report import study_rows

Regime = tuple[object, ...]


def beside_table(table: LoadedStudy, runs: Sequence[RunFacts]) -> StudyReport:
    """Return the rows of a table of the paper with the runs that were trained under the same regime.

    The same are data set, family of the network, nonlinearity, initial values, optimizer with its settings,
    regulariser with its strength, multipliers and batch size. Free are the network's widths, the length of the
    training and the seed: how far these lie apart stands in the notes.
    """
    planned = {run.row_id: run for run in expand(table)}
    matched: list[RunFacts] = []
    missing: list[MissingRun] = []
    for row in planned.values():
        wanted = regime(row.spec)
        found = [run for run in runs if run.spec is not None and regime(run.spec) == wanted]
        matched += [run.model_copy(update={"name": row.row_id}) for run in found]
        if not found:
            missing.append(MissingRun(name=row.row_id, seed=row.seed, digest=row.spec.digest(), reason="not run"))
    gathered = Gathered(matched, missing, planned=list(planned.values()))
    return StudyReport(
        name=table.id,
        title=table.spec.title,
        source=table.spec.source,
        runs=matched,
        missing=missing,
        rows=study_rows(gathered),
        results=[],
        claims=[],
        notes=_scales(planned, matched),
    )


def regime(spec: ZooSpec) -> Regime:
    """Return what two trainings of the same regime have in common; λ = 0 is no regulariser, whatever its kind."""
    pull = spec.regularizer
    none = pull.kind == "none" or not pull.strength
    return (
        spec.data.name,
        spec.network.name,
        spec.network.activation,
        spec.network.negative_slope if spec.network.activation == "leaky_relu" else None,
        spec.init,
        spec.optimizer.model_dump_json(),
        None if none else pull,
        spec.lr_multipliers,
        spec.batch_size,
    )


def _scales(planned: dict[str, StudyRun], matched: Sequence[RunFacts]) -> list[str]:
    """Return how far the experiments lie apart, each pair of scales once."""
    told: dict[tuple[str, str], None] = {}
    for run in matched:
        assert run.spec is not None
        printed = planned[run.name].spec
        told[_size(run.spec), _size(printed)] = None
    return [f"not the same experiment: ours {ours}; the paper's {theirs}" for ours, theirs in told]


def _size(spec: ZooSpec) -> str:
    network = settings_line(spec).split(", ")[0]
    return f"{network} for {spec.schedule.total:,} {spec.schedule.unit}"
