"""The corpora of one session: each split is read once, however many models look at it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sparsity_audit.errors import UsageError
from sparsity_audit.schema.config import AuditConfig, Split
from sparsity_audit.schema.report import CorpusInfo, NormalisationInfo

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus
    from sparsity_audit.engine.subject import Subject

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is."""


class Corpora:
    """Splits of the configured data set, subsampled as configured, read when first asked for."""

    def __init__(self, config: AuditConfig, given: Corpus | None = None, progress: Progress | None = None) -> None:
        self._config = config
        self._given = None if given is None else given.sample(config.limit, config.seed)
        self._progress = progress
        self._splits: dict[Split, Corpus] = {}

    @property
    def statistics(self) -> Corpus | None:
        """The images that statistics come from; None where no data was named."""
        return self.split(self._config.split)

    def load(self) -> None:
        """Read the splits that an audit needs.

        Raises:
            DataError: one of them cannot be read.
        """
        self.split(self._config.split)
        self.split("test")

    def split(self, split: Split) -> Corpus | None:
        """Return one split; a corpus given as an object stands for both."""
        if self._given is not None:
            return self._given
        if self._config.data is None:
            return None
        if split not in self._splits:
            self._splits[split] = self._load(self._config.data, split)
        return self._splits[split]

    def _load(self, data: str, split: Split) -> Corpus:
        from sparsity_audit.data.load import load_corpus

        def tell(done: int, total: int) -> None:
            if self._progress is not None:
                self._progress(f"decoding {data} {split}", done, total)

        config = self._config
        root = Path(config.data_root) if config.data_root else None
        return load_corpus(
            data,
            split,
            root,
            resize=config.resize,
            crop=config.crop,
            limit=config.limit,
            seed=config.seed,
            progress=tell,
        )


def corpus_info(corpus: Corpus) -> CorpusInfo:
    """Return what the report says of a corpus."""
    return CorpusInfo(
        name=corpus.name,
        split=corpus.split,
        images=len(corpus),
        available=corpus.available,
        seed=corpus.seed,
        sha256=corpus.sha256,
    )


def check_normalisation(config: AuditConfig) -> None:
    """Check what can be said of ``mean`` and ``std`` before the images are known.

    Raises:
        UsageError: one of them without the other, of different lengths, or not usable as numbers.
    """
    if config.mean is None and config.std is None:
        return
    if config.mean is None or config.std is None:
        raise UsageError("--mean and --std go together: give both, or neither")
    if len(config.mean) != len(config.std):
        raise UsageError(f"--mean has {len(config.mean)} values and --std {len(config.std)}: give one per channel")
    if not all(math.isfinite(value) for value in config.mean):
        raise UsageError("--mean must be finite in every channel")
    if not all(0 < value < math.inf for value in config.std):
        raise UsageError("--std must be finite and above 0 in every channel")


def normalisation_for(config: AuditConfig, subject: Subject, corpus: Corpus) -> NormalisationInfo:
    """Return how pixels are scaled: the options', else the model's metadata's, its architecture's, the corpus's.

    Raises:
        UsageError: one of mean and std without the other, or not one value per channel.
    """
    channels = corpus.shape[0]
    check_normalisation(config)
    if corpus.ready and config.mean is not None:
        raise UsageError(f"mean and std: the images of {corpus.name} are normalised already; leave them out")
    if config.mean is not None and config.std is not None:
        if len(config.mean) != channels:
            raise UsageError(f"--mean and --std need one value for each channel of {corpus.name}, that is {channels}")
        return NormalisationInfo(mean=config.mean, std=config.std, pixel_scale=corpus.pixel_scale, source="option")
    if corpus.ready:
        return NormalisationInfo(
            mean=corpus.normalisation.mean, std=corpus.normalisation.std, pixel_scale=1.0, source="corpus"
        )
    published = subject.known.loaded.architecture.normalisation if subject.known is not None else None
    if subject.metadata is not None and len(subject.metadata.normalisation.mean) == channels:
        chosen, source = subject.metadata.normalisation, "metadata"
    elif published is not None and len(published.mean) == channels:
        chosen, source = published, "architecture"
    else:
        chosen, source = corpus.normalisation, "corpus"
    return NormalisationInfo.model_validate(
        {"mean": chosen.mean, "std": chosen.std, "pixel_scale": corpus.pixel_scale, "source": source}
    )
