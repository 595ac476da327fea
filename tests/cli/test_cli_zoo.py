"""``zoo list | show``: what is listed, and that what is shown can be trained again."""

from __future__ import annotations

import json

import pytest
from cli_helpers import call, run_program

from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.schema.study import StudySpec
from sparsity_audit.specs import sources
from sparsity_audit.specs.load import load_spec

SPEC = """
network = { name = "basicnet", first = 8, width = 0.125, head = [32] }
data = { name = "digits", test_size = 397, flip = false }
optimizer = { name = "adam" }
regularizer = { kind = "wd", strength = 1e-2 }
schedule = { unit = "epochs", total = 20 }
batch_size = 40
"""
STUDY = """
title = "Optimizers"
source = "Table 77"
base = "small"
seeds = [2, 3]
[[row]]
id = "adam-row"
printed = { by_scale = 0.4, error = 0.105, layers = [0.5, 0.25] }
note = "a note on Adam"
[[row]]
id = "sgd-row"
set = { optimizer = { name = "sgd" }, "regularizer.kind" = "l2" }
[[reference]]
id = "li-row"
source = "Li et al."
printed = { pruned_error = 0.066 }
[[conflict]]
what = "Two numbers"
found = ["46 (Table 1)", "47 (Table 2)"]
chosen = "both"
"""


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """Return a folder in place of the shipped zoo, with a spec and a study."""
    folder = tmp_path / "zoo"
    (folder / "studies").mkdir(parents=True)
    (folder / "small.toml").write_text(SPEC)
    (folder / "studies" / "table77.toml").write_text(STUDY)
    monkeypatch.setattr(sources, "packaged", lambda _: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def line_of(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return line.split()


@pytest.mark.usefixtures("zoo")
def test_list_has_specs_then_rows_with_printed_percentages(capsys):
    listed = call(capsys, "zoo", "list")
    assert listed.code == 0
    assert "table77: Optimizers (Table 77)" in listed.out
    assert line_of(listed.out, "small")[-2:] == ["20", "epochs"]
    assert line_of(listed.out, "adam-row")[-2:] == ["40", "10.5"]
    assert line_of(listed.out, "sgd-row")[-2:] == ["20", "epochs"]
    assert "sgd 0.1, l2 1e-2" in listed.out
    assert listed.out.index("small") < listed.out.index("adam-row")
    assert "li-row" not in listed.out
    assert "activation %" not in listed.out  # no row has one


@pytest.mark.usefixtures("zoo")
def test_list_filters_by_id_and_by_settings(capsys):
    by_settings = call(capsys, "zoo", "list", "SGD 0.1").out
    assert "sgd-row" in by_settings
    assert "adam-row" not in by_settings
    assert "specs" not in by_settings
    by_id = call(capsys, "zoo", "list", "adam-r").out
    assert "adam-row" in by_id
    assert "sgd-row" not in by_id
    call(capsys, "zoo", "list", "lion").refused("'lion'")


@pytest.mark.usefixtures("zoo")
@pytest.mark.parametrize("arguments", [("list", "--study", "table77"), ("show", "table77")])
def test_a_study_with_all_it_holds(capsys, arguments):
    shown = call(capsys, "zoo", *arguments)
    assert shown.code == 0
    for part in (
        "table77: Optimizers (Table 77)",
        "base small, seeds 2, 3",
        "adam-row: a note on Adam",
        "Li et al.",
        "conflict: Two numbers",
        "found: 47 (Table 2)",
        "chosen: both",
    ):
        assert part in shown.out
    assert line_of(shown.out, "li-row")[-1] == "6.6"


@pytest.mark.usefixtures("zoo")
def test_a_filtered_study_keeps_the_notes_of_its_rows_alone(capsys):
    shown = call(capsys, "zoo", "list", "--study", "table77", "sgd").out
    assert "sgd-row" in shown
    assert "a note on Adam" not in shown


@pytest.mark.usefixtures("zoo")
def test_a_study_of_ones_own(capsys, tmp_path):
    (tmp_path / "mine.toml").write_text('title = "M"\nbase = "small"\n[axes]\n"optimizer.name" = ["adam", "sgd"]')
    assert "mine-sgd" in call(capsys, "zoo", "show", "mine.toml").out
    assert "mine-adam" in call(capsys, "zoo", "list", "--study", "mine.toml").out


@pytest.mark.usefixtures("zoo")
def test_what_show_says_above_a_spec(capsys):
    shown = call(capsys, "zoo", "show", "adam-row")
    comments = [line for line in shown.out.splitlines() if line.startswith("#")]
    said = "\n".join(comments)
    for part in (
        "zoo:adam-row",
        "study table77: Optimizers (Table 77)",
        "printed: 40 % inactive by scale, error 10.5 %, by scale layer by layer 50 25 %",
        "note: a note on Adam",
        f"digest: {load_spec('adam-row').spec.digest()}",
        "steps: 700, learning rates sum to 0.7",  # 20 epochs of 1,400 digits in batches of 40
        "decay budget: 7 e-folds",
    ):
        assert part in said
    changed = call(capsys, "zoo", "show", "adam-row", "--set", "regularizer.kind=l2").out
    assert "# --set regularizer.kind=l2" in changed
    assert "printed without --set: 40 %" in changed
    assert "decay budget: none" in changed
    unknown = call(capsys, "zoo", "show", "small", "--set", "data.name=imagefolder:x").out
    assert "steps:" not in unknown


@pytest.mark.usefixtures("zoo")
@pytest.mark.parametrize("name", ["small", "sgd-row"])
@pytest.mark.parametrize(
    "sets", [[], ["optimizer.name=rmsprop", "observe.history_every=5"], ["data.name=parquet:a\nb", "seed=4"]]
)
def test_what_show_prints_can_be_trained_again(capsys, tmp_path, name, sets):
    options = [part for text in sets for part in ("--set", text)]
    shown = call(capsys, "zoo", "show", name, *options)
    assert shown.code == 0
    (tmp_path / "again.toml").write_text(shown.out, "utf-8")
    spec = load_spec(name, sets).spec
    assert load_spec("again.toml").spec == spec
    as_json = json.loads(call(capsys, "zoo", "show", name, *options, "--json").out)
    assert ZooSpec.model_validate(as_json) == spec


@pytest.mark.usefixtures("zoo")
def test_json_of_a_study(capsys):
    shown = json.loads(call(capsys, "zoo", "show", "table77", "--json").out)
    assert StudySpec.model_validate(shown).row[0].id == "adam-row"


@pytest.mark.usefixtures("zoo")
def test_bad_names_and_options(capsys):
    call(capsys, "zoo", "show", "adam_row").refused("did you mean 'adam-row'")
    call(capsys, "zoo", "show", "absent.toml").refused("absent.toml", "No such file")
    call(capsys, "zoo", "show", "table77", "--set", "seed=3").refused("table77 is a study")
    call(capsys, "zoo", "show", "small", "--set", "seed").refused("--set 'seed'", "'='")
    call(capsys, "zoo", "show", "small", "--set", "optimizer.lrr=3").refused("zoo:small with --set", "'lr'")
    call(capsys, "zoo", "list", "--study", "tabel77").refused("did you mean 'table77'")


@pytest.mark.usefixtures("zoo")
def test_text_of_a_file_cannot_act_on_the_terminal(capsys, tmp_path):
    (tmp_path / "evil.toml").write_text('title = "a\\u001b[2Jb"\nbase = "small"\n[[row]]\nid = "r"\nnote = "x\\ny"')
    shown = call(capsys, "zoo", "show", "evil.toml")
    assert shown.code == 0
    assert "\x1b" not in shown.out
    assert "r: x y" in shown.out


def test_list_and_show_import_no_torch():
    code = (
        "import sys; from sparsity_audit.cli.main import exit_code\n"
        "codes = [exit_code(['zoo', 'list']), exit_code(['zoo', 'show', 'digits-adam-l2'])]\n"
        "assert codes == [0, 0] and 'torch' not in sys.modules"
    )
    done = run_program(code=code)
    assert done.code == 0, done.err
    assert "digits-adam-l2" in done.out
