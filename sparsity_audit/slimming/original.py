"""The network that is to become slim, and all that is looked at of it once: dead filters, images, test results."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor, nn

from sparsity_audit.engine.corpora import Corpora, Progress, normalisation_for
from sparsity_audit.engine.examine import examine
from sparsity_audit.engine.subject import Subject, WithGraph
from sparsity_audit.errors import UsageError
from sparsity_audit.graph.feature_graph import FeatureGraph
from sparsity_audit.pruning.bounds import norm_bounds, pixel_max
from sparsity_audit.pruning.channels import ChannelClasses
from sparsity_audit.pruning.classify import DeadFilter, activation_of, classify_layer
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import ModelReport, NormalisationInfo
from sparsity_audit.slimming.inputs import other_size, random_images, resized_graph
from sparsity_audit.slimming.slim import channel_classes
from sparsity_audit.slimming.tested import Run, Tested, answers_of
from sparsity_audit.stats.collect import Normaliser

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus

VERIFIED = 24
"""Images of each kind that a slim network is compared with the original on."""


@dataclass(frozen=True, eq=False)
class Original:
    """A network, its graph, and the images that it is judged on."""

    subject: Subject
    known: WithGraph
    config: AuditConfig
    report: ModelReport
    normalisation: NormalisationInfo
    corpus: Corpus | None
    test: Corpus | None
    progress: Progress | None

    @property
    def module(self) -> nn.Module:
        """The eager network, which stays as it is."""
        return self.known.loaded.module

    @property
    def graph(self) -> FeatureGraph:
        """Its feature graph."""
        return self.known.graph

    @cached_property
    def classes(self) -> ChannelClasses:
        """Which channels can only go together."""
        return channel_classes(self.module, self.graph)

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        """The network's modules by path."""
        return dict(nn.Module.named_modules(self.module))

    @cached_property
    def sizes(self) -> list[LayerSize]:
        """Of its layers."""
        return layer_sizes(self.graph, self.module)

    @property
    def size(self) -> tuple[int, int]:
        """Convolution parameters, and MACs for one image."""
        return total(self.sizes)

    @cached_property
    def resized(self) -> FeatureGraph | None:
        """Its graph for images of another size; None where it takes none."""
        return resized_graph(self.module, self.graph)

    @cached_property
    def batches(self) -> dict[str, Sequence[Tensor]]:
        """Images to verify slim networks on, by kind."""
        normalise = Normaliser(self.normalisation, "cpu")
        count = self.graph.captured.batch or VERIFIED
        shape, most = self.graph.captured.input_shape, int(self._pixel_max)
        kinds: dict[str, Sequence[Tensor]] = {"random": [random_images(shape, count, normalise, pixel_max=most)]}
        if self.corpus is not None:
            kinds = {"corpus": [normalise(next(iter(self.corpus.batches(count)))[0])], **kinds}
        if self.resized is not None:
            kinds["other size"] = [random_images(other_size(shape), count, normalise, pixel_max=most, seed=1)]
        return kinds

    @cached_property
    def tested(self) -> Tested | None:
        """The network itself on the test split."""
        return self.try_on_test(self.module, "the original")

    def try_on_test(self, run: Run, label: str) -> Tested | None:
        """Run a network over the test split; None where there is none, or it gives no classes."""
        if self.test is None:
            return None
        if isinstance(run, nn.Module) and self.config.device != "cpu":
            run = copy.deepcopy(run).to(self.config.device)
        normalise = Normaliser(self.normalisation, self.config.device)
        told: Callable[[int, int], None] | None = None
        if self.progress is not None:
            progress, name = self.progress, f"{self.test.name} {self.test.split}: {label}"
            told = lambda done, total: progress(name, done, total)  # noqa: E731
        batch_size = self.graph.captured.batch or self.config.batch_size
        return answers_of(run, self.test, normalise, batch_size, told)

    def dead(self, gamma_threshold: float) -> dict[str, list[DeadFilter]]:
        """Return which filters can go, by layer key."""
        calls = {layer.key: layer for layer in self.graph.layers}
        bounds = {} if self.corpus is None else norm_bounds(self.graph, self.normalisation, self._pixel_max)
        return {
            layer.key: classify_layer(
                layer,
                bounds.get(layer.key),
                activation=activation_of(calls[layer.key]),
                norm_kind=calls[layer.key].norm_kind,
                gamma_threshold=gamma_threshold,
            )
            for layer in self.report.layers
        }

    @cached_property
    def worth(self) -> Mapping[str, Mapping[int, float]]:
        """|γ| of each filter, by layer key: of those that could go, the greatest stay where some have to."""
        return {
            layer.key: {i: abs(gamma or 0.0) for i, gamma in enumerate(layer.gamma or [])}
            for layer in self.report.layers
        }

    @property
    def _pixel_max(self) -> float:
        return 255.0 if self.corpus is None else pixel_max(self.corpus)


def look_at(subject: Subject, config: AuditConfig, corpora: Corpora, progress: Progress | None) -> Original:
    """Run the corpus through a network once and return what pruning has to know of it.

    Raises:
        UsageError: a model whose architecture is not known.
        DataError: a corpus that does not fit the model.
    """
    known = subject.known
    if known is None:
        raise UsageError(f"{subject.path}: pruning needs the architecture: give --data or --arch")
    report = examine(subject, config, [], corpora, progress=progress)
    corpus = corpora.statistics
    normalisation = report.normalisation or (
        _assumed(subject, known) if corpus is None else normalisation_for(config, subject, corpus)
    )
    return Original(subject, known, config, report, normalisation, corpus, corpora.split("test"), progress)


@dataclass(frozen=True)
class LayerSize:
    """Of one feature layer: convolution parameters, biases not counted, and MACs for one image."""

    params: int
    macs: int


def layer_sizes(graph: FeatureGraph, module: nn.Module) -> list[LayerSize]:
    """Return the sizes of a network's layers, which may be narrower than those of the graph they stand in.

    Args:
        module: the graph's own network, or a slim one made of it: its planes are as large.
    """
    weights = dict(nn.Module.named_parameters(module))
    sizes, seen = [], set()
    for layer in graph.layers:
        shape = layer.weight_shape if layer.weight is None else tuple(weights[layer.weight].shape)
        first = layer.weight is None or layer.weight not in seen
        seen.add(layer.weight)
        sizes.append(LayerSize(math.prod(shape) * first, math.prod(shape) * layer.positions))
    return sizes


def total(sizes: Sequence[LayerSize]) -> tuple[int, int]:
    """Return the parameters and MACs of all layers."""
    return sum(size.params for size in sizes), sum(size.macs for size in sizes)


def _assumed(subject: Subject, known: WithGraph) -> NormalisationInfo:
    """Return a scaling of pixels without data: the model's own, else one that gives numbers of about its size."""
    scale = 255.0
    given = known.loaded.architecture.normalisation
    if subject.metadata is not None:
        given, scale = subject.metadata.normalisation, subject.metadata.pixel_scale
    channels = known.graph.captured.input_shape[0]
    mean, std = ([0.5] * channels, [0.25] * channels) if given is None else (given.mean, given.std)
    source = "metadata" if subject.metadata is not None else "architecture"
    return NormalisationInfo.model_validate({"mean": mean, "std": std, "pixel_scale": scale, "source": source})
