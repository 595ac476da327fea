"""What is shipped: complete, resolvable, each id once."""

from __future__ import annotations

from collections import Counter

import pytest

from sparsity_audit.errors import ConfigError
from sparsity_audit.specs.catalogue import Entry, catalogue
from sparsity_audit.specs.load import load_spec
from sparsity_audit.specs.sources import shipped_ids
from sparsity_audit.specs.study import expand, load_study

STUDY = 'title = "t"\nbase = "small"\n[[row]]\nid = "{0}-a"\nprinted = {{ error = 0.5 }}\n[[row]]\nid = "{0}-b"\n'


def test_specs_come_first_then_studies_by_number(zoo):
    for number in (10, 2):
        (zoo / "studies" / f"table{number}.toml").write_text(STUDY.format(f"table{number}"))
    (zoo / "__init__.py").write_text("")
    (zoo / "checkpoints").mkdir()
    entries = catalogue()
    assert [entry.id for entry in entries] == ["small", "table2-a", "table2-b", "table10-a", "table10-b"]
    line = "basicnet 8-0.125x head 32, digits, adam 5e-4, l2 1e-3 on weights, batch 40, 100 iterations"
    assert entries[0] == Entry("small", "spec", None, line, None)
    assert (entries[3].kind, entries[3].study, entries[3].printed.error) == ("row", "table10", 0.5)
    assert (entries[4].printed, entries[4].summary) == (None, line)


def test_a_zoo_without_studies(zoo):
    (zoo / "studies").rmdir()
    assert [entry.id for entry in catalogue()] == ["small"]


def test_a_bad_shipped_file_is_named(zoo):
    (zoo / "bad.toml").write_text("network = 3")
    with pytest.raises(ConfigError, match="zoo:bad: "):
        catalogue()


def test_every_shipped_id_stands_for_one_thing():
    names = [entry.id for entry in catalogue()] + shipped_ids("study")
    assert [name for name, times in Counter(names).items() if times > 1] == []
    for entry in catalogue()[:: max(1, len(names) // 10)]:
        assert load_spec(entry.id).printed == entry.printed


@pytest.mark.parametrize("name", shipped_ids("study"))
def test_every_shipped_study_expands_to_runs_of_its_own(name):
    study = load_study(name)
    runs = expand(study)
    assert len(runs) == len({(run.row_id, run.seed) for run in runs})
    assert {run.seed for run in runs} == set(study.spec.seeds)
