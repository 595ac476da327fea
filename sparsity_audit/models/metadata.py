"""What a zoo checkpoint says of itself, under one key of its safetensors metadata."""

from __future__ import annotations

from pydantic import ValidationError

from sparsity_audit.checkpoints.checkpoint import Checkpoint
from sparsity_audit.errors import CheckpointError
from sparsity_audit.schema.spec import ModelMetadata
from sparsity_audit.schema.validating import first_problem

KEY = "sparsity_audit"


def read_metadata(checkpoint: Checkpoint) -> ModelMetadata | None:
    """Return what the checkpoint says of itself; None where it says nothing.

    Raises:
        CheckpointError: the entry is there and does not fit its schema.
    """
    text = checkpoint.metadata.get(KEY)
    if text is None:
        return None
    try:
        return ModelMetadata.model_validate_json(text)
    except ValidationError as error:
        raise CheckpointError(
            f"{checkpoint.path}: metadata entry {KEY!r} is unusable ({first_problem(error)}); "
            f"correct or remove the entry"
        ) from None


def metadata_entries(metadata: ModelMetadata) -> dict[str, str]:
    """Return the safetensors metadata that ``read_metadata`` reads back."""
    return {KEY: metadata.to_json(indent=None)}
