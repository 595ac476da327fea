"""``run_selftest()``: audits of the planted networks on random images, held against what was planted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from sparsity_audit.data.corpus import Corpus
from sparsity_audit.engine.audit import audit
from sparsity_audit.schema.report import ModelReport, NormalisationInfo
from sparsity_audit.selftest.networks import CLASSES, Specimen, networks
from sparsity_audit.selftest.planting import RULES, Filter, calibrate, plant
from sparsity_audit.stats.collect import Normaliser

IMAGES, SIDE = 64, 32


@dataclass(frozen=True)
class SelfCheck:
    """What one rule found in one network.

    Attributes:
        planted: filters that the rule must find, by path of their norm and number.
        found: filters that it found.
    """

    network: str
    rule: str
    planted: frozenset[Filter]
    found: frozenset[Filter]

    @property
    def missed(self) -> list[Filter]:
        """Filters that were planted and not found."""
        return sorted(self.planted - self.found)

    @property
    def invented(self) -> list[Filter]:
        """Filters that were found and not planted."""
        return sorted(self.found - self.planted)

    @property
    def outcome(self) -> str:
        """``passed`` where the rule found what was planted and nothing else, else ``failed``."""
        return "passed" if self.planted == self.found else "failed"


def run_selftest() -> list[SelfCheck]:
    """Plant filters of every kind in several networks, audit them, and return a check for each rule and network.

    Nothing is read from or written to the disk, and torch's generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        corpus = random_corpus()
        return [check for network in networks() for check in check_network(network, corpus)]


def random_corpus(seed: int = 0) -> Corpus:
    """Return noise of growing contrast, with random labels."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(IMAGES, SIDE, SIDE, 3)) * np.linspace(10, 60, IMAGES)[:, None, None, None]
    pixels = np.clip(noise + 128, 0, 255).astype(np.uint8)
    names = [str(number) for number in range(CLASSES)]
    return Corpus.from_arrays(pixels, generator.integers(0, CLASSES, IMAGES), class_names=names, name="noise")


def check_network(network: Specimen, corpus: Corpus) -> Iterator[SelfCheck]:
    """Yield one check for each rule, in the rules' order; the network's parameters are planted in place.

    Raises:
        SparsityAuditError: the network cannot be audited at all.
    """
    wanted = plant(network.module, network.joined)
    calibrate(network.module, _normalised(corpus))
    found = findings(audit(network.module, corpus, "default", select=RULES).models[0])
    for rule in RULES:
        yield SelfCheck(network.name, rule, frozenset(wanted[rule]), frozenset(found[rule]))


def findings(model: ModelReport) -> dict[str, list[Filter]]:
    """Return the filters that each rule's evidence lists; a layer without a norm stands by its own key."""
    norms = {layer.key: layer.norm or layer.key for layer in model.layers}
    found: dict[str, list[Filter]] = {rule: [] for rule in RULES}
    for result in model.results:
        indices = result.evidence.get("indices")
        if result.layer is not None and isinstance(indices, list):
            found[result.rule] += [(norms[result.layer], int(index)) for index in indices]
    return found


def _normalised(corpus: Corpus) -> torch.Tensor:
    """Return the images as the audit will show them to the network."""
    known = corpus.normalisation
    info = NormalisationInfo(mean=known.mean, std=known.std, pixel_scale=corpus.pixel_scale, source="corpus")
    return Normaliser(info, "cpu")(np.asarray(corpus.images))
