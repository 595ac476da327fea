"""The configuration: which file applies, what its paths are relative to, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import call, write_healthy, write_net, write_sick

from sparsity_audit.engine.configuration import load_configuration


def test_the_same_model_passes_with_one_limit_and_fails_with_another(tmp_path, capsys):
    write_sick(tmp_path / "m.safetensors")
    for limit, code in ((0.5, 0), (0.35, 1)):
        (tmp_path / "pyproject.toml").write_text(
            '[tool.sparsity-audit]\nmodels = ["m.safetensors"]\nmarkdown = "out.md"\n'
            f"[tool.sparsity-audit.limits]\nSA101 = {{ error = {{ max = {limit} }} }}\n"
        )
        ended = call(capsys, "run")
        assert ended.code == code
        assert "configuration: pyproject.toml" in ended.out
    markdown = (tmp_path / "out.md").read_text()
    assert "SA101" in markdown
    assert "b.conv" in markdown


def test_the_nearest_file_wins_and_its_paths_are_its_own(tmp_path, monkeypatch, capsys):
    write_sick(tmp_path / "m.safetensors")
    (tmp_path / "own.toml").write_text('extends = "default"\nselect = ["SA101"]')
    (tmp_path / "pyproject.toml").write_text("[tool.sparsity-audit]\nmodels = ['absent.safetensors']")
    (tmp_path / "sparsity-audit.toml").write_text('models = ["m.safetensors"]\nrules = ["own.toml"]\njson = "out.json"')
    below = tmp_path / "deep" / "below"
    below.mkdir(parents=True)
    # A pyproject.toml without our table is not a configuration.
    (below / "pyproject.toml").write_text("[tool.other]\nx = 1")
    monkeypatch.chdir(below)
    ended = call(capsys, "run")
    assert ended.code == 1
    assert f"configuration: {tmp_path / 'sparsity-audit.toml'}" in ended.out
    assert "collected 2 items" in ended.out
    assert (tmp_path / "out.json").exists()
    assert sorted(path.name for path in below.iterdir()) == ["pyproject.toml"]
    (tmp_path / "deep" / "sparsity-audit.toml").write_text('models = ["../m.safetensors"]\nexit_zero = true')
    assert call(capsys, "run").code == 0


def test_the_command_line_wins(tmp_path, capsys):
    write_sick(tmp_path / "sick.safetensors")
    warned = write_net(tmp_path / "warned.safetensors", a=[1e-5] * 2 + [1.0] * 8)
    (tmp_path / "sparsity-audit.toml").write_text(
        'models = ["sick.safetensors"]\nfail_on = "warning"\nselect = ["SA101"]'
    )
    assert call(capsys, "run").code == 1
    assert call(capsys, "run", warned).code == 1
    assert call(capsys, "run", warned, "--fail-on", "error").code == 0
    assert "collected 1 item" in call(capsys, "run", warned, "--select", "SA904").out


def test_a_name_of_a_corpus_stays_one_and_a_folder_is_anchored(tmp_path, monkeypatch):
    below = tmp_path / "below"
    (tmp_path / "digits").mkdir()
    (tmp_path / "images").mkdir()
    below.mkdir()
    for data, expected in [
        ("digits", "digits"),
        ("cifar10", "cifar10"),
        ("images", str(tmp_path / "images")),
        ("no/such", str(tmp_path / "no" / "such")),
        ("digts", "digts"),
    ]:
        (tmp_path / "sparsity-audit.toml").write_text(f'data = "{data}"')
        config, _ = load_configuration({}, below)
        assert config.data == expected
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "sparsity-audit.toml").write_text('data_root = "~/sets"\nmodels = ["~/m.pth", "/abs.pth"]')
    config, _ = load_configuration({}, below)
    assert config.data_root == str(tmp_path / "sets")
    assert config.models == ["m.pth", "/abs.pth"]  # below the current folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model = ['m']", ["model is an unknown key", "did you mean 'models'"]),
        ("limit = 'many'", ["limit 'many'"]),
        ("models = 'm'", ["models should be a list"]),
        ("fail_on = 'warn'", ["fail_on 'warn'", "'warning' or 'error'"]),
        ("trust_code = true", ["trust_code is an unknown key"]),
        ("limits = { SA999 = { error = false } }", ["'SA999'"]),
        ("limits = { sa1 = { error = false } }", ["sa1", "three digits"]),
        ("training = { optimizer = { name = 'adam' } }", ["training.optimizer.lr is missing"]),
        ("rules = ['defualt']", ["did you mean 'default'"]),
        ("x = [", ["not TOML"]),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_path(tmp_path, capsys, text, said):
    write_healthy(tmp_path / "m.safetensors")
    (tmp_path / "sparsity-audit.toml").write_text(text)
    call(capsys, "run", "m.safetensors").refused(*said)
    if "defualt" not in text:
        call(capsys, "run", "m.safetensors").refused("sparsity-audit.toml: ")


def test_a_table_that_is_none_and_bytes_that_are_no_text(tmp_path, capsys):
    (tmp_path / "pyproject.toml").write_text("[tool]\nsparsity-audit = 3")
    call(capsys, "run", "m").refused("pyproject.toml", "should be a table")
    (tmp_path / "pyproject.toml").write_bytes(b"\xff")
    call(capsys, "run", "m").refused("pyproject.toml", "UTF-8")


def test_folders_of_photographs_are_relative_to_the_file(tmp_path):
    from sparsity_audit.engine.configuration import load_configuration

    (tmp_path / "sparsity-audit.toml").write_text('data = "imagefolder:birds"\n')
    (tmp_path / "sub").mkdir()
    config, _ = load_configuration({}, tmp_path / "sub")
    assert config.data == f"imagefolder:{tmp_path.resolve() / 'birds'}"


def test_training_from_settings_or_from_a_spec(tmp_path):
    from sparsity_audit.engine.configuration import load_training

    alone = tmp_path / "training.toml"
    alone.write_text('optimizer = { name = "adam", lr = 1e-3 }\nbatch_size = 40\n')
    spec = Path(__file__).resolve().parents[2] / "zoo" / "digits-adam-l2.toml"
    assert load_training(alone).batch_size == load_training(spec).batch_size == 40
    assert load_training(alone).regularizer is None
    assert load_training(spec).regularizer.kind == "l2"
