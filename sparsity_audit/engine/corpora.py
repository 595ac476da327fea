"""The corpora of one session: each split is read once, however many models look at it."""

from __future__ import annotations

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

        root = Path(self._config.data_root) if self._config.data_root else None
        corpus = load_corpus(data, split, root, progress=tell)
        return corpus.sample(self._config.limit, self._config.seed)


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


def normalisation_for(config: AuditConfig, subject: Subject, corpus: Corpus) -> NormalisationInfo:
    """Return how pixels are scaled: the options', else the model's metadata's, its architecture's, the corpus's.

    Raises:
        UsageError: one of mean and std without the other, or not one value per channel.
    """
    channels = corpus.shape[0]
    if (config.mean is None) != (config.std is None):
        raise UsageError("--mean and --std go together: give both, or neither")
    if config.mean is not None and config.std is not None:
        if {len(config.mean), len(config.std)} != {channels}:
            raise UsageError(f"--mean and --std need {channels} values each, one per channel of {corpus.name}")
        if min(config.std) <= 0:
            raise UsageError("--std must be above 0 in every channel")
        return NormalisationInfo(mean=config.mean, std=config.std, pixel_scale=corpus.pixel_scale, source="option")
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
