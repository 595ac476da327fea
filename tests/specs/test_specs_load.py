"""From a path, a shipped id or a row id to a resolved spec; what cannot be found or does not fit."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sparsity_audit.errors import ConfigError, SparsityAuditError, UsageError
from sparsity_audit.specs.load import load_spec

STUDY = """
title = "t"
base = "small"
seeds = [4, 5]
[[row]]
id = "row-a"
set = { "regularizer.strength" = 0.5 }
printed = { error = 0.1 }
note = "a note"
[[row]]
id = "row-b"
"""


def refused(kind, *arguments, **options):
    with pytest.raises(SparsityAuditError) as failure:
        load_spec(*arguments, **options)
    assert type(failure.value) is kind
    assert "\n" not in str(failure.value)
    return str(failure.value)


@pytest.mark.parametrize("name", ["own.toml", "./own.toml", "plain"])
def test_a_file_by_path(own, name):
    own.with_name("plain").write_text(own.read_text())
    named = load_spec(name)
    assert (named.id, named.origin) == (name.removeprefix("./").removesuffix(".toml"), name.removeprefix("./"))
    assert (named.printed, named.note, named.study) == (None, None, None)
    assert named.spec.optimizer.model_dump() == {"name": "adam", "lr": 5e-4, "betas": [0.8, 0.9], "eps": 1e-8}
    assert (named.spec.seed, named.spec.data.name) == (7, "digits")


@pytest.mark.usefixtures("own")
def test_sets_come_after_the_file_and_the_seed_last():
    named = load_spec("own.toml", ["optimizer.name=sgd", "seed=8", "regularizer.kind=none"])
    assert named.spec.optimizer.model_dump() == {
        "name": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "dampening": 0.0,
        "nesterov": False,
    }
    assert (named.spec.seed, named.spec.regularizer.strength) == (8, 0.0)
    assert load_spec("own.toml", ["seed=8"], seed=9).spec.seed == 9
    assert load_spec("own.toml", seed=0).spec.seed == 0


def test_what_sets_supply_may_be_missing_in_the_file(own):
    own.write_text(own.read_text().replace("batch_size = 40", ""))
    assert "batch_size is missing" in refused(ConfigError, "own.toml")
    assert load_spec("own.toml", ["batch_size=20"]).spec.batch_size == 20


def test_paths_of_photographs_start_from_the_file_and_from_here(own, tmp_path):
    folder = tmp_path / "deeper"
    folder.mkdir()
    (folder / "photos.toml").write_text(own.read_text().replace('"digits"', '"imagefolder:photos"'))
    assert load_spec("deeper/photos.toml").spec.data.name == f"imagefolder:{folder / 'photos'}"
    named = load_spec("deeper/photos.toml", ["data.name=parquet:shards"])
    assert named.spec.data.name == f"parquet:{tmp_path / 'shards'}"
    assert named.spec.data.test_size is None


def test_a_shipped_spec(zoo):
    named = load_spec("small", seed=3)
    assert (named.id, named.origin, named.spec.seed) == ("small", "zoo:small", 3)
    (zoo / "broken.toml").write_text("x = [")
    assert refused(ConfigError, "broken").startswith("zoo:broken: not TOML")


@pytest.mark.usefixtures("zoo")
def test_a_folder_named_like_a_shipped_spec_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    assert load_spec("small").origin == "zoo:small"
    (tmp_path / "other").mkdir()
    assert "no file of that name" in refused(UsageError, "other")


def test_a_row_of_a_shipped_study(zoo):
    (zoo / "studies" / "table.toml").write_text(STUDY)
    named = load_spec("row-a")
    assert (named.id, named.origin, named.study, named.note) == ("row-a", "zoo:row-a", "table", "a note")
    assert named.printed is not None
    assert named.printed.error == 0.1
    assert (named.spec.regularizer.strength, named.spec.seed) == (0.5, 4)
    assert load_spec("row-a", ["seed=9", "regularizer.strength=0.25"]).spec.regularizer.strength == 0.25
    assert load_spec("row-a", ["seed=9"]).spec.seed == 9
    assert load_spec("row-b").spec.regularizer.strength == 1e-3


def test_unknown_names(zoo):
    (zoo / "studies" / "table.toml").write_text(STUDY)
    assert "(did you mean 'row-a'?)" in refused(UsageError, "row_a")
    assert "(did you mean 'small'?)" in refused(UsageError, "smal")
    assert "(did you mean 'table'?)" in refused(UsageError, "tabel")
    assert "zoo list" in refused(UsageError, "qqqqqqqqqqqq")
    refused(UsageError, "")
    refused(UsageError, "x" * 5000)
    refused(UsageError, "a\0b")


def test_a_study_is_not_a_spec(zoo, own):
    (zoo / "studies" / "table.toml").write_text(STUDY)
    said = refused(UsageError, "table")
    assert said.startswith("zoo:table: a study of 2 rows (row-a, row-b)")
    assert "name one of its rows" in said
    own.write_text('title = "t"\nbase = "small"\n[axes]\nseed_ = [1]\n"regularizer.kind" = ["l2", "wd", "none"]')
    assert refused(UsageError, "own.toml").startswith("own.toml: a study of 3 rows (own-1-l2, own-1-wd, …)")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("sets", "kind", "said"),
    [
        (["optimizer.lrr=1"], ConfigError, ["own.toml with --set optimizer.lrr=1", "did you mean 'lr'"]),
        (["optimiser.lr=1"], ConfigError, ["--set", "optimiser is an unknown key", "'optimizer'"]),
        (["optimizer.name=agam"], ConfigError, ["--set", "'adam'"]),
        (["batch_size=many"], ConfigError, ["--set batch_size=many", "batch_size 'many'"]),
        (["batch_size.x=1"], UsageError, ["own.toml with --set", "batch_size is no table"]),
        (["batch_size"], UsageError, ["--set 'batch_size'"]),
        (["optimizer=sgd"], ConfigError, ["optimizer"]),
    ],
)
def test_bad_sets(sets, kind, said):
    found = refused(kind, "own.toml", sets)
    for part in said:
        assert part in found


@pytest.mark.usefixtures("own")
def test_bad_seeds():
    assert "seed" in refused(ConfigError, "own.toml", seed=-1)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"x = [", "not TOML"), (b"\xff\xfe", "not UTF-8"), (b"x = " + b"[" * 100_000, "own.toml"), (b"", "is missing")],
)
def test_files_that_hold_no_spec(own, content, said):
    own.write_bytes(content)
    found = refused(ConfigError, "own.toml")
    assert found.startswith("own.toml: ")
    assert said in found


@pytest.mark.usefixtures("own")
def test_files_that_are_not_there(tmp_path):
    assert refused(ConfigError, "absent.toml") == "absent.toml: cannot read the spec: No such file or directory"
    assert "irectory" in refused(ConfigError, f"{tmp_path}/")


def test_loading_imports_no_torch():
    code = (
        "import sys; from sparsity_audit.specs.load import load_spec; load_spec('digits-adam-l2', ['seed=1']); "
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
