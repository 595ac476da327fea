"""``sparsity-audit schema``: the JSON Schema of every file format."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    """File formats of the project."""

    REPORT = "report"
    PLAN = "plan"
    PRUNE_REPORT = "prune-report"
    RULES = "rules"
    CONFIG = "config"
    SPEC = "spec"
    STUDY = "study"
    RECORD = "record"
    MANIFEST = "manifest"
    CLAIMS = "claims"
    METADATA = "metadata"
    DIFF = "diff"


def schema(name: Annotated[Format, typer.Argument(help="File format.")]) -> None:
    """Print the JSON Schema of a file format."""
    import json

    from pydantic import BaseModel

    from sparsity_audit.schema import (
        claim,
        config,
        diff,
        manifest,
        plan,
        prune_report,
        record,
        report,
        rule,
        spec,
        study,
    )

    documents: dict[Format, type[BaseModel]] = {
        Format.REPORT: report.AuditReport,
        Format.PLAN: plan.PruningPlan,
        Format.PRUNE_REPORT: prune_report.PruneReport,
        Format.RULES: rule.RulePack,
        Format.CONFIG: config.AuditConfig,
        Format.SPEC: spec.ZooSpec,
        Format.STUDY: study.StudySpec,
        Format.RECORD: record.TrainingRecord,
        Format.MANIFEST: manifest.ManifestSpec,
        Format.CLAIMS: claim.ClaimList,
        Format.METADATA: spec.ModelMetadata,
        Format.DIFF: diff.ReportDiff,
    }
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **documents[name].model_json_schema()}
    typer.echo(json.dumps(described, indent=2))
