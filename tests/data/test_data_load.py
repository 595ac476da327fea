"""From a name or a path to a data set."""

from __future__ import annotations

import subprocess
import sys

import pytest
from data_files import encoded, pixels, write_parquet

from sparsity_audit.data.load import known_corpora, load_corpus
from sparsity_audit.errors import DataError

SHARD = "test-00000-of-00001.parquet"


def failure(*arguments: object) -> str:
    with pytest.raises(DataError) as caught:
        load_corpus(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_known():
    assert known_corpora() == ("digits", "cifar10", "cifar100", "imagenet", "tinyimagenet")


@pytest.mark.parametrize(("text", "near"), [("cifar1O", "cifar10"), ("digit", "digits"), ("CIFAR100", "cifar100")])
def test_unknown_names_suggest_the_nearest(text, near):
    assert f"unknown data set {text!r} (did you mean {near!r}?)" in failure(text, "test")


def test_a_name_near_none_lists_them_all():
    assert "(known: digits, cifar10, cifar100, imagenet, tinyimagenet)" in failure("mnist", "test")


def test_a_path_that_is_not_there(tmp_path):
    assert failure(str(tmp_path / "absent"), "test").startswith(f"no such folder: {tmp_path / 'absent'}")


@pytest.mark.parametrize("text", ["~no-such-user/cifar10", "x" * 5000])
def test_a_path_that_cannot_be_looked_up(text):
    assert f"data set {text} cannot be looked up" in failure(text, "test")


def test_a_file_is_no_folder(cifar_folder):
    assert f"{cifar_folder / SHARD} is a file; name the folder" in failure(str(cifar_folder / SHARD), "test")


def test_a_folder_without_data(tmp_path):
    assert f"{tmp_path} holds no data set" in failure(str(tmp_path), "test")


def test_a_folder_by_its_bare_name_and_home(cifar_folder, monkeypatch):
    monkeypatch.chdir(cifar_folder.parent)
    assert len(load_corpus(cifar_folder.name, "test")) == 6
    monkeypatch.setenv("HOME", str(cifar_folder.parent))
    assert len(load_corpus(f"~/{cifar_folder.name}", "test")) == 6


@pytest.mark.parametrize("nested", ["cifar10", "cifar10/plain_text", "."])
def test_named_data_set_is_found_under_the_root(cifar_folder, tmp_path, nested):
    root = tmp_path / "root"
    (root / nested).parent.mkdir(parents=True, exist_ok=True)
    cifar_folder.rename(root / nested if nested != "." else root)
    assert load_corpus("cifar10", "train", root).name == "cifar10"


def test_environment_names_the_root(cifar_folder, tmp_path, monkeypatch):
    cifar_folder.rename(tmp_path / "cifar10")
    monkeypatch.setenv("SPARSITY_AUDIT_DATA", str(tmp_path))
    assert len(load_corpus("cifar10", "test")) == 6


def test_root_that_is_not_there_is_not_made(tmp_path):
    assert f"no data folder {tmp_path / 'typo'}" in failure("cifar10", "test", tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_a_folder_named_after_the_other_data_set(tmp_path):
    write_parquet(tmp_path / "cifar10" / SHARD, [encoded(pixels(1)[0])], [42], label_column="fine_label")
    assert f"{tmp_path / 'cifar10'} holds CIFAR-100, not CIFAR-10" in failure("cifar10", "test", tmp_path)


def test_a_named_data_set_without_the_split_is_not_downloaded_instead(cifar_folder, tmp_path):
    cifar_folder.rename(tmp_path / "cifar10")
    (tmp_path / "cifar10" / SHARD).unlink()
    assert "has no test split" in failure("cifar10", "test", tmp_path)


def test_neither_parquet_nor_digits_import_torch(cifar_folder):
    code = (
        "import sys; from sparsity_audit.data.load import load_corpus\n"
        "load_corpus('digits', 'test'), load_corpus(sys.argv[1], 'test')\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(cifar_folder)], timeout=60).returncode == 0
