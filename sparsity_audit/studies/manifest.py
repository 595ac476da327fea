"""Reading a manifest: models trained elsewhere, with their files found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparsity_audit.errors import ConfigError
from sparsity_audit.schema.manifest import ManifestSpec
from sparsity_audit.schema.reading import read_toml
from sparsity_audit.schema.spec import TrainingSettings
from sparsity_audit.schema.validating import validate


@dataclass(frozen=True)
class ManifestModel:
    """A model and what its owner says of it; what is not known is None."""

    name: str
    path: Path
    """It is there; whether it is a model, reading it will show."""
    seed: int | None
    training: TrainingSettings
    test_error: float | None
    group: str | None
    """See ``ManifestEntry.group``."""
    steps: int | None


def read_manifest(path: Path) -> list[ManifestModel]:
    """Return the models of a manifest, in order.

    Raises:
        ConfigError: one line on a file that cannot be read or does not fit its schema, or a model that is not there.
    """
    where = str(path)
    manifest = validate(ManifestSpec, read_toml(path, "manifest"), where)
    return [
        ManifestModel(
            name=entry.name,
            path=_found(entry.path, path.parent, f"{where}: model {entry.name!r}"),
            seed=entry.seed,
            training=TrainingSettings(
                optimizer=entry.optimizer, regularizer=entry.regularizer, batch_size=entry.batch_size
            ),
            test_error=entry.test_error,
            group=entry.group,
            steps=entry.steps,
        )
        for entry in manifest.model
    ]


def _found(name: str, folder: Path, where: str) -> Path:
    try:
        target = folder / Path(name).expanduser()
        there = target.exists()
    except (OSError, RuntimeError, ValueError):  # a name that cannot be: too long, ~nobody, with a NUL
        there = False
    if not there:
        raise ConfigError(f"{where}: path: no file {name!r}; paths are relative to the manifest")
    return target
