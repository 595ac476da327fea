"""Copy what is kept of finished runs into zoo/results/: record, history and audit; no weights, no snapshots.

    python scripts/collect_results.py RUNS_DIR

Runs are found by what was trained, and filed under the row and seed of the study that asks for it. What is there
already is replaced only by a run with a newer record, and completed by what a later audit adds.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from sparsity_audit.errors import CheckpointError
from sparsity_audit.files import write_whole
from sparsity_audit.specs.study import expand, load_study
from sparsity_audit.studies.audited import read_audit
from sparsity_audit.studies.locate import FoundRun, find_runs

RESULTS = Path(__file__).resolve().parent.parent / "zoo" / "results"
FOLDERS = {
    "digits-study": "digits-study",
    "cifar-quarter-study": "cifar-quarter-study",
    # Beside the study that its seed 0 belongs to, so that no run is kept twice.
    "cifar-quarter-seeds": "cifar-quarter-study",
}
"""Studies with results, and the folder that holds theirs."""
RECORD, HISTORY, AUDIT = "record.json", "history.safetensors", "audit.json"


def destinations() -> dict[str, Path]:
    """Return where each training belongs, relative to zoo/results, by its digest; the first row that asks counts."""
    places: dict[str, Path] = {}
    for study, folder in FOLDERS.items():
        for run in expand(load_study(study)):
            places.setdefault(run.spec.digest(), Path(folder) / f"{run.row_id}-seed{run.seed}")
    return places


def main() -> None:
    """Collect every run that belongs to a study, and say what was done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, metavar="RUNS_DIR")
    arguments = parser.parse_args()
    if not arguments.runs.is_dir():
        parser.error(f"no folder {arguments.runs}")
    found, places = find_runs(arguments.runs, print), destinations()
    for digest, place in places.items():
        run = found.get(digest)
        if run is not None and run.finished:
            print(f"{place}: {collect(run, RESULTS / place)}")
    there = sum((RESULTS / place / RECORD).is_file() for place in places.values())
    audited = sum((RESULTS / place / AUDIT).is_file() for place in places.values())
    print(f"{there} of {len(places)} runs in {RESULTS.name}, {audited} of them audited")


def collect(run: FoundRun, target: Path) -> str:
    """Bring a result up to date with a finished run, and return in words what was done.

    Files keep their time of change, so that a result knows how old it is.
    """
    kept, record = target / RECORD, run.path / RECORD
    if kept.is_file() and kept.read_bytes() != record.read_bytes():
        if record.stat().st_mtime <= kept.stat().st_mtime:
            return "kept: newer than the run"
        for name in (AUDIT, HISTORY, RECORD):  # they speak of other weights; the record last, it says what was there
            (target / name).unlink(missing_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    done = [
        _copy(run.path / HISTORY, target / HISTORY),
        _copy(run.audit, target / AUDIT, _audit_text(run, target.name)),
    ]
    done.append(_copy(record, kept))
    return "; ".join(filter(None, done)) or "up to date"


def _copy(source: Path, target: Path, content: bytes | None = None) -> str:
    """Write a file where it is missing or older, and return what was done; nothing where there is no source."""
    if not source.is_file() or (source.name == AUDIT and content is None):
        return ""
    content = source.read_bytes() if content is None else content
    time = source.stat().st_mtime_ns
    if target.is_file():
        if target.read_bytes() == content:
            return ""
        if time <= target.stat().st_mtime_ns:
            return f"{target.name} kept: newer"
    write_whole(target, content)
    os.utime(target, ns=(time, time))
    return f"{target.name} {len(content) / 1000:.0f} kB"


def _audit_text(run: FoundRun, name: str) -> bytes | None:
    """Return a run's audit without indents, its model called by the result's name; None where there is none."""
    try:
        if read_audit(run.audit, run.model) is None:
            return None
    except CheckpointError as failure:
        print(f"left out: {failure}")
        return None
    report = json.loads(run.audit.read_bytes())
    report["models"][0]["path"] = name
    report["config"] |= {"models": [name], "data_root": None, "json": None, "markdown": None}
    report["config_file"] = None
    return json.dumps(_short(report), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _short(value: Any) -> Any:
    """Return a document whose lists have their numbers at nine digits: all that float32 has, in half the bytes."""
    if isinstance(value, dict):
        return {key: _short(part) for key, part in value.items()}
    if isinstance(value, list):
        return [float(f"{part:.9g}") if isinstance(part, float) else _short(part) for part in value]
    return value


if __name__ == "__main__":
    main()
