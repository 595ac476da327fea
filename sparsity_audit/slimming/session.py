"""``prune``: the three classes tried and told, one of them carried out; ``apply_plan``: the same cut again."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sparsity_audit.engine.corpora import Corpora, Progress, corpus_info
from sparsity_audit.engine.session import tool_info
from sparsity_audit.engine.subject import Subject
from sparsity_audit.errors import LimitError, UsageError
from sparsity_audit.pruning.classify import DeadFilter, holds_of
from sparsity_audit.pruning.holds import Holds
from sparsity_audit.pruning.structure import CutOptions
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.plan import CutSettings, PruningClass, PruningPlan
from sparsity_audit.schema.prune_report import ClassResult, LatencyFigures, PruneReport
from sparsity_audit.slimming.attempt import Attempt, attempt
from sparsity_audit.slimming.latency import BATCH_SIZES, measure_latency
from sparsity_audit.slimming.limited import largest_within
from sparsity_audit.slimming.order import Candidate, Objective
from sparsity_audit.slimming.ordering import in_order
from sparsity_audit.slimming.original import Original, look_at
from sparsity_audit.slimming.planning import CLASSES, figures, holds_in, plan_of
from sparsity_audit.slimming.scattering import Policy, recorded, scatter_policy
from sparsity_audit.slimming.slim import Slim
from sparsity_audit.slimming.slim_file import write_slim
from sparsity_audit.thresholds import GAMMA_THRESHOLD


@dataclass(frozen=True)
class PruneOptions:
    """What is to go, and how."""

    pruning_class: PruningClass = "lossless"
    gamma_threshold: float = GAMMA_THRESHOLD
    min_width: int = 1
    round_to: int = 1
    max_error_increase: float | None = None
    """Points (0–1) by which the test error may rise; of the small class the least harmful filters go until then."""
    scatter: Policy = "measured"
    latency: bool = True
    objective: Objective | None = None
    """What the small class is ordered by under ``max_error_increase``; |γ| where left out."""


@dataclass(frozen=True, eq=False)
class Pruned:
    """What was found, and the slim network of the chosen class; None where nothing can go."""

    report: PruneReport
    slim: Slim | None
    original: Original

    def save(self, path: str | Path) -> None:
        """Write the slim network as safetensors, which every command of ours loads; whole or not at all.

        Raises:
            UsageError: nothing could go, so there is no slim network.
            CheckpointError: the file cannot be written.
        """
        if self.slim is None:
            raise UsageError(f"{path}: not written: no {self.report.chosen} filter can go")
        corpus = self.original.corpus
        names = None if corpus is None else list(corpus.class_names)
        write_slim(Path(path), self.slim, self.report, self.original.subject, names)


def prune(
    subject: Subject,
    config: AuditConfig,
    corpora: Corpora,
    options: PruneOptions,
    progress: Progress | None = None,
) -> Pruned:
    """Try all three classes on a model, and return the slim network of the chosen one. The model stays as it is.

    Raises:
        UsageError: no architecture, or a limit on the error without labelled images.
        LimitError: the limit on the error cannot be kept.
    """
    return _Session(subject, config, corpora, options, progress).prune()


def apply_plan(
    subject: Subject,
    config: AuditConfig,
    corpora: Corpora,
    plan: PruningPlan,
    *,
    latency: bool = True,
    progress: Progress | None = None,
) -> Pruned:
    """Make the slim network of a plan, bit for bit as where the plan was made.

    Raises:
        UsageError: a plan of another checkpoint, of layers or filters that the model has not, or that does not verify.
    """
    if plan.model_sha256 != subject.checkpoint.sha256:
        raise UsageError(
            f"{subject.path}: the plan is of another checkpoint (sha256 {plan.model_sha256[:12]}, this one "
            f"{subject.checkpoint.sha256[:12]}): give the model it was made for"
        )
    kind: PruningClass = plan.pruning_class or "small"
    options = PruneOptions(
        kind, plan.tolerances.gamma, plan.settings.min_width, plan.settings.round_to, latency=latency
    )
    return _Session(subject, config, corpora, options, progress).apply(plan)


class _Session:
    def __init__(
        self,
        subject: Subject,
        config: AuditConfig,
        corpora: Corpora,
        options: PruneOptions,
        progress: Progress | None,
    ) -> None:
        self.started, self.clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
        self.options = options
        self.settings = CutSettings(min_width=options.min_width, round_to=options.round_to)
        self.original = look_at(subject, config, corpora, progress)
        if options.max_error_increase is not None and self.original.tested is None:
            raise UsageError("--max-error-increase needs labelled test images of the model's classes: give --data")
        self.scatter = scatter_policy(options.scatter, self.original.modules)
        self.notes = list(self.original.report.notes)

    def prune(self) -> Pruned:
        dead = self.original.dead(self.options.gamma_threshold)
        attempts: dict[PruningClass, Attempt] = {}
        results: list[ClassResult] = []
        last: tuple[Holds, Attempt] | None = None
        for kind in CLASSES:
            holds = holds_of(dead, kind)
            if last is None or holds != last[0]:
                last = holds, self._attempt(holds, exact=kind == "lossless")
            attempts[kind] = last[1]
            results.append(_result(kind, last[1], holds))
        if self.original.corpus is None:
            self.notes.append("without --data no filter is known to be silent, and lossless ones by γ = 0 alone")
        chosen, wanted = self._within_limit(dead, attempts), self.options.pruning_class
        if chosen is not attempts[wanted]:
            limited = _result(wanted, chosen, chosen.slim.cut.holds)
            results.append(limited.model_copy(update={"within_limit": True}))
        return self._pruned(chosen, dead, results)

    def apply(self, plan: PruningPlan) -> Pruned:
        kind = self.options.pruning_class
        self.scatter = recorded({layer.key: None for layer in plan.layers if layer.scattered})
        holds = holds_in(plan, {layer.key: layer.filters for layer in self.original.graph.layers})
        tried = self._attempt(holds, exact=kind == "lossless")
        if tried.rolled_back:
            layer, why = next(iter(tried.rolled_back.items()))
            raise UsageError(f"the plan does not verify: {layer}: {why}")
        if plan.verification is not None:
            self._check_same(plan, tried)
        dead = {
            layer.key: [
                DeadFilter(i, layer_kind, layer.held[i], layer.constants.get(i))
                for layer_kind, indices in layer.classes.items()
                for i in indices
                if i in layer.held
            ]
            for layer in plan.layers
        }
        every = {layer.key: dead.get(layer.key, []) for layer in self.original.graph.layers}
        done = self._pruned(tried, every, [_result(kind, tried, holds)])
        # What the plan rests on was seen where it was made; here only the cut was verified.
        seen = done.report.plan.model_copy(update={"images": plan.images, "criterion": plan.criterion})
        return replace(done, report=done.report.model_copy(update={"plan": seen}))

    def _check_same(self, plan: PruningPlan, tried: Attempt) -> None:
        """Refuse a plan whose cut comes out otherwise: it was edited, or made by another version."""
        planned = {layer.key: (layer.removed, layer.carriers) for layer in plan.layers}
        for key, fate in tried.fates.items():
            if (fate.removed, fate.carriers) != planned.get(key, ([], [])):
                raise UsageError(f"the plan's cut of {key} can't be made as it says: make the plan again with prune")

    def _attempt(self, holds: Holds, *, exact: bool) -> Attempt:
        return attempt(self.original, holds, self._cut_options(), exact=exact)

    def _cut_options(self) -> CutOptions:
        return CutOptions(
            min_width=self.options.min_width,
            round_to=self.options.round_to,
            worth=self.original.worth,
            may_scatter=self.scatter,
        )

    def _within_limit(
        self, dead: Mapping[str, Sequence[DeadFilter]], attempts: Mapping[PruningClass, Attempt]
    ) -> Attempt:
        """Return the attempt of the chosen class, cut down to what the limit on the error allows."""
        wanted, limit = self.options.pruning_class, self.options.max_error_increase
        if limit is None or attempts[wanted].error_increase <= limit:
            return attempts[wanted]
        allowed = [kind for kind in CLASSES[: CLASSES.index(wanted)] if attempts[kind].error_increase <= limit]
        if not allowed:
            raise LimitError(
                f"--max-error-increase {limit:g}: the {CLASSES[0]} filters alone raise the test error by "
                f"{attempts[CLASSES[0]].error_increase:.4f}; nothing was written"
            )
        holds, every = holds_of(dead, allowed[-1]), holds_of(dead, wanted)
        more = [
            (Candidate(key, i), value)
            for key, values in every.items()
            for i, value in values.items()
            if i not in holds.get(key, {})
        ]
        more = in_order(self.original, more, self.options.objective)
        self.notes.append(
            f"of {len(more)} {wanted} filters, the least harmful go while the test error stays within the limit"
        )
        return largest_within(
            attempts[allowed[-1]], holds, more, lambda chosen: self._attempt(chosen, exact=False), limit
        )

    def _pruned(self, tried: Attempt, dead: Mapping[str, Sequence[DeadFilter]], results: list[ClassResult]) -> Pruned:
        subject, kind = self.original.subject, self.options.pruning_class
        assert subject.architecture is not None
        plan = plan_of(tried, dead, kind, self.settings, self.options.gamma_threshold)
        latency = [] if tried.empty or not self.options.latency else self._latency(tried)
        report = PruneReport(
            tool=tool_info(self.original.config.device),
            started=self.started.isoformat(timespec="seconds"),
            duration_seconds=round(time.perf_counter() - self.clock, 3),
            path=subject.path,
            sha256=subject.checkpoint.sha256,
            architecture=subject.architecture,
            corpus=None if self.original.corpus is None else corpus_info(self.original.corpus),
            normalisation=self.original.normalisation,
            filters=self.original.graph.filters,
            params=self.original.size[0],
            macs=self.original.size[1],
            before=None if self.original.tested is None else self.original.tested.figures(),
            classes=results,
            chosen=kind,
            plan=plan,
            latency=latency,
            output=None,
            notes=self.notes,
        )
        return Pruned(report, None if tried.empty else tried.slim, self.original)

    def _latency(self, tried: Attempt) -> list[LatencyFigures]:
        batch = self.original.graph.captured.batch
        rows = measure_latency(
            self.original.module,
            tried.slim.module,
            self.original.graph.captured.input_shape,
            BATCH_SIZES if batch is None else (batch,),
        )
        return [LatencyFigures.model_validate(asdict(row)) for row in rows]


def _result(kind: PruningClass, tried: Attempt, holds: Holds) -> ClassResult:
    """Return what came of a class."""
    found = tried.fates.values()
    before, risky = tried.original.tested, kind != CLASSES[0]
    return ClassResult(
        pruning_class=kind,
        dead=sum(len(values) for values in holds.values()),
        removed=sum(len(fate.removed) for fate in found),
        derived=sum(len(fate.derived) for fate in found),
        scattered=sum(len(fate.scattered) for fate in found),
        carriers=sum(len(fate.carriers) for fate in found),
        kept=sum(len(kept) for kept in tried.slim.cut.held_back.values()),
        params=tried.size[0],
        macs=tried.size[1],
        test=None if tried.tested is None else tried.tested.figures(before),
        floor=tried.floor.figures(before) if risky and tried.floor is not None else None,
        comparisons=figures(tried),
        rolled_back=tried.rolled_back,
    )
