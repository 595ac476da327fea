"""A spec, and what was printed of it, in one line each."""

from __future__ import annotations

from sparsity_audit.schema.spec import NetworkSpec, RegularizerSpec, ZooSpec
from sparsity_audit.schema.study import PrintedValues
from sparsity_audit.specs.slug import short_number

_PRINTED = {
    "by_activation": "{} % inactive by activation",
    "by_scale": "{} % inactive by scale",
    "error": "error {} %",
    "top5_error": "top-5 error {} %",
    "train_loss": "training loss {}",
    "test_loss": "test loss {}",
    "layers": "by scale layer by layer {} %",
    "filters_pruned": "{} filters pruned",
    "params_pruned": "{} % of parameters pruned",
    "pruned_error": "error {} % when pruned",
    "pruned_top5_error": "top-5 error {} % when pruned",
}
_NO_FRACTIONS = ("train_loss", "test_loss", "filters_pruned")


def settings_line(spec: ZooSpec) -> str:
    """Return ``basicnet 32-0.25x, cifar10, adam 1e-3, l2 1e-3, batch 40, 10000 iterations``, and what is unusual."""
    parts = [
        _network(spec.network),
        spec.data.name,
        f"{spec.optimizer.name} {short_number(spec.optimizer.lr)}",
        regularizer_text(spec.regularizer),
        f"batch {spec.batch_size}",
        f"{spec.schedule.total} {spec.schedule.unit}",
        *_unusual(spec),
    ]
    return ", ".join(parts)


def printed_line(printed: PrintedValues) -> str:
    """Return everything that the paper printed of a row, in percent; empty where that is nothing."""
    shown = []
    for name, words in _PRINTED.items():
        value = getattr(printed, name)
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        texts = [short_number(each) if name in _NO_FRACTIONS else percent(each) for each in values]
        shown.append(words.format(" ".join(texts)))
    return ", ".join(shown)


def percent(fraction: float | None) -> str:
    """Return a fraction in percent as it is printed, without the sign; empty for None."""
    return "" if fraction is None else f"{100 * fraction:.6g}"


def _network(network: NetworkSpec) -> str:
    text = network.name
    if network.first is not None or network.width is not None:
        first = "" if network.first is None else str(network.first)
        width = "" if network.width is None else f"{short_number(network.width)}x"
        text += f" {'-'.join(part for part in (first, width) if part)}"
    if network.head is not None:
        text += f" head {'-'.join(map(str, network.head)) or 'none'}"
    if network.activation != "relu":
        text += f" {network.activation} {short_number(network.negative_slope)}"
    return text


def regularizer_text(regularizer: RegularizerSpec) -> str:
    """Return a regulariser as ``l2 1e-3``, with what it is on where that is not everything."""
    if regularizer.kind == "none":
        return "no regularizer"
    place = "" if regularizer.on == "all" else f" on {regularizer.on}"
    return f"{regularizer.kind} {short_number(regularizer.strength)}{place}"


def _unusual(spec: ZooSpec) -> list[str]:
    """Return what most specs leave at its default."""
    init, factors = spec.init, spec.lr_multipliers
    found = [
        (init.weights != "xavier", f"{init.weights} init"),
        (init.gamma != 1, f"γ from {short_number(init.gamma)}"),
        (init.beta != 0, f"β from {short_number(init.beta)}"),
        (factors.gamma != 1, f"γ rate × {short_number(factors.gamma)}"),
        (factors.beta != 1, f"β rate × {short_number(factors.beta)}"),
        (not spec.data.flip and spec.data.name != "digits", "no flips"),
    ]
    return [text for applies, text in found if applies]
