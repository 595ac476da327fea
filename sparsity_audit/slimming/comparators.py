"""``prune --compare``: the paper's comparators on the same model and data (Sec. 4.2), cut by the same surgery.

Each method removes as many filters as ours, and so does each at a larger share. What the methods drop is held at a
value whose activation is 0; what is made of it is exact, and verified like every cut, so that the errors told are those
of the choice alone.
"""

from __future__ import annotations

import bisect
import datetime
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np

from sparsity_audit.engine.corpora import Corpora, Progress
from sparsity_audit.engine.subject import Subject
from sparsity_audit.errors import SparsityAuditError
from sparsity_audit.pruning.classify import activation_of
from sparsity_audit.pruning.holds import Holds
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.plan import PruningClass
from sparsity_audit.schema.slim_tables import (
    ComparatorRow,
    ComparedCut,
    ComparisonBlock,
    ComparisonReport,
    Leaves,
    TuningSettings,
)
from sparsity_audit.slimming.attempt import attempt
from sparsity_audit.slimming.importance import Floats, Scores, apoz, gamma, l1_norm, lowest, random, taylor
from sparsity_audit.slimming.order import Objective
from sparsity_audit.slimming.original import Original, look_at
from sparsity_audit.slimming.peer_importance import IMPORTANCES, TorchPruning, torch_pruning
from sparsity_audit.slimming.planning import CLASSES
from sparsity_audit.slimming.removal_order import Removal, holds_from, planned_size, removal_order
from sparsity_audit.slimming.scattering import Policy
from sparsity_audit.slimming.several import check_tuning, cut_options, facts, searching, tested_figures, timed, tuned
from sparsity_audit.stats.collect import Normaliser
from sparsity_audit.thresholds import GAMMA_THRESHOLD

SEEDS = (0, 1, 2)
"""Of the random choices."""
SHARE, MORE = 0.3, 0.1
"""Of all filters, what goes in the second block; that much more than in the first, where it is not more."""
_PEERS = {"magnitude": "Torch-Pruning L2", "bn_scale": "Torch-Pruning BN scale", "lamp": "Torch-Pruning LAMP"}
_SAVED = {"params": "params", "macs": "MACs", "latency": "latency"}

Choice = Callable[[int], Holds]
"""Gives the first so many filters of a method's own order, and what they are held at."""
Choices = list[tuple[int | None, Choice]]
"""One for each seed."""


@dataclass(frozen=True)
class CompareOptions:
    """What is compared."""

    pruning_class: PruningClass = "small"
    """Ours of the first block."""
    share: float | None = None
    """Of all filters, what goes in the second block; ``SHARE`` where left out."""
    objective: Objective | None = None
    """What ours beyond the dead filters are ordered by in a row of its own; macs where left out."""
    gamma_threshold: float = GAMMA_THRESHOLD
    min_width: int = 1
    round_to: int = 1
    scatter: Policy = "never"
    """``measured`` is taken for ``never`` here: the same number of filters is to go by every method."""
    latency: bool = True
    tuning: TuningSettings | None = None
    """Of each network, after its verification."""


class _Method(NamedTuple):
    name: str
    source: str
    leaves: Leaves
    choices: Callable[[], Choices]
    later: bool = False
    """It differs from ours only beyond the dead filters."""


def compare(
    subject: Subject,
    config: AuditConfig,
    corpora: Corpora,
    options: CompareOptions,
    progress: Progress | None = None,
) -> ComparisonReport:
    """Cut a model by each method, and put the slim networks beside one another. The model stays.

    Raises:
        UsageError: no architecture, or no labelled images.
    """
    return _Comparison(subject, config, corpora, options, progress).report()


class _Comparison:
    def __init__(
        self,
        subject: Subject,
        config: AuditConfig,
        corpora: Corpora,
        options: CompareOptions,
        progress: Progress | None,
    ) -> None:
        self.started, self.clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
        self.options = options
        self.original = look_at(subject, config, corpora, progress)
        self.before = tested_figures(self.original, "--compare")
        self.notes = list(self.original.report.notes)
        every = cut_options(self.original, options.min_width, options.round_to, "never")
        self.cut_options = searching(every, options.scatter)
        self.tuning = None if options.tuning is None or options.tuning.idle else options.tuning
        if self.tuning is not None:
            check_tuning(self.original, self.tuning)
        self.order = removal_order(self.original, options.gamma_threshold, None)

    def report(self) -> ComparisonReport:
        """Compare."""
        return ComparisonReport(
            blocks=list(self._blocks()),
            **facts(self.original, self.before, self.started, self.clock),
            gamma_threshold=self.options.gamma_threshold,
            objective=self.options.objective,
            notes=self.notes,
            tuning=self.tuning,
            pruning_class=self.options.pruning_class,
        )

    def _blocks(self) -> Iterator[ComparisonBlock]:
        filters = self.original.graph.filters
        kinds = CLASSES[: CLASSES.index(self.options.pruning_class) + 1]
        dead = [removal for removal in self.order if not removal.alive and removal.filter.kind in kinds]
        ours = self._removed(holds_from(dead))
        if ours:
            rows = [self._ours(dead), *self._rows(ours, first=True)]
            yield ComparisonBlock(wanted=ours, share=ours / filters, aim="ours", rows=rows)
        else:
            self.notes.append(f"no {self.options.pruning_class} filter can go: there is no number to compare at")
        share = self.options.share
        if share is None:
            share = min(max(SHARE, ours / filters + MORE), 0.95)
        wanted = max(round(share * filters), 1)
        yield ComparisonBlock(wanted=wanted, share=share, aim="share", rows=self._rows(wanted, first=False))

    def _removed(self, holds: Holds) -> int:
        return planned_size(self.original, holds, self.cut_options).removed

    def _ours(self, dead: Sequence[Removal]) -> ComparatorRow:
        kind = self.options.pruning_class
        lossless = all(removal.filter.kind == CLASSES[0] for removal in dead)
        cut = self._cut(holds_from(dead), None, f"ours, {kind}", exact=lossless)
        return ComparatorRow(method=f"ours: {kind}", source="", leaves="constant", cuts=[cut])

    def _rows(self, wanted: int, *, first: bool) -> list[ComparatorRow]:
        return [self._row(method, wanted) for method in self._methods if not (first and method.later)]

    def _row(self, method: _Method, wanted: int) -> ComparatorRow:
        """Return what a method makes of the network; why not, where it makes nothing."""
        row = ComparatorRow(method=method.name, source=method.source, leaves=method.leaves, cuts=[])
        try:
            cuts = [self._at(wanted, choice, seed, method.name) for seed, choice in method.choices()]
        except SparsityAuditError as failure:
            return row.model_copy(update={"reason": str(failure)})
        short = any(cut.removed < wanted for cut in cuts)
        return row.model_copy(update={"cuts": cuts, "remark": "no more can go by it" if short else None})

    def _at(self, wanted: int, choice: Choice, seed: int | None, label: str) -> ComparedCut:
        """Return the cut of the fewest filters of a method's order that removes as many as wanted."""
        filters = self.original.graph.filters
        count = bisect.bisect_left(range(filters), wanted, key=lambda count: self._removed(choice(count)))
        return self._cut(choice(count), seed, label)

    def _cut(self, holds: Holds, seed: int | None, label: str, *, exact: bool = False) -> ComparedCut:
        tried = attempt(self.original, holds, self.cut_options, exact=exact)
        original, slim, after = self.original, tried.slim, None
        test = original.tested if tried.empty else original.try_on_test(slim.module, label)
        assert test is not None
        if self.tuning is not None:
            slim, after = tuned(original, slim, self.tuning, label)
        return ComparedCut(
            seed=seed,
            removed=sum(len(fate.removed) for fate in tried.fates.values()),
            params=tried.size[0],
            macs=tried.size[1],
            test=test.figures(original.tested),
            tuned=after,
            latency=timed(original, slim) if self.options.latency else [],
        )

    @functools.cached_property
    def _methods(self) -> list[_Method]:
        objective = self.options.objective or "macs"
        by_gamma, by_cost = functools.partial(self._first, None), functools.partial(self._first, objective)
        return [
            _Method("ours: dead, then |γ|", "", "mean", by_gamma, later=True),
            _Method(f"ours: {_SAVED[objective]} per error", "", "mean", by_cost, later=True),
            *(
                _Method(name, source, leaves, functools.partial(self._scored, score, leaves))
                for name, source, leaves, score in _scores(self.original)
            ),
            _Method("random", "", "dropped", self._drawn),
        ]

    def _first(self, objective: Objective | None) -> Choices:
        """Return our order: of dead filters, then of living ones."""
        order = self.order
        if objective is not None:
            order = removal_order(self.original, self.options.gamma_threshold, objective)
        return [(None, lambda count: holds_from(order[:count]))]

    def _scored(self, score: Callable[[], Scores], leaves: Leaves) -> Choices:
        return [(None, self._lowest(score(), leaves))]

    def _drawn(self) -> Choices:
        return [(seed, self._lowest(random(self.original.graph, seed), "dropped")) for seed in SEEDS]

    def _lowest(self, scores: Scores, leaves: Leaves) -> Choice:
        """Return the order of a score over all layers, which takes no layer whole."""
        values = held_values(self.original, leaves)
        known = {
            key: None if own is None else np.where(np.isnan(values[key]), np.nan, own) for key, own in scores.items()
        }

        def choice(count: int) -> Holds:
            chosen = lowest(known, count, {}, min_width=self.options.min_width)
            return {key: {i: float(values[key][i]) for i in indices} for key, indices in chosen.items()}

        return choice


def held_values(original: Original, leaves: Leaves) -> dict[str, Floats]:
    """Return what filters are held at so that β, or nothing, stands for them, [filters] by layer key; NaN: unknown.

    Nothing stands for a filter whose activation is 0, which 0 before the nonlinearity gives, but for such as a
    sigmoid.
    """
    calls = {layer.key: layer for layer in original.graph.layers}
    values = {}
    for layer in original.report.layers:
        if leaves == "shift":
            own = np.array(layer.beta if layer.beta is not None else [np.nan] * layer.filters, np.float64)
        else:
            own = np.zeros(layer.filters)
            own[activation_of(calls[layer.key])(own) != 0] = np.nan
        values[layer.key] = own
    return values


def _scores(original: Original) -> list[tuple[str, str, Leaves, Callable[[], Scores]]]:
    """Return the measures of importance: name, who proposed it, what it leaves, and the scores, computed once."""
    module, graph, corpus = original.module, original.graph, original.corpus
    assert corpus is not None
    normalise = Normaliser(original.normalisation, original.config.device)
    size = graph.captured.batch or original.config.batch_size
    by_gamma = functools.partial(gamma, graph)
    found: list[tuple[str, str, Leaves, Callable[[], Scores]]] = [
        ("|γ|, β kept", "", "shift", by_gamma),
        ("|γ|", "Liu et al. 2017, Network Slimming", "dropped", by_gamma),
        ("L1 norm / layer's mean", "Li et al. 2017", "dropped", lambda: l1_norm(graph, relative=True)),
        ("APoZ", "Hu et al. 2016", "dropped", lambda: apoz(graph, corpus, normalise, batch_size=size)),
        (
            "Taylor",
            "Molchanov et al. 2019",
            "dropped",
            lambda: taylor(module, graph, corpus, normalise, batch_size=size),
        ),
    ]
    for kind in get_args(TorchPruning):
        peers = functools.partial(torch_pruning, module, graph, kind)
        found.append((_PEERS[kind], f"Torch-Pruning's {IMPORTANCES[kind]}", "dropped", peers))
    return [(name, source, leaves, functools.cache(score)) for name, source, leaves, score in found]
