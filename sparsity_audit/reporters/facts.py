"""What was audited and with what, as labelled lines."""

from __future__ import annotations

from sparsity_audit.reporters.text import number, percent, plural
from sparsity_audit.schema.report import (
    ArchitectureInfo,
    CorpusInfo,
    ErrorInfo,
    ModelReport,
    NormalisationInfo,
    ToolInfo,
)
from sparsity_audit.schema.spec import OptimizerSpec, RegularizerSpec, TrainingSettings

_HOW = {
    "metadata": "from the file's metadata",
    "option": "as told by --arch",
    "detected": "detected by tensor names and shapes",
}
_SOURCE = {
    "option": "as told by options",
    "metadata": "from the file's metadata",
    "architecture": "the architecture's",
    "corpus": "the corpus's",
}


def environment(tool: ToolInfo) -> list[str]:
    """Return platform, versions, device and threads."""
    torch = "torch not needed" if tool.torch is None else f"torch {tool.torch}"
    parts = [tool.platform, f"Python {tool.python}", f"sparsity-audit {tool.version}", torch, tool.device]
    return parts if tool.threads is None else [*parts, plural(tool.threads, "thread")]


def model_facts(model: ModelReport) -> list[tuple[str, str]]:
    """Return label and text of all that is known about a model before any rule; the text is not escaped."""
    facts = [("sha256", model.sha256[:12])]
    facts.append(("architecture", architecture_fact(model.architecture)))
    training = _training(model.training)
    if training:
        facts.append(("training", training))
    facts.append(("corpus", "none: only the weights were read" if model.corpus is None else corpus_fact(model.corpus)))
    if model.normalisation is not None:
        facts.append(("normalisation", normalisation_fact(model.normalisation)))
    if model.error is not None:
        facts.append((f"{model.error.split} error", _error(model.error)))
    if model.nonfinite_tensors:
        facts.append(("not finite", ", ".join(model.nonfinite_tensors)))
    return facts + [("note", note) for note in model.notes]


def architecture_fact(found: ArchitectureInfo | None) -> str:
    """Return whose weights these are, and how that was found out."""
    if found is None:
        return "unknown: consumers of the filters cannot be told (name it with --arch)"
    text = f"{found.name}, {_HOW[found.how]}"
    if found.classes is not None:
        text += f", {found.classes:,} classes"
    if found.twins:
        text += f"; same tensors as {', '.join(found.twins)}: they may differ in function, see SA903"
    return text


def _training(settings: TrainingSettings | None) -> str:
    if settings is None:
        return ""
    parts = []
    if settings.optimizer is not None:
        parts.append(_optimizer(settings.optimizer))
    if settings.regularizer is not None:
        parts.append(_regularizer(settings.regularizer))
    if settings.batch_size is not None:
        parts.append(f"batch size {settings.batch_size:,}")
    return ", ".join(parts)


def _optimizer(optimizer: OptimizerSpec) -> str:
    extra = (f"{key} {_plain(value)}" for key, value in (optimizer.model_extra or {}).items())
    return " ".join([f"{optimizer.name} lr {optimizer.lr:g}", *extra])


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_plain(item) for item in value)
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _regularizer(regularizer: RegularizerSpec) -> str:
    if regularizer.kind == "none":
        return "no regularizer"
    on = "" if regularizer.on == "all" else f" on {regularizer.on} parameters only"
    return f"{regularizer.kind} {regularizer.strength:g}{on}"


def corpus_fact(corpus: CorpusInfo) -> str:
    """Return which images were looked at, and of how many."""
    seed = "" if corpus.seed is None else f", drawn with seed {corpus.seed}"
    return f"{corpus.name}, {corpus.split} split, {corpus.images:,} of {corpus.available:,} images{seed}"


def normalisation_fact(info: NormalisationInfo) -> str:
    """Return how pixels are scaled, and who says so."""
    mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (info.mean, info.std))
    return f"pixel / {info.pixel_scale:g}, mean {mean}, std {std} ({_SOURCE[info.source]})"


def _error(error: ErrorInfo) -> str:
    top5 = "" if error.top5 is None else f", top-5 {percent(error.top5, 2)}"
    return f"{percent(error.top1, 2)} on {error.images:,} images{top5}"
