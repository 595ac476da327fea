"""The model under audit: its weights, and where data or an architecture was named, its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparsity_audit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from sparsity_audit.engine.describe_weights import describe_weights
from sparsity_audit.engine.findings import Findings
from sparsity_audit.errors import DataError, UsageError
from sparsity_audit.models.metadata import read_metadata
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import ArchitectureInfo
from sparsity_audit.schema.spec import ModelMetadata, TrainingSettings

if TYPE_CHECKING:
    import torch

    from sparsity_audit.data.corpus import Corpus
    from sparsity_audit.graph.feature_graph import FeatureGraph
    from sparsity_audit.models.load import LoadedModel


@dataclass(frozen=True)
class WithGraph:
    """What is known of a model whose architecture is known."""

    loaded: LoadedModel
    graph: FeatureGraph
    state: Mapping[str, torch.Tensor]
    """Parameters and buffers by path, detached."""


@dataclass(frozen=True)
class Subject:
    """A model ready to be audited."""

    path: str
    checkpoint: Checkpoint
    metadata: ModelMetadata | None
    weights: Findings | None
    """What the tensors alone say; None where the architecture is known."""
    known: WithGraph | None
    training: TrainingSettings | None

    @property
    def layer_keys(self) -> list[str]:
        """Keys of the layers that rules will be applied to."""
        if self.known is not None:
            return [layer.key for layer in self.known.graph.layers]
        return [layer.key for layer in self.weights.layers] if self.weights is not None else []

    @property
    def architecture(self) -> ArchitectureInfo | None:
        """Whose weights these are, for the report."""
        if self.known is not None:
            found = self.known.loaded.architecture
            return ArchitectureInfo(name=found.name, how=found.how, twins=list(found.twins), classes=found.classes)
        if self.metadata is not None:
            name = self.metadata.network.name
            full = name if ":" in name else f"zoo:{name}"
            return ArchitectureInfo(name=full, how="metadata", classes=len(self.metadata.classes))
        return None


def prepare(path: str, config: AuditConfig, corpus: Corpus | None, *, trust_code: bool) -> Subject:
    """Read a weight file, and find its architecture and graph where data or ``arch`` is given.

    Without either, the file alone is looked at, and torch is not imported for a safetensors file.

    Raises:
        CheckpointError, ArchitectureError, GraphError, DataError: see the rooms they come from.
    """
    checkpoint = read_checkpoint(Path(path))
    metadata = read_metadata(checkpoint)
    training = config.training or (metadata.spec.settings() if metadata and metadata.spec else None)
    if corpus is None and config.arch is None:
        return Subject(path, checkpoint, metadata, describe_weights(checkpoint), None, training)
    from sparsity_audit.models.load import load_model

    loaded = load_model(checkpoint, config.arch, trust_code=trust_code)
    return Subject(path, checkpoint, metadata, None, with_graph(loaded, corpus, config), training)


def with_graph(loaded: LoadedModel, corpus: Corpus | None, config: AuditConfig) -> WithGraph:
    """Capture a loaded model for the corpus's images, or those that its architecture was made for.

    Raises:
        DataError: images with other channels than the architecture takes.
        UsageError: no images, and an architecture that does not say what it takes.
        GraphError: the graph cannot be captured.
    """
    from torch import nn

    from sparsity_audit.graph.feature_graph import build_graph

    wanted = loaded.architecture.input_shape
    shape = corpus.shape if corpus is not None else wanted
    if shape is None:
        raise UsageError(
            f"{loaded.checkpoint.path}: {loaded.architecture.name} does not say the size of its input: give --data"
        )
    if corpus is not None and wanted is not None and shape[0] != wanted[0]:
        raise DataError(
            f"{loaded.checkpoint.path}: {loaded.architecture.name} takes images with {_channels(wanted[0])}, "
            f"those of {corpus.name} have {shape[0]}: choose another --data"
        )
    graph = build_graph(loaded.module, shape, static_batch=config.batch_size)
    # The class's own state_dict: some networks shadow methods of nn.Module by attributes of their own.
    return WithGraph(loaded, graph, nn.Module.state_dict(loaded.module))


def _channels(number: int) -> str:
    return "1 channel" if number == 1 else f"{number} channels"
