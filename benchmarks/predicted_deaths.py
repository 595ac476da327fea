"""How well SA312's stepping predicts which filters die, from snapshots of the middle of runs that were trained on.

    python benchmarks/predicted_deaths.py RUNS_DIR [--leave-out NAME_GLOB ...] [--batches 200]

Every finished run below RUNS_DIR with snapshots: gradients are measured at each snapshot, γ is stepped to the end of
the run's schedule, and the filters named are those with |γ| ≥ 1e-3 at the snapshot and below it at the end of the
stepping. They are held against the run's own last model. Beside them stands the naive predictor, which names as many
filters of smallest |γ|. Snapshots in a lull of the loss, where SA312 declines to tell, are listed and not counted.
``--leave-out`` drops runs that the method was designed on. Intervals are 95 %, from 2,000 bootstrap samples of runs,
since filters of one run are not independent.
"""

from __future__ import annotations

import argparse
import fnmatch
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tabulate import tabulate

from sparsity_audit.checkpoints.safetensors_io import read_safetensors
from sparsity_audit.data.corpus import Corpus
from sparsity_audit.graph.feature_graph import FeatureLayer, build_graph
from sparsity_audit.models.registry import build_network
from sparsity_audit.schema.record import TrainingRecord
from sparsity_audit.schema.spec import OptimizerSpec, ZooSpec
from sparsity_audit.specs.budget import steps_per_epoch
from sparsity_audit.stats.deaths import Regime, lull, predict_scales
from sparsity_audit.stats.gradients import measure_gradients
from sparsity_audit.thresholds import GAMMA_THRESHOLD
from sparsity_audit.training.corpora import normaliser, training_corpora

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """One snapshot of one run."""

    run: str
    step: int
    regime: str
    died: int
    named: int
    hits: int
    naive_hits: int


def spec_of(run: Path) -> ZooSpec | None:
    """Return the spec of a finished run that kept its snapshots and its weights."""
    if not (run / "model.safetensors").is_file():
        return None
    record = TrainingRecord.model_validate_json((run / "record.json").read_text())
    regularised = record.spec.regularizer.kind != "none"
    return record.spec if record.status == "finished" and record.snapshots and regularised else None


def trials(run: Path, spec: ZooSpec, corpus: Corpus, batches: int) -> Iterator[Trial]:
    """Yield the outcome of each snapshot of one run."""
    model = build_network(spec.network, corpus.shape[0], len(corpus.class_names))
    layers: list[FeatureLayer] = []
    final = tensors_of(run / "model.safetensors")
    for step in spec.observe.snapshots:
        state = tensors_of(run / "snapshots" / f"step-{step}.safetensors")
        weights = {name.removeprefix("model/"): value for name, value in state.items() if name.startswith("model/")}
        model.load_state_dict(weights)
        layers = layers or list(build_graph(model.eval(), corpus.shape).layers)
        measured = measure_gradients(
            model, layers, corpus, normaliser(corpus, "cpu"), batch_size=spec.batch_size, batches=batches
        )
        paths = [str(layer.gamma) for layer in layers]
        before = joined([weights[path] for path in paths])
        gradients = np.concatenate([measured.gamma[layer.key] for layer in layers], axis=1)
        memory = {
            key: joined([state[f"optimizer/{path}/{key}"] for path in paths])
            for key in {name.rpartition("/")[2] for name in state if name.startswith(f"optimizer/{paths[0]}/")}
            - {"step"}
        }
        regime, scales = future(spec, step, len(corpus))
        if (small := lull(before, gradients, regime)) is not None:
            print(f"{run.name} step {step}: declined, median deviation {small:.2g} of λ|γ|")
            continue
        after = predict_scales(before, gradients, regime, scales, memory=memory, steps_done=step)
        ended = np.abs(joined([final[path] for path in paths])) < GAMMA_THRESHOLD
        yield outcome(run.name, step, spec, np.abs(before), after < GAMMA_THRESHOLD, ended)


def future(spec: ZooSpec, step: int, images: int) -> tuple[Regime, list[float]]:
    """Return the run's own regime on γ, and lr_t / lr_0 of its steps to come."""
    settings = spec.optimizer.model_dump()
    settings["lr"] *= spec.lr_multipliers.gamma
    kind = "none" if spec.regularizer.on == "weights" else spec.regularizer.kind
    regime = Regime(OptimizerSpec.model_validate(settings), kind, spec.regularizer.strength)
    per_epoch = steps_per_epoch(images, spec.batch_size)
    return regime, [spec.schedule.scale(t, per_epoch) for t in range(step, spec.schedule.iterations(per_epoch))]


def outcome(run: str, step: int, spec: ZooSpec, before: Floats, named: Bools, ended: Bools) -> Trial:
    """Count the hits among the filters that are alive at the snapshot."""
    alive = before >= GAMMA_THRESHOLD
    named, died = named & alive, ended & alive
    smallest = np.argsort(np.where(alive, before, np.inf))[: named.sum()]
    regime = f"{spec.optimizer.name} {spec.regularizer.kind}"
    return Trial(
        run, step, regime, int(died.sum()), int(named.sum()), int((named & died).sum()), int(died[smallest].sum())
    )


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    """Return a file's tensors."""
    return {name: tensor.torch() for name, tensor in read_safetensors(path)[0].items()}


def joined(parts: list[torch.Tensor]) -> Floats:
    """Return the filters of all layers, one after the other."""
    return torch.cat(parts).double().numpy()


def pooled(found: list[Trial]) -> list[str]:
    """Return precision and recall over all filters of some trials, the naive ones, and the differences."""
    by_run: dict[str, list[Trial]] = defaultdict(list)
    for trial in found:
        by_run[trial.run].append(trial)
    counts = np.array(
        [
            [sum(getattr(t, key) for t in run) for key in ("hits", "naive_hits", "named", "died")]
            for run in by_run.values()
        ],
        dtype=float,
    )
    drawn = np.random.default_rng(0).integers(len(counts), size=(2000, len(counts)))
    rows = np.concatenate([counts.sum(axis=0)[None], counts[drawn].sum(axis=1)])
    hits, naive, named, died = rows.T
    with np.errstate(invalid="ignore", divide="ignore"):
        told = [hits / named, naive / named, (hits - naive) / named, hits / died, naive / died]
    return [interval(values) for values in told]


def interval(values: Floats) -> str:
    """Return the first value with the 95 % interval of the others."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return f"{values[0]:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Print every trial, then precision and recall by regime and pooled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--leave-out", nargs="*", default=[])
    parser.add_argument("--batches", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpora: dict[str, Corpus] = {}
    found: list[Trial] = []
    for record in sorted(options.runs.glob("*/record.json")):
        run, spec = record.parent, spec_of(record.parent)
        if spec is None or any(fnmatch.fnmatch(run.name, glob) for glob in options.leave_out):
            continue
        if spec.data.name not in corpora:
            corpora[spec.data.name] = training_corpora(spec.data, None)[0]
        found += trials(run, spec, corpora[spec.data.name], options.batches)
    print(tabulate([vars(trial) for trial in found], headers="keys"))
    regimes: dict[str, list[Trial]] = defaultdict(list)
    for trial in found:
        regimes[trial.regime].append(trial)
    rows = [[name, len({t.run for t in group}), *pooled(group)] for name, group in sorted(regimes.items())]
    rows.append(["all", len({t.run for t in found}), *pooled(found)])
    print()
    headers = ["regime", "runs", "precision", "naive", "difference", "recall", "naive"]
    print(tabulate(rows, headers=headers))


if __name__ == "__main__":
    main()
