"""One ``*.audit.toml`` as a session: its rules, its ratchet, and the audit of each of its models."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.checkpoints.norms import conv_layers, pair_norms
from sparsity_audit.engine.configuration import load_configuration
from sparsity_audit.engine.rulepacks import apply_limits, choose, load_rules
from sparsity_audit.engine.session import Session
from sparsity_audit.errors import ConfigError, SparsityAuditError
from sparsity_audit.integrations.pytest_store import Store
from sparsity_audit.outputs import check_outputs
from sparsity_audit.ratchet.ratchet import load_ratchet
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import AuditReport, SessionError
from sparsity_audit.schema.rule import Rule
from sparsity_audit.studies.together import names_study


class Audit:
    """What an audit file asks for. Reading it reads no model."""

    def __init__(self, path: Path, *, trust_code: bool) -> None:
        self.config, self.file = load_configuration({}, file=path)
        known = apply_limits(load_rules(self.config.rules), self.config.limits, str(path))
        chosen = choose(known, self.config.select, self.config.ignore)
        # Rules on several runs together have their place in `run` and `compare`; here every item is one model's.
        self.rules = [rule for rule in chosen if rule.scope != "study"]
        self.ratchet = load_ratchet(self.config, known, str(path), datetime.datetime.now(datetime.UTC).date())
        self.trust_code = trust_code
        self._session: Session | None = None
        if not self.config.models:
            raise ConfigError(f'{path}: names no model: models = ["model.safetensors"]')
        read = [*self.config.models, *self.config.rules, str(path), *filter(None, [self.config.baseline])]
        check_outputs(self.config.outputs, read)

    def report(self, model: str, rules: Sequence[Rule], store: Store) -> AuditReport:
        """Return the report on one model, audited now unless another process did.

        Args:
            rules: those that the session has items of; the others are not checked.
        """
        return store.get(f"{self.file}\0{model}", lambda: self._audited(model, rules))

    def _audited(self, model: str, rules: Sequence[Rule]) -> AuditReport:
        session = Session(
            self.config,
            rules,
            config_file=self.file,
            trust_code=self.trust_code,
            judge=self.ratchet.stand if self.ratchet is not None else None,
        )
        if self._session is not None:
            session.corpora = self._session.corpora  # each split is read once
        self._session = session
        try:
            return session.run([model])
        except SparsityAuditError as failure:  # data, device: the same for every model, and told of each
            session.errors.append(SessionError(path=model, message=str(failure)))
            return session.report()


def check_model(path: str) -> None:
    """Find out what can be told from a model's path and header before it is audited.

    Raises:
        SparsityAuditError: it is not there, or its header is damaged.
    """
    if names_study(path):
        raise ConfigError(f"{path}: is a study; run it with sparsity-audit run, an audit file is for models")
    if Path(path).suffix == ".toml":
        raise ConfigError(f"{path}: is a spec; name the run folder that train leaves, an audit file is for models")
    if Path(path).suffix == ".safetensors" or not Path(path).exists():
        read_checkpoint(Path(path))


def layer_keys(path: str, config: AuditConfig) -> list[str]:
    """Return keys of layers that an audit may find, from names and shapes alone.

    Only the header of a safetensors file is read; other containers have none, and torch reads them.

    Raises:
        CheckpointError: it cannot be read.
    """
    tensors = read_checkpoint(Path(path)).tensors
    if config.data is not None or config.arch is not None:
        return list(conv_layers(tensors))
    return [conv or norm for norm, conv in pair_norms(tensors).items()]
