"""The cache of decoded images: mapped, never stale, never trusted, never in the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_files import encoded, pixels, write_parquet

from sparsity_audit.data.cache import cache_folder
from sparsity_audit.data.load import load_corpus


def load(folder: Path) -> tuple[object, list[tuple[int, int]]]:
    """Return the training split and the progress told, which is empty where nothing was decoded."""
    calls: list[tuple[int, int]] = []
    return load_corpus(str(folder), "train", progress=lambda done, total: calls.append((done, total))), calls


def entries() -> list[Path]:
    return sorted(cache_folder().iterdir())


def test_second_load_maps_what_the_first_decoded(cifar_folder):
    first, decoded = load(cifar_folder)
    second, again = load(cifar_folder)
    assert (decoded, again) == ([(10, 10)], [])
    assert isinstance(second.images, np.memmap)
    assert not second.images.flags.writeable
    np.testing.assert_array_equal(second.images, pixels(10))
    np.testing.assert_array_equal(second.labels, first.labels)
    assert (second.sha256, second.class_names) == (first.sha256, first.class_names)
    assert [entry.name.rsplit("-", 1)[0] for entry in entries()] == ["cifar10-train"]


def test_cache_folder_is_the_environments(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache" / "corpora"
    monkeypatch.delenv("SPARSITY_AUDIT_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: f"/somewhere/{name}")
    assert cache_folder() == Path("/somewhere/sparsity-audit/corpora")


def test_changed_file_is_decoded_again(cifar_folder):
    before, _ = load(cifar_folder)
    images = [encoded(x) for x in pixels(10, seed=5)]
    write_parquet(cifar_folder / "train-00000-of-00001.parquet", images, range(10))
    after, calls = load(cifar_folder)
    assert calls == [(10, 10)]
    np.testing.assert_array_equal(after.images, pixels(10, seed=5))
    np.testing.assert_array_equal(before.images, pixels(10))  # what is held stays what it was


def test_new_time_alone_or_new_names_make_a_new_entry(cifar_folder):
    load(cifar_folder)
    os.utime(cifar_folder / "train-00000-of-00001.parquet", ns=(1, 1))
    assert load(cifar_folder)[1] == [(10, 10)]
    (cifar_folder / "classes.txt").write_text("plane car bird cat deer dog frog horse ship truck".replace(" ", "\n"))
    corpus, calls = load(cifar_folder)
    assert calls == [(10, 10)]
    assert corpus.class_names[0] == "plane"


def _truncate(entry: Path) -> None:
    file = entry / "images.npy"
    file.write_bytes(file.read_bytes()[:-1])


def _flip_a_bit(entry: Path) -> None:
    content = bytearray((entry / "images.npy").read_bytes())
    content[-1] ^= 1
    (entry / "images.npy").write_bytes(content)


def _other_labels(entry: Path) -> None:
    np.save(entry / "labels.npy", np.zeros(10, dtype=np.int64))


def _other_shape(entry: Path) -> None:
    np.save(entry / "images.npy", np.zeros(7, dtype=np.uint8))


def _pickled_labels(entry: Path) -> None:
    np.save(entry / "labels.npy", np.array([{}] * 10), allow_pickle=True)


DAMAGES = {
    "truncated": _truncate,
    "bit flipped": _flip_a_bit,
    "other labels": _other_labels,
    "other shape": _other_shape,
    "pickled labels": _pickled_labels,
    "images gone": lambda entry: (entry / "images.npy").unlink(),
    "images empty": lambda entry: (entry / "images.npy").write_bytes(b""),
    "images junk": lambda entry: (entry / "images.npy").write_bytes(b"PK\x03\x04" + bytes(5000)),
    "meta empty": lambda entry: (entry / "meta.json").write_text(""),
    "meta a list": lambda entry: (entry / "meta.json").write_text("[]"),
    "meta without names": lambda entry: (entry / "meta.json").write_text(json.dumps({"sha256": "0"})),
    "a file in its place": lambda entry: (shutil.rmtree(entry), entry.write_text("junk")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_entry_is_rebuilt(cifar_folder, damage):
    load(cifar_folder)
    (entry,) = entries()
    damage(entry)
    corpus, calls = load(cifar_folder)
    assert calls == [(10, 10)]
    np.testing.assert_array_equal(corpus.images, pixels(10))
    np.testing.assert_array_equal(corpus.labels, np.arange(10))
    assert load(cifar_folder)[1] == []
    assert entries() == [entry]


def test_cache_that_cannot_be_written_is_done_without(cifar_folder, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    corpus, calls = load(cifar_folder)
    np.testing.assert_array_equal(corpus.images, pixels(10))
    assert calls == [(10, 10)]
    assert not isinstance(corpus.images, np.memmap)
    assert [len(labels) for _, labels in corpus.batches(4)] == [4, 4, 2]


def test_disk_full_while_writing_is_done_without(cifar_folder, monkeypatch):
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.save", full)
    corpus, _ = load(cifar_folder)
    np.testing.assert_array_equal(corpus.images, pixels(10))
    assert corpus.labels.tolist() == list(range(10))
    assert entries() == []


def test_interrupt_leaves_nothing_behind(cifar_folder):
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_corpus(str(cifar_folder), "train", progress=stop)
    assert entries() == []


def test_a_process_that_finds_the_entry_made_meanwhile_takes_it(cifar_folder):
    inner: list[object] = []

    def another_is_faster(_done: int, _total: int) -> None:
        inner.append(load_corpus(str(cifar_folder), "train"))

    outer = load_corpus(str(cifar_folder), "train", progress=another_is_faster)
    np.testing.assert_array_equal(outer.images, pixels(10))
    np.testing.assert_array_equal(inner[0].images, pixels(10))
    assert len(entries()) == 1


def test_processes_at_once_agree_and_leave_one_entry(tmp_path):
    one = [encoded(x) for x in pixels(50)]
    write_parquet(tmp_path / "set" / "train-00000-of-00001.parquet", one * 20, [0] * 1000, row_group_size=500)
    code = (
        "import sys; from sparsity_audit.data.load import load_corpus\n"
        "sys.stdin.readline()\n"
        "print(load_corpus(sys.argv[1], 'train').sha256)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "set")]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    digests = {process.communicate(timeout=60)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert digests == {load_corpus(str(tmp_path / "set"), "train").sha256}
    assert len(entries()) == 1
