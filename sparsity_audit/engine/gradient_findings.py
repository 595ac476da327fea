"""Gradients on γ for the rules that ask for them, and the deaths that they let expect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sparsity_audit.engine.subject import Subject, WithGraph
from sparsity_audit.measures.dominance_measures import DOMINANCE, PREDICTION, STEPS, on_gamma
from sparsity_audit.measures.training_measures import NO_BATCH_SIZE, TRAIN_SPLIT
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.gradient_report import GradientInfo, LayerGradients, PredictedDeaths
from sparsity_audit.schema.rule import Rule
from sparsity_audit.schema.spec import TrainingSettings
from sparsity_audit.thresholds import GAMMA_THRESHOLD

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus
    from sparsity_audit.stats.collect import Normaliser, Progress
    from sparsity_audit.stats.deaths import Regime
    from sparsity_audit.stats.gradients import Array, Gradients
    from sparsity_audit.stats.passes import Told

LULL = (
    "the loss has all but no gradients left (median deviation {:.2g} of λ|γ|), so the steps to come cannot be told "
    "from them: audit a checkpoint from the middle of the training"
)


def gradient_info(
    subject: Subject,
    known: WithGraph,
    config: AuditConfig,
    rules: Sequence[Rule],
    corpus: Corpus,
    normalise: Normaliser,
    told: Told,
) -> GradientInfo | None:
    """Return the gradients on γ, and predictions from them; None where no rule asks for either.

    Where they cannot be had, the reason stands in their place.
    """
    if not any(rule.measure in (DOMINANCE, PREDICTION) for rule in rules):
        return None
    batch_size = subject.training.batch_size if subject.training is not None else None
    missing = _missing(known, corpus, batch_size)
    if missing is not None or batch_size is None:
        return GradientInfo(batch_size=batch_size, batches=0, reason=missing or NO_BATCH_SIZE, seed=config.seed)
    from sparsity_audit.stats.gradients import NoGradientsError, measure_gradients

    try:
        measured = measure_gradients(
            known.loaded.module,
            known.graph.layers,
            corpus,
            normalise,
            batch_size=batch_size,
            seed=config.seed,
            progress=told(f"{corpus.name} {corpus.split}: gradients"),
        )
    except NoGradientsError as failure:
        return GradientInfo(batch_size=batch_size, batches=0, reason=str(failure), seed=config.seed)
    steps = sorted({int(rule.args.get("steps", STEPS)) for rule in rules if rule.measure == PREDICTION})
    return GradientInfo(
        batch_size=batch_size,
        batches=measured.batches,
        reason=None,
        seed=config.seed,
        layers=[_layer(key, gradients) for key, gradients in measured.gamma.items()],
        predictions=_predictions(known, measured, subject.training, steps, config.seed, told),
    )


def _missing(known: WithGraph, corpus: Corpus, batch_size: int | None) -> str | None:
    if batch_size is None:
        return NO_BATCH_SIZE
    if corpus.split != "train":
        return TRAIN_SPLIT
    if known.graph.captured.mixes_images:
        return "the model's answer to an image depends on the other images of the batch, or on chance"
    return None


def _layer(key: str, gradients: Array) -> LayerGradients:
    import numpy as np

    exact = gradients.astype(np.float64)
    return LayerGradients(
        layer=key,
        mean=exact.mean(axis=0).tolist(),
        mean_absolute=np.abs(exact).mean(axis=0).tolist(),
        std=exact.std(axis=0).tolist(),
        zero_share=(exact == 0).mean(axis=0).tolist(),
    )


def _predictions(
    known: WithGraph,
    measured: Gradients,
    training: TrainingSettings | None,
    horizons: Sequence[int],
    seed: int,
    told: Told,
) -> list[PredictedDeaths]:
    """Step the γ of all layers together, each γ once however many layers share it, under every regime."""
    import numpy as np

    from sparsity_audit.stats.deaths import lull, predict_scales

    regimes = list(_regimes(training, measured.batch_size))
    paths = {layer.key: str(layer.gamma) for layer in known.graph.layers if layer.key in measured.gamma}
    keys = list({path: key for key, path in reversed(paths.items())}.values())
    gamma = np.concatenate([known.state[paths[key]].cpu().double().numpy() for key in keys])
    gradients = np.concatenate([measured.gamma[key] for key in keys], axis=1)
    ends = np.cumsum([measured.gamma[key].shape[1] for key in keys])
    spans = {paths[key]: slice(end - measured.gamma[key].shape[1], end) for key, end in zip(keys, ends, strict=True)}
    tell: Progress | None = told("predicted deaths") if horizons and regimes else None
    found = []
    for steps in horizons:
        for regime in regimes:
            small = lull(gamma, gradients, regime)
            after = predict_scales(gamma, gradients, regime, [1.0] * (steps if small is None else 0), seed=seed)
            died = (np.abs(gamma) >= GAMMA_THRESHOLD) & (after < GAMMA_THRESHOLD)
            dead = {key: np.flatnonzero(died[spans[path]]).tolist() for key, path in paths.items()}
            found.append(_prediction(regime, measured.batch_size, steps, dead, small))
            if tell is not None:
                tell(len(found), len(horizons) * len(regimes))
    return found


def _prediction(
    regime: Regime, batch_size: int, steps: int, dead: dict[str, list[int]], small: float | None
) -> PredictedDeaths:
    """Return a prediction, or the reason why there is none: gradients too small to step on from."""
    return PredictedDeaths.model_validate(
        {
            "regularizer": regime.kind,
            "strength": regime.strength,
            "batch_size": round(batch_size * regime.batch_ratio),
            "steps": steps,
            "dead": dead if small is None else {},
            "reason": None if small is None else LULL.format(small),
        }
    )


def _regimes(training: TrainingSettings | None, batch_size: int) -> Iterator[Regime]:
    """Yield the model's own regime; then L2 and weight decay at its λ, half and twice the batch."""
    from sparsity_audit.stats.deaths import Regime

    regularizer = on_gamma(training)
    if training is None or training.optimizer is None or regularizer is None or not regularizer.strength:
        return
    own = Regime(training.optimizer, regularizer.kind, regularizer.strength)
    yield own
    for kind in ("l2", "wd"):
        if kind != own.kind:
            yield Regime(own.optimizer, kind, own.strength)
    for size in (batch_size // 2, batch_size * 2):
        if size:
            yield Regime(own.optimizer, own.kind, own.strength, size / batch_size)
