"""Plans as files: of ``prune --plan``, or a part of the reports that hold one."""

from __future__ import annotations

from typing import Any

from sparsity_audit.errors import ConfigError, UsageError
from sparsity_audit.schema.plan import PruningPlan
from sparsity_audit.schema.validating import validate


def plan_in(content: dict[str, Any], where: str, sha256: str) -> PruningPlan:
    """Return the plan that a file holds: the file itself, or a part of a report of ``prune`` or ``run``.

    Args:
        where: the file's name, for messages.
        sha256: of the model, to find its plan among those of a report of several.

    Raises:
        ConfigError: there is none, or it does not fit its schema.
        UsageError: a report that holds no plan for this model.
    """
    models = content.get("models")
    if not isinstance(models, list):
        if "plan" not in content and "layers" not in content:
            raise ConfigError(f"{where}: holds no plan: give a file of prune --plan, prune --json or run --json")
        return validate(PruningPlan, content.get("plan", content), where)
    plans = [model.get("plan") for model in models if isinstance(model, dict) and model.get("sha256") == sha256]
    found = next((plan for plan in plans if plan is not None), None)
    if found is None:
        why = "nothing can go from this model" if plans else f"no model with sha256 {sha256[:12]} is in this report"
        raise UsageError(f"{where}: holds no plan for it: {why}")
    return validate(PruningPlan, found, where)
