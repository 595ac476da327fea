"""``prune --pareto``: a family of slim networks from one training, each verified, tested and timed.

The dead filters go first, lossless ones before silent ones, then all others, each with a constant in its place. It is
what the paper's Section 5 misses: several compact models out of a single round of training.
"""

from __future__ import annotations

import bisect
import datetime
import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sparsity_audit.engine.corpora import Corpora, Progress
from sparsity_audit.engine.subject import Subject
from sparsity_audit.pruning.holds import Holds
from sparsity_audit.pruning.structure import plan_cut
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.plan import CutSettings, PruningClass, PruningPlan
from sparsity_audit.schema.prune_report import PruneReport, TestFigures
from sparsity_audit.schema.slim_tables import Aim, Cost, ParetoPoint, ParetoReport, TuningSettings
from sparsity_audit.slimming.attempt import Attempt, attempt
from sparsity_audit.slimming.order import Objective
from sparsity_audit.slimming.original import look_at
from sparsity_audit.slimming.planning import CLASSES, plan_of
from sparsity_audit.slimming.removal_order import Removal, Size, holds_from, planned_size, removal_order
from sparsity_audit.slimming.scattering import Policy
from sparsity_audit.slimming.several import check_tuning, cut_options, facts, searching, tested_figures, timed, tuned
from sparsity_audit.slimming.slim import Slim
from sparsity_audit.thresholds import GAMMA_THRESHOLD

MOST = 0.7
"""Of the cost, what the smallest network of a family does without; more where the lossless filters nearly do."""

Keep = Callable[[ParetoPoint, Slim, PruneReport], None]
"""Takes each network as soon as it is made, with what ``prune`` would report of it for its slim file.

Whether none is better for a cost is known only at the end.
"""


@dataclass(frozen=True)
class ParetoOptions:
    """What family is wanted."""

    points: int = 8
    """Networks of about even distances, the lossless one among them; that of the paper's threshold comes on top."""
    objective: Objective | None = None
    """What living filters are ordered by; |γ| where left out. Budgets are of params for params, else of MACs."""
    gamma_threshold: float = GAMMA_THRESHOLD
    min_width: int = 1
    round_to: int = 1
    scatter: Policy = "measured"
    latency: bool = True
    tuning: TuningSettings | None = None
    """Of each network, after its verification."""


class _Wanted(NamedTuple):
    """One network that is to be made."""

    aims: list[Aim]
    share: float | None
    removals: Sequence[Removal]
    cost: int
    """What will be left."""


def family(
    subject: Subject,
    config: AuditConfig,
    corpora: Corpora,
    options: ParetoOptions,
    keep: Keep,
    progress: Progress | None = None,
) -> ParetoReport:
    """Make slim networks of one model, from the lossless one down to ``MOST`` of the cost gone. The model stays.

    The family ends earlier where a layer would be empty.

    Raises:
        UsageError: no architecture, no labelled images, a network that cannot be tuned as wanted.
        TrainingError: fine-tuning diverges.
    """
    return _Family(subject, config, corpora, options, keep, progress).make()


class _Family:
    def __init__(
        self,
        subject: Subject,
        config: AuditConfig,
        corpora: Corpora,
        options: ParetoOptions,
        keep: Keep,
        progress: Progress | None,
    ) -> None:
        self.started, self.clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
        self.options, self.keep = options, keep
        self.original = look_at(subject, config, corpora, progress)
        self.before = tested_figures(self.original, "--pareto")
        self.cost: Cost = "params" if options.objective == "params" else "macs"
        self.notes = list(self.original.report.notes)
        self.settings = CutSettings(min_width=options.min_width, round_to=options.round_to)
        self.cut_options = cut_options(self.original, options.min_width, options.round_to, options.scatter)
        self.searched = searching(self.cut_options, options.scatter)
        self.tuning = None if options.tuning is None or options.tuning.idle else options.tuning
        if self.tuning is not None:
            check_tuning(self.original, self.tuning)

    def make(self) -> ParetoReport:
        """Make the networks one after the other, and say at the end which are the best."""
        points: list[ParetoPoint] = []
        for wanted in self._wanted():
            holds = self._usable(wanted.removals)
            exact = all(removal.filter.kind == CLASSES[0] for removal in wanted.removals)
            tried = attempt(self.original, holds, self.cut_options, exact=exact)
            if not tried.empty:
                point, slim = self._point(f"slim-{len(points):02d}", wanted, tried)
                points.append(point)
                self.keep(point, slim, self._report(point))
        if not points:
            self.notes.append("no filter can go")
        return ParetoReport(
            **self._facts(),
            gamma_threshold=self.options.gamma_threshold,
            objective=self.options.objective,
            notes=self.notes,
            cost=self.cost,
            tuning=self.tuning,
            points=marked(points, self.original.size, self.before),
        )

    def _facts(self) -> dict[str, Any]:
        return facts(self.original, self.before, self.started, self.clock)

    def _report(self, point: ParetoPoint) -> PruneReport:
        assert point.plan.pruning_class is not None
        kind, plan, latency = point.plan.pruning_class, point.plan, point.latency
        return PruneReport(**self._facts(), classes=[], chosen=kind, plan=plan, latency=latency, output=None)

    def _wanted(self) -> list[_Wanted]:
        """Return the networks to make, the largest first; those that would be the same are one."""
        order = removal_order(self.original, self.options.gamma_threshold, self.options.objective)
        place = ("params", "macs").index(self.cost)
        whole = self.original.size[place] or 1  # a network without convolutions has nothing that could go

        @functools.cache
        def size(count: int) -> Size:
            return planned_size(self.original, holds_from(order[:count]), self.searched)

        def left(count: int) -> int:
            return int(getattr(size(count), self.cost))

        lossless = sum(removal.filter.kind == CLASSES[0] for removal in order)
        dead = [removal for removal in order if not removal.alive]
        at_threshold = planned_size(self.original, holds_from(dead), self.searched)
        found = [
            _Wanted(["lossless"], None, order[:lossless], left(lossless)),
            _Wanted(["paper"], None, dead, int(getattr(at_threshold, self.cost))),
        ]
        counts = range(len(order) + 1)
        end = bisect.bisect_left(counts, True, key=lambda count: bool(size(count).narrow - at_threshold.narrow)) - 1
        first, most = 1 - left(lossless) / whole, 1 - left(end) / whole
        wanted = max(MOST, (1 + first) / 2)
        if most < wanted:
            name = "params" if self.cost == "params" else "MACs"
            self.notes.append(
                f"the family ends with {100 * most:.1f} % of the {name} gone: then a layer would be empty"
            )
        for share in shares(first, min(wanted, most), self.options.points):
            budget = math.ceil((1 - share) * whole)
            count = bisect.bisect_left(counts, -budget, hi=end, key=lambda count: -left(count))
            found.append(_Wanted(["budget"], share, order[:count], left(count)))
        return _once(found)

    def _usable(self, removals: Sequence[Removal]) -> Holds:
        """Return what filters are held at, living ones only where their channel goes.

        Where others keep a channel alive, a dead filter may leave a constant in it; of a living one that would add to
        the error and save next to nothing.
        """
        cut = plan_cut(self.original.graph, self.original.classes, holds_from(removals), self.searched)
        return holds_from(
            each for each in removals if not each.alive or each.filter.index in cut.holds.get(each.layer, {})
        )

    def _point(self, name: str, wanted: _Wanted, tried: Attempt) -> tuple[ParetoPoint, Slim]:
        """Return what came of a cut, and the network as it is to be written."""
        original, slim, after = self.original, tried.slim, None
        assert tried.tested is not None
        if self.tuning is not None:
            slim, after = tuned(original, slim, self.tuning, name)
        return ParetoPoint(
            name=name,
            aims=wanted.aims,
            share=wanted.share,
            removed=sum(len(fate.removed) for fate in tried.fates.values()),
            alive=sum(each.filter.index in tried.fates[each.layer].removed for each in wanted.removals if each.alive),
            params=tried.size[0],
            macs=tried.size[1],
            test=tried.tested.figures(original.tested),
            tuned=after,
            latency=timed(original, slim) if self.options.latency else [],
            best_for=[],
            plan=self._plan(wanted, tried),
        ), slim

    def _plan(self, wanted: _Wanted, tried: Attempt) -> PruningPlan:
        """Return the plan of a cut; a living filter is one that is small by a larger threshold."""
        kinds = {removal.filter.kind for removal in wanted.removals} or {CLASSES[0]}
        riskiest: PruningClass = max(kinds, key=CLASSES.index)
        worth = self.original.worth
        largest = max((worth[r.layer][r.filter.index] for r in wanted.removals if r.alive), default=0.0)
        threshold = max(self.options.gamma_threshold, largest * (1 + 1e-6))
        going = {
            layer.key: [removal.filter for removal in wanted.removals if removal.layer == layer.key]
            for layer in self.original.graph.layers
        }
        return plan_of(tried, going, riskiest, self.settings, threshold)


def shares(first: float, last: float, points: int) -> list[float]:
    """Return the shares of the cost that budgets take, evenly spaced from the lossless network's on.

    Args:
        first: what the lossless network does without; one that saves nothing is none of the family's points.
        last: what the smallest network does without.
        points: of the family, the lossless one among them.
    """
    steps = points - 1 if first > 0 else points
    return [first + (last - first) * step / steps for step in range(1, steps + 1)] if last > first else []


def marked(points: Sequence[ParetoPoint], size: tuple[int, int], before: TestFigures) -> list[ParetoPoint]:
    """Return the points with the costs that none other, the original included, has less of at as low an error."""
    found: dict[str, list[Cost]] = {point.name: [] for point in points}
    costs: tuple[Cost, ...] = ("params", "macs")
    for place, cost in enumerate(costs):
        every = [(getattr(point, cost), point.final.error) for point in points]
        every.append((size[place], before.error))
        for point, own in zip(points, every, strict=False):
            if not any(other != own and other[0] <= own[0] and other[1] <= own[1] for other in every):
                found[point.name].append(cost)
    return [point.model_copy(update={"best_for": found[point.name]}) for point in points]


def _once(wanted: Iterable[_Wanted]) -> list[_Wanted]:
    """Return the networks, the largest first; one that several aims lead to has them all."""
    found: dict[frozenset[tuple[str, int]], _Wanted] = {}
    for each in wanted:
        key = frozenset(removal.place for removal in each.removals)
        same = found.get(key)
        found[key] = each if same is None else same._replace(aims=[*same.aims, *each.aims], share=each.share)
    return sorted(found.values(), key=lambda each: -each.cost)
