"""Studies: products, rows, seeds, bases, and what is said of bad ones."""

from __future__ import annotations

import pytest

from sparsity_audit.errors import ConfigError, SparsityAuditError, UsageError
from sparsity_audit.specs.study import expand, load_study, names_study

HEAD = 'title = "t"\nbase = "own.toml"\n'
AXES = """
[axes]
optimizer = [{ name = "adam" }, { name = "sgd", lr = 0.05 }]
"regularizer.kind" = ["l2", "wd"]
"regularizer.strength" = [1e-3, 0.0005]
"""
ROWS = """
[[row]]
id = "first"
set = { optimizer = { name = "sgd" }, "regularizer.strength" = 0.25, "data.name" = "cifar10" }
printed = { by_scale = 0.5, error = 0.25 }
note = "n"
[[row]]
id = "second"
"""


@pytest.fixture
def study(own):
    """Return a function that writes a study beside ``own.toml`` and returns its path."""

    def write(text: str) -> str:
        own.with_name("study.toml").write_text(text)
        return "study.toml"

    return write


def refused(kind, call, *arguments):
    with pytest.raises(SparsityAuditError) as failure:
        call(*arguments)
    assert type(failure.value) is kind
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_the_product_of_axes_then_rows_then_seeds(study):
    loaded = load_study(study("seeds = [3, 9]\n" + HEAD + AXES + ROWS))
    assert (loaded.id, loaded.origin, loaded.base.id) == ("study", "study.toml", "own")
    runs = expand(loaded)
    ids = [run.row_id for run in runs]
    product = [
        f"study-{optimizer}-{kind}-{strength}"
        for optimizer in ("adam", "sgd-5e-2")
        for kind in ("l2", "wd")
        for strength in ("1e-3", "5e-4")
    ]
    assert ids == [*product, "first", "second"] * 2
    assert [run.seed for run in runs] == [3] * 10 + [9] * 10
    assert all(run.spec.seed == run.seed for run in runs)
    assert len({run.spec.digest() for run in runs}) == 20


def test_what_a_run_holds(study):
    runs = {run.row_id: run for run in expand(load_study(study(HEAD + AXES + ROWS)))}
    crossed = runs["study-sgd-5e-2-wd-5e-4"]
    assert (crossed.spec.optimizer.name, crossed.spec.optimizer.lr) == ("sgd", 0.05)
    assert crossed.spec.regularizer.model_dump() == {"kind": "wd", "strength": 5e-4, "on": "weights"}
    assert (crossed.printed, crossed.note) == (None, None)
    # A table replaces its section: the base's 5e-4 is gone.
    assert runs["study-adam-l2-1e-3"].spec.optimizer.lr == 1e-3
    first = runs["first"]
    assert (first.spec.optimizer.lr, first.spec.regularizer.strength, first.spec.data.test_size) == (0.1, 0.25, None)
    assert (first.printed.by_scale, first.printed.error, first.note) == (0.5, 0.25, "n")
    assert first.seed == 0  # a study's seeds, not the base's
    assert runs["second"].spec.optimizer.lr == 5e-4


def test_a_base_beside_the_study_and_paths_from_each_file(own, tmp_path):
    (tmp_path / "bases").mkdir()
    base = own.read_text().replace('"digits"', '"imagefolder:photos"')
    (tmp_path / "bases" / "b.toml").write_text(base)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "s.toml").write_text(
        'title = "t"\nbase = "../bases/b.toml"\n[[row]]\nid = "a"\n[[row]]\nid = "b"\nset = {"data.name" = "parquet:p"}'
    )
    a, b = expand(load_study("studies/s.toml"))
    assert a.spec.data.name == f"imagefolder:{tmp_path / 'bases' / 'photos'}"
    assert b.spec.data.name == f"parquet:{tmp_path / 'studies' / 'p'}"


def test_a_base_without_an_ending_lies_beside_the_study_wherever_we_are(own, study, monkeypatch, tmp_path):
    own.with_name("bare").write_text(own.read_text())
    path = own.with_name(study('title = "t"\nbase = "bare"\n' + ROWS))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_study(str(path)).base.id == "bare"


def test_shipped_studies_and_bases(zoo, own):
    (zoo / "studies" / "table.toml").write_text('title = "t"\nbase = "small"\n' + ROWS)
    loaded = load_study("table")
    assert (loaded.id, loaded.origin, loaded.base.origin) == ("table", "zoo:table", "zoo:small")
    assert [run.row_id for run in expand(loaded)] == ["first", "second"]
    assert (names_study("table"), names_study("small"), names_study("absent")) == (True, False, False)
    assert names_study("own.toml") is False
    assert "(did you mean 'table'?)" in refused(UsageError, load_study, "tabel")
    assert "a spec, not a study" in refused(UsageError, load_study, "own.toml")
    own.with_name("mine.toml").write_text('title = "t"\nbase = "small"\n' + ROWS)
    assert names_study("mine.toml") is True
    assert load_study("mine.toml").base.origin == "zoo:small"


@pytest.mark.usefixtures("zoo")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD, ["study.toml", "nothing to train"]),
        (HEAD + ROWS + '[[row]]\nid = "first"', ["'first'", "twice"]),
        (HEAD + '[axes]\n"optimizer.lr" = [1e-3, 0.001]', ["study.toml", "'study-1e-3'", "twice"]),
        (HEAD + '[axes]\n"optimizer.lr" = []', ["axes.optimizer.lr"]),
        (HEAD + '[axes]\n"optimizer.lr" = 0.1', ["axes.optimizer.lr", "list"]),
        (HEAD + "seeds = []\n" + ROWS, ["seeds"]),
        (HEAD.replace("own", "absent") + ROWS, ["study.toml: base: ", "absent.toml", "No such file"]),
        (HEAD.replace("own.toml", "smal") + ROWS, ["study.toml: base: ", "'smal'", "did you mean 'small'"]),
        (HEAD.replace("own", "study") + ROWS, ["study.toml: base: ", "is a study"]),
        (HEAD.replace("own.toml", "a\\u0000b/") + ROWS, ["study.toml: base: "]),
        (HEAD + '[[row]]\nid = "Bad Id"', ["study.toml", "id"]),
        ("x = [", ["study.toml: not TOML"]),
    ],
)
def test_bad_studies(study, text, said):
    path = study(text)

    def whole() -> None:
        expand(load_study(path))

    found = refused(ConfigError, whole)
    for part in said:
        assert part in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('"optimizer.lrr" = 1', ["did you mean 'lr'"]),
        ('"optimizer.name" = "agam"', ["'adam'"]),
        ('"batch_size.x" = 1', ["batch_size.x", "no table"]),
        ('"optimizer." = 1', ["empty key"]),
        ('"schedule.total" = 10', ["milestones"]),
        ("seed = 3", ["seeds"]),
    ],
)
def test_bad_rows_are_named_with_their_file_and_key(study, change, said):
    loaded = load_study(study(HEAD + '[[row]]\nid = "good"\n[[row]]\nid = "bad"\nset = { ' + change + " }"))
    found = refused(ConfigError, expand, loaded)
    assert found.startswith("study.toml: row bad: ")
    for part in said:
        assert part in found
