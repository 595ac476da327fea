"""Manifests of models that were trained elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsity_audit.errors import ConfigError
from sparsity_audit.studies.manifest import read_manifest

WHOLE = """
[[model]]
name = "ours-adam-l2"
path = "weights/a.pt"
seed = 3
optimizer = { name = "adam", lr = 1e-3, betas = [0.9, 0.99] }
regularizer = { kind = "l2", strength = 1e-4 }
batch_size = 40
test_error = 0.28
group = "vgg on birds"
steps = 12000

[[model]]
name = "theirs"
path = "folder"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.pt").touch()
    (tmp_path / "folder").mkdir()
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "manifest.toml"
    path.write_text(text)
    return path


def test_what_a_manifest_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write(folder, WHOLE)
    monkeypatch.chdir(folder.parent)  # paths start from the manifest
    ours, theirs = read_manifest(manifest)
    assert (ours.name, ours.path, ours.seed) == ("ours-adam-l2", folder / "weights" / "a.pt", 3)
    assert (ours.test_error, ours.group, ours.steps) == (0.28, "vgg on birds", 12000)
    assert ours.training.model_dump() == {
        "optimizer": {"name": "adam", "lr": 1e-3, "betas": [0.9, 0.99]},
        "regularizer": {"kind": "l2", "strength": 1e-4, "on": "all"},
        "batch_size": 40,
    }
    assert (theirs.name, theirs.path) == ("theirs", folder / "folder")
    assert (theirs.seed, theirs.test_error, theirs.group, theirs.steps) == (None, None, None, None)
    assert set(theirs.training.model_dump().values()) == {None}


def test_an_absolute_path_stays(folder: Path) -> None:
    target = folder / "weights" / "a.pt"
    (folder / "else").mkdir()
    (model,) = read_manifest(write(folder / "else", f'[[model]]\nname = "a"\npath = "{target}"\n'))
    assert model.path == target


ONE = '[[model]]\nname = "a"\npath = "weights/a.pt"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"manifest\.toml: model is missing"),
        ("model = []", r"manifest\.toml: model .*at least 1 item"),
        ("[[model]]\nname = 'a'", r"manifest\.toml: model\.0\.path is missing"),
        (f"{ONE}lamda = 3", r"manifest\.toml: model\.0\.lamda is an unknown key"),
        (f"{ONE}test_error = 28", r"manifest\.toml: model\.0\.test_error 28: .*less than or equal to 1"),
        (f"{ONE}regularizer = {{ kind = 'l3' }}", r"model\.0\.regularizer\.kind 'l3'"),
        (f"{ONE}optimizer = {{ name = 'amsgard', lr = 1 }}", r"optimizer\.name 'amsgard' \(did you mean 'amsgrad'\?\)"),
        (f"{ONE}optimizer = {{ name = 'adam' }}", r"model\.0\.optimizer\.lr is missing"),
        (f"{ONE}{ONE}", r"model 'a' with no seed stands twice; give them seeds, or other names"),
        (f"{ONE}seed = 1\n{ONE}seed = 1", r"model 'a' with seed 1 stands twice"),
        (ONE.replace("a.pt", "b.pt"), r"manifest\.toml: model 'a': path: no file 'weights/b\.pt'; paths are relative"),
        (ONE.replace("weights", "~nobody-of-this-name"), r"model 'a': path: no file"),
        (ONE.replace("a.pt", "a\\u0000.pt"), r"model 'a': path: no file"),
        ("[[model", r"manifest\.toml: not TOML"),
    ],
)
def test_a_bad_manifest_is_one_line(text: str, message: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_manifest(write(folder, text))
    assert "\n" not in str(caught.value)


def test_seeds_tell_models_of_one_name_apart(folder: Path) -> None:
    models = read_manifest(write(folder, f"{ONE}seed = 0\n{ONE}seed = 1"))
    assert [(model.name, model.seed) for model in models] == [("a", 0), ("a", 1)]


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the manifest: No such file"):
        read_manifest(tmp_path / "manifest.toml")
