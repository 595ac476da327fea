"""Cutting with a check: a slim network is compared with the original at once, and what fails is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from sparsity_audit.pruning.holds import Holds, hold
from sparsity_audit.pruning.structure import CutOptions
from sparsity_audit.slimming.fates import Fates, fates
from sparsity_audit.slimming.original import LayerSize, Original, layer_sizes, total
from sparsity_audit.slimming.slim import Slim, slim_module
from sparsity_audit.slimming.tested import Tested
from sparsity_audit.slimming.verification import Verification
from sparsity_audit.slimming.verify import verify


@dataclass(frozen=True, eq=False)
class Attempt:
    """A slim network that agrees with the original, and what had to be left alone for it."""

    original: Original
    slim: Slim
    verification: Verification
    rolled_back: dict[str, str] = field(default_factory=dict)
    """Layers whose cut failed, and how."""

    @property
    def empty(self) -> bool:
        """Whether nothing can go: the slim network is the original."""
        return not self.slim.cut.gone and not self.slim.cut.scattered

    @cached_property
    def fates(self) -> dict[str, Fates]:
        """What becomes of the filters of each layer."""
        return fates(self.original.graph, self.original.classes, self.slim.cut)

    @cached_property
    def sizes(self) -> list[LayerSize]:
        """Of the slim network's layers."""
        return layer_sizes(self.original.graph, self.slim.module)

    @property
    def size(self) -> tuple[int, int]:
        """The slim network's convolution parameters, and MACs for one image."""
        return total(self.sizes)

    @cached_property
    def tested(self) -> Tested | None:
        """The slim network on the test split."""
        removed = sum(len(fate.removed) for fate in self.fates.values())
        if self.empty or self.original.tested is None:
            return self.original.tested
        return self.original.try_on_test(self.slim.module, f"{removed} filters removed")

    @cached_property
    def floor(self) -> Tested | None:
        """The original on the test split, with the same filters held: no removal can do better."""
        if self.empty or self.original.tested is None:
            return self.original.tested
        held = hold(self.original.graph, self.slim.cut.holds)
        return self.original.try_on_test(lambda images: held(images.cpu())[0], "the same filters held")

    @property
    def error_increase(self) -> float:
        """By how much the test error rose, 0–1; 0 where there is none."""
        before, after = self.original.tested, self.tested
        return 0.0 if before is None or after is None else after.error - before.error


def attempt(original: Original, holds: Holds, options: CutOptions, *, exact: bool) -> Attempt:
    """Return the slim network with these filters removed that passes its verification.

    Where the whole does not, halves of it are tried, and so on: a layer that fails alone is left as it was.

    Args:
        exact: what goes is lossless, so the untouched original is compared with too.
    """
    tried = _try(original, holds, options, exact=exact)
    if tried.verification.passed:
        return tried
    failed: dict[str, str] = {}
    good = _surviving(sorted(holds), lambda keys: _try(original, _only(holds, keys), options, exact=exact), failed)
    tried = _try(original, _only(holds, good), options, exact=exact)
    if not tried.verification.passed:  # layers that fail together only: none of them can be told guilty
        failed.update(dict.fromkeys(good, f"together with others: {tried.verification.failure}"))
        tried = _try(original, {}, options, exact=exact)
    return replace(tried, rolled_back=failed)


def _try(original: Original, holds: Holds, options: CutOptions, *, exact: bool) -> Attempt:
    slim = slim_module(original.module, original.graph, holds, options, original.classes)
    verification = verify(
        original.graph,
        slim.cut.holds,
        slim.module,
        original.batches,
        exact=exact,
        slim64=slim.exact,
        resized=original.resized,
    )
    return Attempt(original, slim, verification)


def _surviving(keys: list[str], trial: Callable[[list[str]], Attempt], failed: dict[str, str]) -> list[str]:
    """Return the layers that can be cut, and note how the others failed."""
    verification = trial(keys).verification
    if verification.passed:
        return keys
    if len(keys) == 1:
        failed[keys[0]] = verification.failure or "its outputs differ"
        return []
    middle = len(keys) // 2
    return [key for half in (keys[:middle], keys[middle:]) for key in _surviving(half, trial, failed)]


def _only(holds: Holds, keys: Iterable[str]) -> Holds:
    return {key: holds[key] for key in keys}
