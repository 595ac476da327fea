"""A pruning in words, for terminal and Markdown alike."""

from __future__ import annotations

from sparsity_audit.reporters.facts import architecture_fact, corpus_fact, normalisation_fact
from sparsity_audit.reporters.prune_tables import error_text, is_unknown, less, removed
from sparsity_audit.reporters.text import count, human, percent, plural
from sparsity_audit.schema.plan import PruningClass
from sparsity_audit.schema.prune_report import ClassResult, LatencyFigures, PruneReport


def prune_facts(report: PruneReport) -> list[tuple[str, str]]:
    """Return label and text of what was known before anything was removed; the text is not escaped."""
    facts = [("sha256", report.sha256[:12]), ("architecture", architecture_fact(report.architecture))]
    facts.append(("corpus", "none: verified on random images" if report.corpus is None else corpus_fact(report.corpus)))
    if report.normalisation is not None:
        facts.append(("normalisation", normalisation_fact(report.normalisation)))
    if report.before is not None:
        error = f"{percent(report.before.error, 2)} on {plural(report.before.images, 'image')}"
        facts.append(("test error", error))
    size = f"{plural(report.filters, 'filter')}, {human(report.params)} convolution parameters"
    facts.append(("network", f"{size}, {human(report.macs)} MACs"))
    return facts + [("note", note) for note in report.notes]


def class_words(report: PruneReport) -> list[str]:
    """Return what the rows and columns of the table of classes mean, and what was undone."""
    kinds = [result.pruning_class for result in report.classes]
    words = ["each class has the safer ones in it"] if len(kinds) > 1 else []
    words += [f"{kind}: {_meaning(report, kind)}" for kind in kinds]
    if any(result.carriers for result in report.classes):
        words.append("carriers: dead filters that stay as a constant, since a bias would be wrong at padded borders")
    if any(result.scattered for result in report.classes):
        words.append("scattered: not computed any more; a constant keeps their place, which others need")
    if any(result.floor is not None for result in report.classes):
        words.append("floor: the original with the same filters held at constants; no removal can do better")
    if any(result.comparisons for result in report.classes):
        words.append("Δ output: largest difference from the original with the same filters held at constants")
    for result in report.classes:
        if result.pruning_class != report.chosen:  # of the chosen one it is told with what stays
            undone = sorted(result.rolled_back.items())
            words += [f"{result.pruning_class}: {key} stays, its cut failed: {why}" for key, why in undone]
    return words


def _meaning(report: PruneReport, kind: PruningClass) -> str:
    images = report.plan.images
    if kind == "lossless":
        return "the network computes the same for every image whose pixels are in range"
    if kind == "small":
        return f"|γ| < {report.plan.tolerances.gamma:g}, and active all the same: predictions may change"
    if images:
        seen = f"{plural(images, 'image')} (fires on at most {3 / images:.2g} of images, 95 %)"
    elif len(report.classes) > 1:
        return "not known without images (--data)"
    else:
        seen = "the images that the plan was made with"
    return f"never active, or constant, on {seen}: evidence, not proof"


def kept_words(report: PruneReport, longest: int = 6) -> list[str]:
    """Return why dead filters stay, the commonest reason first, with at most ``longest`` layers each."""
    layers: dict[str, list[str]] = {}
    filters: dict[str, int] = {}
    for layer in report.plan.layers:
        reasons = {reason: len(indices) for reason, indices in layer.kept.items()}
        if layer.kept_for_shape is not None:
            reasons.setdefault("a layer can't be empty", 1)
        for reason, size in reasons.items():
            layers.setdefault(reason, []).append(layer.key)
            filters[reason] = filters.get(reason, 0) + size
    order = sorted(layers, key=lambda reason: (-filters[reason], reason))
    return [_kept_line(reason, filters[reason], layers[reason], longest) for reason in order]


def _kept_line(reason: str, filters: int, keys: list[str], longest: int) -> str:
    what = plural(filters, "filter") if filters else plural(len(keys), "layer")
    more = f", … and {len(keys) - longest:,} more" if len(keys) > longest else ""
    return f"{what} (in {', '.join(keys[:longest])}{more}): {reason}"


def latency_words(report: PruneReport) -> list[str]:
    """Return where slimming is faster, three rounds in four, and where it is not, and what may help there."""
    faster = [row for row in report.latency if row.ratio.upper < 1]
    slower = [row for row in report.latency if row.ratio.lower > 1]
    level = [row for row in report.latency if row not in faster and row not in slower]
    told = (("faster", faster), ("not faster", level), ("slower", slower))
    words = [f"{said} {_batches(rows)}" for said, rows in told if rows]
    if level or slower:
        hint = "few filters went, or the widths miss the tiles that kernels work in"
        words.append(f"{hint}: try --round-to 8" if report.plan.settings.round_to == 1 else hint)
    return words


def _batches(rows: list[LatencyFigures]) -> str:
    *others, last = [count(row.batch_size) for row in rows]
    return f"at batch sizes {', '.join(others)} and {last}" if others else f"at batch size {last}"


def next_words(report: PruneReport) -> list[str]:
    """Return what more would go, and at what price, one flag away."""
    now, words = removed(report), []
    for result in report.classes:
        more = result.removed - now
        if more <= 0 or is_unknown(report, result):
            continue
        filters = f"{count(more)} more {'filter goes' if more == 1 else 'filters go'}"
        way = f"with --class {result.pruning_class}"
        if result.pruning_class == report.chosen:
            way = "without the limit on the error"
        words.append(f"{filters} {way}: {_price(report, result)}")
    return words


def _price(report: PruneReport, result: ClassResult) -> str:
    params = f"params {less(report.params, result.params)}"
    if report.before is None or result.test is None:
        return f"{params}; what that changes is not known without test images (--data)"
    test = result.test
    changed = f"{count(test.changed)} of {plural(test.images, 'prediction')} change"
    return f"{changed}, test error {error_text(report.before, test)}, {params}"


def outcome_words(report: PruneReport) -> str:
    """Return what came of it in one line."""
    kind = report.chosen
    gone = removed(report)
    if not gone:
        return f"no {kind} filter can go" if kind == "lossless" else f"no filter can go, {kind} ones included"
    parts = [f"{count(gone)} of {plural(report.filters, 'filter')} removed ({kind})"]
    if report.plan.params_after is not None:
        parts.append(f"params {less(report.params, report.plan.params_after)}")
    if report.plan.macs_after is not None:
        parts.append(f"MACs {less(report.macs, report.plan.macs_after)}")
    return ", ".join(parts)
