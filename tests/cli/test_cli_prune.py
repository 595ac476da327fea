"""``prune`` from the command line: what it writes, prints and refuses, and the code that it ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
import torch
from cli_helpers import DIGITS_MODEL, call, write_linear
from cli_prune_nets import DEAD, PLANTED, REMOVED, digits, logits, make_net, plant, save

from sparsity_audit.cli.main import exit_code
from sparsity_audit.errors import LimitError
from sparsity_audit.schema.plan import PruningPlan
from sparsity_audit.schema.prune_report import PruneReport
from sparsity_audit.slimming import session

DATA = ("--data", "digits", "--no-latency")
OUTPUTS = ("-o", "slim.safetensors", "--plan", "plan.json", "--json", "out.json", "--markdown", "out.md")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Prune the planted network of its small filters, once, and keep all that came of it."""
    folder = tmp_path_factory.mktemp("pruned")
    model = save(folder / "model.safetensors", make_net(PLANTED))
    before = model.read_bytes()
    kept = {}

    def prune(subject, *arguments):
        kept.update(subject=subject, pruned=real(subject, *arguments))
        return kept["pruned"]

    real = session.prune
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(session, "prune", prune)
        arguments = [
            "prune",
            "model.safetensors",
            "--data",
            "digits",
            "--no-latency",
            "--class",
            "small",
            *OUTPUTS,
            "-q",
        ]
        code = exit_code(arguments)
    assert model.read_bytes() == before
    report = PruneReport.model_validate_json((folder / "out.json").read_text())
    return SimpleNamespace(folder=folder, model=model, code=code, report=report, **kept)


@pytest.fixture
def stubbed(made, monkeypatch, tmp_path):
    """Let ``prune`` come to the same result again at once; return a copy of its model in this test's folder."""
    monkeypatch.setattr("sparsity_audit.cli.prune_session.prepare", lambda *_a, **_k: made.subject)
    monkeypatch.setattr(session, "prune", lambda *_a, **_k: made.pruned)
    path = tmp_path / "model.safetensors"
    path.write_bytes(made.model.read_bytes())
    return path


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_planted_goes_and_nothing_else(made):
    assert made.code == 0
    removed = {layer.key: {*layer.removed, *layer.carriers} for layer in made.report.plan.layers if layer.held}
    assert removed == {f"{key}.conv": set(filters) for key, filters in PLANTED.items()}
    for result in made.report.classes:
        assert (result.dead, result.removed) == (DEAD[result.pruning_class], REMOVED[result.pruning_class])
    kinds = {
        (layer.key.partition(".")[0], i): kind
        for layer in made.report.plan.layers
        for kind, indices in layer.classes.items()
        for i in indices
    }
    assert kinds["c2", 0] == "lossless"
    assert kinds["c6", 4] == "silent"
    assert kinds["c7", 6] == "small"


def test_the_slim_file_answers_as_the_report_says(made):
    images = digits()
    before, after = logits(made.model, images), logits(made.folder / "slim.safetensors", images)
    small = made.report.classes[-1]
    assert small.test.images == len(images) == 397
    assert small.test.changed == int((before.argmax(1) != after.argmax(1)).sum())
    assert made.report.before.images == 397
    # The small filters alone make a difference, and not much of one.
    assert 1e-6 < float((before - after).abs().max()) < 0.1


def test_the_report_is_valid_and_the_plan_is_its_own(made, capsys):
    text = (made.folder / "out.json").read_text()
    schema = json.loads(call(capsys, "schema", "prune-report").out)
    jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)
    assert made.report.to_json() + "\n" == text
    assert PruningPlan.model_validate_json((made.folder / "plan.json").read_text()) == made.report.plan
    assert (made.report.output, made.report.chosen) == ("slim.safetensors", "small")
    assert made.report.corpus.name == "digits"
    assert (made.folder / "out.md").read_text().startswith("## sparsity-audit prune: 7 of 60 filters removed (small)")


def test_the_slim_file_is_a_model_like_any_other(made, capsys):
    slim = made.folder / "slim.safetensors"
    inspected = call(capsys, "inspect", slim)
    assert inspected.code == 0
    assert "zoo:basicnet (10 classes; from the file's metadata)" in inspected.out
    ended = call(capsys, "run", slim, *DATA[:2], "--select", "SA901", "--json", "run.json", "-q")
    assert ended.code == 0
    model = json.loads(Path("run.json").read_text())["models"][0]
    assert model["totals"]["filters"] == 60 - REMOVED["small"]
    assert model["totals"]["params"] == made.report.plan.params_after
    assert model["totals"]["macs"] == made.report.plan.macs_after


def test_a_slim_model_is_pruned_again_and_nothing_goes(made, capsys):
    slim = made.folder / "slim.safetensors"
    ended = call(capsys, "prune", slim, *DATA, "--class", "small", "-o", "again.safetensors", "--json", "out.json")
    assert (ended.code, ended.err) == (0, "")
    assert "no filter can go, small ones included" in ended.out
    assert "again.safetensors was not written: there is nothing to remove" in ended.out
    assert files(Path()) == ["out.json"]
    report = PruneReport.model_validate_json(Path("out.json").read_text())
    assert (report.output, report.plan.params_after) == (None, report.params)


def test_lossless_is_the_default_and_dry_runs_tell_everything(made, capsys):
    files_asked = ("--plan", "plan.json", "--json", "out.json", "--markdown", "out.md", "-o", "slim.safetensors")
    ended = call(capsys, "prune", made.model, *DATA[:2], "--dry-run", *files_asked)
    assert (ended.code, ended.err) == (0, "")
    assert files(Path()) == ["out.json", "out.md", "plan.json"]
    for words in (
        "session starts",
        "digits, train split, 1,400 of 1,400 images",
        "changed predictions of 397",
        "- removed: lossless -",
        "- verification -",
        "- latency -",
        "1 more filter goes with --class silent: 0 of 397 predictions change",
        "slim.safetensors was not written: --dry-run",
        "4 of 60 filters removed (lossless)",
    ):
        assert words in ended.out
    report = PruneReport.model_validate_json(Path("out.json").read_text())
    assert report.classes[0].test.changed == 0
    assert [row.batch_size for row in report.latency] == [1, 8, 64]
    assert max(map(len, ended.out.splitlines()[3:])) <= 100
    assert "nan" not in ended.out


def test_without_data_the_weights_decide(made, capsys):
    ended = call(capsys, "prune", made.model, "--class", "small", "-o", "slim.safetensors", "--json", "out.json")
    assert ended.code == 0
    assert "without --data no filter is known to be silent" in ended.out
    report = PruneReport.model_validate_json(Path("out.json").read_text())
    assert (report.corpus, report.before) == (None, None)
    assert [result.dead for result in report.classes] == [5, 5, 8]  # c6's silent filter is not known
    images = digits()
    before, after = logits(made.model, images), logits(Path("slim.safetensors"), images)
    assert float((before - after).abs().max()) < 0.1
    call(capsys, "prune", made.model, "--class", "silent", "--dry-run").refused("--class silent", "--data")
    call(capsys, "prune", made.model, "--max-error-increase", "0.1", "--dry-run").refused("--max-error", "--data")


def test_a_layer_whose_filters_are_all_dead_keeps_one(tmp_path, capsys):
    dead = {"c6": dict.fromkeys(range(16), (0.0, -0.5))}
    model = save(tmp_path / "m.safetensors", plant(make_net({}), dead))
    ended = call(capsys, "prune", model, *DATA, "-o", "slim.safetensors", "--plan", "plan.json", "-q")
    assert ended.code == 0
    plan = PruningPlan.model_validate_json(Path("plan.json").read_text())
    layer = next(layer for layer in plan.layers if layer.key == "c6.conv")
    assert len(layer.removed) == 15
    images = digits()
    assert torch.allclose(logits(model, images), logits(Path("slim.safetensors"), images), atol=1e-5)


@pytest.mark.usefixtures("stubbed")
def test_the_configuration_says_where_the_data_are_and_its_outputs_are_those_of_run(capsys, tmp_path):
    Path("sparsity-audit.toml").write_text('data = "digits"\nlimit = 50\njson = "run.json"\nmarkdown = "run.md"\n')
    ended = call(capsys, "prune", "model.safetensors", "--class", "silent", "-o", "slim.safetensors")
    assert ended.code == 0
    assert "configuration: sparsity-audit.toml" in ended.out
    assert files(tmp_path) == ["model.safetensors", "slim.safetensors", "sparsity-audit.toml"]
    over = call(capsys, "prune", "model.safetensors", "--dry-run", "--plan", "sparsity-audit.toml")
    over.refused("--plan sparsity-audit.toml", "input")


def test_quiet_prints_the_summary_only(stubbed, capsys):
    ended = call(capsys, "prune", stubbed, *DATA, "--dry-run", "-q")
    lines = ended.out.splitlines()
    assert lines[0].strip("= ") == "summary"
    assert "7 of 60 filters removed (small)" in lines[-1]
    assert len(lines) == 3


def test_options_reach_the_session(stubbed, capsys, monkeypatch, made):
    seen = []
    monkeypatch.setattr(session, "prune", lambda *arguments: seen.append(arguments[3]) or made.pruned)
    options = ["--class", "small", "--threshold", "0.01", "--round-to", "8", "--min-width", "2", "--scatter", "never"]
    options += ["--max-error-increase", "0.25", "--objective", "macs"]
    assert call(capsys, "prune", stubbed, *DATA, *options, "--dry-run").code == 0
    (given,) = seen
    assert (given.pruning_class, given.gamma_threshold, given.round_to, given.min_width) == ("small", 0.01, 8, 2)
    assert (given.scatter, given.max_error_increase, given.objective) == ("never", 0.25, "macs")
    assert not given.latency


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["-o FILE.safetensors", "--dry-run"]),
        (["-o", "slim.pt"], ["-o slim.pt", "safetensors"]),
        (["-o", "slim"], ["-o slim", "slim.safetensors"]),
        (["-o", "model.safetensors"], ["-o model.safetensors", "input"]),
        (["-o", "link.safetensors"], ["-o link.safetensors", "input"]),
        (["-o", "folder.safetensors"], ["-o folder.safetensors", "is a folder"]),
        (["-o", "absent/slim.safetensors"], ["-o absent", "folder absent"]),
        (["-o", "s.safetensors", "--json", "s.safetensors"], ["--json s.safetensors", "-o"]),
        (["--dry-run", "--plan", "x", "--markdown", "./x"], ["--markdown ./x", "--plan"]),
        (["--dry-run", "--json", "model.safetensors"], ["--json model.safetensors", "input"]),
        (["--dry-run", "--class", "harmless"], ["harmless", "lossless"]),
        (["--dry-run", "--threshold", "nan"], ["--threshold nan"]),
        (["--dry-run", "--threshold", "-1"], ["--threshold -1"]),
        (["--dry-run", "--max-error-increase", "nan"], ["--max-error-increase nan"]),
        (["--dry-run", "--max-error-increase", "2"], ["--max-error-increase 2", "from 0 to 1"]),
        (["--dry-run", "--objective", "macs"], ["--objective", "--max-error-increase"]),
        (["--dry-run", "--round-to", "0"], ["--round-to"]),
        (["--dry-run", "--min-width", "0"], ["--min-width"]),
        (["--dry-run", "--mean", "a", "--std", "1"], ["--mean"]),
        (["--dry-run", "--mean", "0.5"], ["--std"]),
        (["--dry-run", "--limit", "0"], ["--limit 0"]),
        (["--dry-run", "--device", "warp"], ["--device warp"]),
    ],
)
def test_wrong_usage_is_refused_before_any_work(made, tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.setattr("sparsity_audit.cli.prune_session.Corpora", lambda *_a, **_k: pytest.fail("data were read"))
    monkeypatch.setattr("sparsity_audit.cli.prune_session.prepare", lambda *_a, **_k: pytest.fail("a model was read"))
    (tmp_path / "model.safetensors").write_bytes(made.model.read_bytes())
    (tmp_path / "link.safetensors").symlink_to("model.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    before = files(tmp_path)
    call(capsys, "prune", "model.safetensors", *arguments).refused(*said)
    assert files(tmp_path) == before


def test_no_file_of_a_folder_that_is_read_is_written_over(made, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(made.model.read_bytes())
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"shard")
    call(capsys, "prune", "run", "-o", "run/model.safetensors").refused("-o run/model.safetensors", "input")
    call(capsys, "prune", "run", "--dry-run", "--json", "run/config.json").refused("run/config.json", "input")
    shard = "run/model-00001-of-00002.safetensors"
    call(capsys, "prune", "run/model.safetensors.index.json", "-o", shard).refused(shard, "input")


UNTRACEABLE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        return self.head(torch.from_numpy(x.mean((2, 3)).numpy()))

def make():
    torch.manual_seed(0)
    return Net()
"""


def test_models_that_cannot_be_pruned_are_refused(tmp_path, capsys, monkeypatch):
    (tmp_path / "untraceable.py").write_text(UNTRACEABLE)
    monkeypatch.syspath_prepend(tmp_path)
    import untraceable

    torch.save(untraceable.make().state_dict(), "net.pth")
    (tmp_path / "page.pth").write_text("<html>")
    write_linear(tmp_path / "linear.safetensors")
    before = files(tmp_path)
    out = ("-o", "slim.safetensors", "--json", "out.json")
    arch = ("--arch", "python:untraceable:make")
    call(capsys, "prune", "absent.pth", *out).refused("absent.pth", "no such file")
    call(capsys, "prune", "page.pth", *out).refused("page.pth", "HTML")
    call(capsys, "prune", "linear.safetensors", *out).refused("linear.safetensors", "--arch")
    call(capsys, "prune", "net.pth", *arch, *out).refused("--trust-code")
    call(capsys, "prune", "net.pth", *arch, "--trust-code", *out).refused("net.pth", "--data")
    call(capsys, "prune", "net.pth", *arch, "--trust-code", *DATA, *out).refused("captured")
    call(capsys, "prune", DIGITS_MODEL, "--data", "digts", *out).refused("'digts'", "'digits'")
    assert [name for name in files(tmp_path) if name != "__pycache__"] == before


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (LimitError("--max-error-increase 0: too little; nothing was written"), 1, "--max-error-increase 0"),
        (KeyboardInterrupt(), 2, "interrupted; nothing was written"),
        (RuntimeError("of ours\nsecond line"), 3, "RuntimeError: of ours second line"),
    ],
)
def test_a_failure_writes_nothing_and_has_its_code(stubbed, tmp_path, capsys, monkeypatch, failure, code, said):
    def fail(*_arguments, **_options):
        raise failure

    monkeypatch.setattr(session, "prune", fail)
    ended = call(capsys, "prune", stubbed, *DATA, *OUTPUTS)
    assert ended.code == code
    assert ended.err.count("\n") == 1
    assert said in ended.err
    assert files(tmp_path) == ["model.safetensors"]


def full(_descriptor):
    raise OSError(28, "No space left on device")


def test_a_disk_that_is_full_leaves_what_was_there(stubbed, tmp_path, capsys, monkeypatch):
    for name in ("slim.safetensors", "plan.json", "out.json"):
        (tmp_path / name).write_text("old")
    monkeypatch.setattr("sparsity_audit.files.os.fsync", full)
    call(capsys, "prune", stubbed, *DATA, *OUTPUTS).refused("slim.safetensors", "No space left")
    assert files(tmp_path) == ["model.safetensors", "out.json", "plan.json", "slim.safetensors"]
    assert {(tmp_path / name).read_text() for name in ("slim.safetensors", "plan.json", "out.json")} == {"old"}


def test_a_disk_that_is_full_after_the_model_leaves_the_model_whole(stubbed, made, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sparsity_audit.outputs.write_whole", lambda *_arguments: full(0))
    call(capsys, "prune", stubbed, *DATA, *OUTPUTS).refused("plan.json", "No space left", "slim.safetensors is written")
    assert files(tmp_path) == ["model.safetensors", "slim.safetensors"]
    assert (tmp_path / "slim.safetensors").read_bytes() == (made.folder / "slim.safetensors").read_bytes()


def test_a_reader_that_leaves_changes_neither_the_code_nor_the_files(made, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "sparsity_audit", "prune", str(made.model), "--no-latency", *OUTPUTS[:2]]
    done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path) == ["slim.safetensors"]


def test_help_has_the_exit_codes(capsys):
    for command in ("prune", "apply-plan"):
        ended = call(capsys, command, "--help")
        assert ended.code == 0
        assert "Exit codes" in ended.out


def test_help_needs_neither_torch_nor_pydantic():
    code = "import sys; import sparsity_audit.cli.main; print(*{'torch', 'pydantic'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.shared
@pytest.mark.slow
def test_a_public_resnet_loses_what_its_group_allows(shared, capsys, tmp_path):
    model, data = shared / "models" / "resnet20-12fca82f.th", ("--data", shared / "data" / "cifar10", "--limit", "500")
    ended = call(capsys, "prune", model, *data, "--class", "small", "--no-latency", *OUTPUTS)
    assert (ended.code, ended.err) == (0, "")
    report = PruneReport.model_validate_json((tmp_path / "out.json").read_text())
    lossless, silent, small = report.classes
    assert (lossless.test.changed, report.filters) == (0, 688)
    assert lossless.dead <= silent.dead <= small.dead
    assert small.dead >= 17  # its filters with |γ| < 1e-3
    assert small.removed == sum(len(layer.removed) for layer in report.plan.layers) > 0
    again = call(capsys, "run", "slim.safetensors", *data, "--select", "SA901", "--json", "run.json", "-q")
    assert again.code == 0
    audited = json.loads((tmp_path / "run.json").read_text())["models"][0]
    assert audited["error"]["top1"] == pytest.approx(small.test.error)
    assert audited["totals"]["filters"] == 688 - small.removed
