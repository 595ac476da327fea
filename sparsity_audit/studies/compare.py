"""A comparison from start to end: the runs of a folder, a study or a manifest, one report, one exit code."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sparsity_audit.engine.session import exit_code, tool_info
from sparsity_audit.errors import UsageError
from sparsity_audit.schema.claim import Claim
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import AuditReport, StudyReport
from sparsity_audit.schema.rule import Rule
from sparsity_audit.specs.sources import means_file
from sparsity_audit.specs.study import LoadedStudy, load_study
from sparsity_audit.studies.elsewhere import manifest_facts
from sparsity_audit.studies.gather import Gathered, gather
from sparsity_audit.studies.manifest import read_manifest
from sparsity_audit.studies.paper import beside_table
from sparsity_audit.studies.report import study_report


@dataclass(frozen=True)
class Comparison:
    """What is compared."""

    targets: Sequence[str]
    """Folders of runs, and studies by file or id."""
    runs: Path
    """The folder that the studies' runs lie in."""
    manifests: Sequence[Path] = ()
    papers: Sequence[str] = ()
    """Tables of the paper by the ids of their studies."""
    claims: Sequence[Claim] = field(default_factory=tuple)


def compare(
    comparison: Comparison, config: AuditConfig, rules: Sequence[Rule], config_file: str | None = None
) -> AuditReport:
    """Apply the study rules and the claims to every target; a manifest's models join each of them.

    Raises:
        UsageError: a target that is neither a folder nor a study.
        ConfigError: a study or a manifest that cannot be read.
        CheckpointError: a manifest's model that cannot be read.
    """
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    tables = [load_study(name) for name in comparison.papers]
    elsewhere = [manifest_facts(model) for path in comparison.manifests for model in read_manifest(path)]
    studies: list[StudyReport] = []
    for target in comparison.targets:
        study, gathered = _gathered(target, comparison.runs)
        joined = Gathered([*gathered.runs, *elsewhere], gathered.missing, gathered.notes, gathered.planned)
        name, title, source = (
            (study.id, study.spec.title, study.spec.source) if study else (target, "All runs of a folder", None)
        )
        studies.append(study_report(name, title, source, joined, rules, comparison.claims))
        studies += [beside_table(table, joined.runs) for table in tables]
    results = [result for study in studies for result in study.results]
    return AuditReport(
        tool=tool_info(config.device),
        config=config,
        config_file=config_file,
        started=started.isoformat(timespec="seconds"),
        duration_seconds=round(time.perf_counter() - clock, 3),
        exit_code=int(exit_code(results, config, unreadable=False, audited=any(s.runs for s in studies))),
        models=[],
        studies=studies,
        rules=list(rules),
    )


def _gathered(target: str, runs: Path) -> tuple[LoadedStudy | None, Gathered]:
    folder = Path(target)
    if folder.is_dir():
        return None, gather(None, folder)
    try:
        study = load_study(target)
    except UsageError as failure:
        hint = "" if means_file(target) else "; or name a folder of runs"
        raise UsageError(f"{failure}{hint}") from None
    if not runs.is_dir():
        raise UsageError(f"no folder {runs}: train the study's runs with study run, or name their folder with --runs")
    return study, gather(study, runs)
