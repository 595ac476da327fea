"""``run SPEC.toml``: models that are trained first, or reused where that was done before."""

from __future__ import annotations

import sys
from pathlib import Path

from sparsity_audit.errors import UsageError
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.studies.together import names_study


def names_spec(model: str) -> bool:
    """Tell a spec from a weight file: a TOML file, or the id of a shipped spec where there is no such file."""
    if Path(model).suffix.lower() == ".toml":
        return not names_study(model)
    if Path(model).exists():
        return False
    from sparsity_audit.specs.sources import shipped_ids

    return model in shipped_ids("spec")


def with_trained_models(config: AuditConfig, *, quiet: bool, only_existing: bool) -> AuditConfig:
    """Return the configuration with run folders in place of specs, each trained by now.

    Where no data were named, they are those that the specs train on. A run goes to the folder that ``train`` gives
    it, and one that was stopped goes on.

    Args:
        only_existing: train nothing.

    Raises:
        UsageError: specs on different data with none named, or other models beside them.
        SparsityAuditError: a spec that cannot be read or trained.
    """
    specs = [model for model in config.models if names_spec(model)]
    if not specs:
        return config
    from sparsity_audit.cli.train import trained
    from sparsity_audit.cli.train_printer import TrainPrinter
    from sparsity_audit.specs.load import load_spec
    from sparsity_audit.training.run_folder import RunFolder
    from sparsity_audit.training.train import TrainOptions, default_folder

    named = {model: load_spec(model) for model in specs}
    update: dict[str, object] = {}
    if config.data is None:
        data = {spec.spec.data for spec in named.values()}
        if len(data) > 1 or len(specs) < len(config.models):
            raise UsageError("these models were not all trained on the same data: name the corpus with --data")
        (only,) = data
        update = {"data": only.name, "resize": config.resize or only.resize, "crop": config.crop or only.crop}
    folders = {model: default_folder(spec) for model, spec in named.items()}
    options = TrainOptions(True, config.device, Path(config.data_root) if config.data_root else None)
    with TrainPrinter(sys.stderr, quiet=quiet) as printer:
        for model, folder in folders.items():
            if only_existing and not RunFolder(folder).model.exists():
                raise UsageError(f"{model}: not trained yet ({folder}); leave out --collect-only")
            trained(named[model], folder, options, printer)
    paths = [str(folders[model]) if model in folders else model for model in config.models]
    return config.model_copy(update={"models": paths, **update})
