"""torchvision's layout: md5 before pickle, archives, downloads that fail."""

from __future__ import annotations

import hashlib
import pickle
import socket
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from data_files import CIFAR10_NAMES, encoded, pixels, write_parquet

from sparsity_audit.data.load import load_corpus
from sparsity_audit.errors import DataError


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point torchvision's downloads at a port nobody listens on."""
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")


def failure(*arguments: object) -> str:
    with pytest.raises(DataError) as caught:
        load_corpus(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_same_images_as_the_parquet_folder_and_so_the_same_digest(pickled_cifar10, cifar_folder):
    folder = pickled_cifar10()
    for split in ("train", "test"):
        pickled, parquet = load_corpus(str(folder), split), load_corpus(str(cifar_folder), split)
        assert pickled.sha256 == parquet.sha256
        assert (pickled.name, pickled.class_names) == ("cifar10", CIFAR10_NAMES)
        assert pickled.normalisation == parquet.normalisation
    train = load_corpus(str(folder), "train")
    assert train.labels.tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    np.testing.assert_array_equal(train.images, pixels(10)[train.labels])


def test_cifar100(pickled_cifar100):
    corpus = load_corpus("cifar100", "train", pickled_cifar100.parent)
    assert (corpus.name, corpus.labels.tolist(), corpus.class_names[99]) == ("cifar100", [0, 99, 50, 7], "class99")
    np.testing.assert_array_equal(corpus.images, pixels(4))


@pytest.mark.parametrize("place", ["root/cifar-10-batches-py", "root/cifar10/cifar-10-batches-py", "renamed"])
def test_found_by_path_under_any_name(pickled_cifar10, tmp_path, place):
    folder = pickled_cifar10(tmp_path / place)
    assert len(load_corpus(str(folder), "test")) == 6
    if place != "renamed":
        assert len(load_corpus(str(folder.parent), "test")) == 6
        assert len(load_corpus("cifar10", "test", tmp_path / "root")) == 6
    assert len(load_corpus("cifar10", "test", folder)) == 6


def test_second_load_opens_no_pickle(pickled_cifar10, monkeypatch):
    folder = pickled_cifar10()
    load_corpus(str(folder), "train")
    monkeypatch.setattr(pickle, "load", lambda *_args, **_kwargs: pytest.fail("unpickled"))
    assert isinstance(load_corpus(str(folder), "train").images, np.memmap)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("the pickle ran code",)


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_pickle_that_is_not_the_published_one_is_never_opened(pickled_cifar10, name):
    folder = pickled_cifar10()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    text = failure(str(folder), "train")
    assert str(folder) in text
    assert f"{name} differ(s) from the published file (md5), so no pickle is opened" in text


def test_missing_batches_are_named(pickled_cifar10):
    folder = pickled_cifar10()
    (folder / "data_batch_1").unlink()
    (folder / "batches.meta").unlink()
    assert f"{folder} lacks data_batch_1, batches.meta" in failure(str(folder), "test")


def packed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put ``folder`` into the authors' archive beside it, and take it away."""
    from torchvision.datasets import CIFAR10

    archive = folder.parent / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "cifar-10-batches-py")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    md5 = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5)
    return archive


@pytest.mark.parametrize("by", ["name", "path"])
def test_archive_is_unpacked_beside_itself(pickled_cifar10, monkeypatch, by):
    archive = packed(pickled_cifar10(), monkeypatch)
    root = archive.parent
    corpus = load_corpus("cifar10", "test", root) if by == "name" else load_corpus(str(root), "test")
    assert len(corpus) == 6
    assert sorted(path.name for path in root.iterdir()) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]


def test_damaged_archive_is_not_unpacked(pickled_cifar10, monkeypatch):
    archive = packed(pickled_cifar10(), monkeypatch)
    archive.write_bytes(archive.read_bytes()[:-10])
    assert f"{archive} is not the published archive (md5 differs)" in failure("cifar10", "train", archive.parent)
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


@contextmanager
def served(file: Path) -> Iterator[str]:
    """Serve the folder of ``file`` from this machine, and give the address of ``file``."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(file.parent))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{file.name}"
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("no_proxy")
def test_download_is_unpacked_whole(pickled_cifar10, monkeypatch, tmp_path):
    from torchvision.datasets import CIFAR10

    archive = packed(pickled_cifar10(), monkeypatch)
    before = socket.getdefaulttimeout()
    with served(archive) as url:
        monkeypatch.setattr(CIFAR10, "url", url)
        assert max(load_corpus("cifar10", "train").labels) == 9
    assert socket.getdefaulttimeout() == before
    default = tmp_path / "user-data" / "sparsity-audit" / "datasets"
    assert [path.name for path in default.iterdir()] == ["cifar-10-batches-py"]


@pytest.mark.usefixtures("no_proxy")
def test_download_that_is_not_the_published_archive_is_not_kept(monkeypatch, tmp_path):
    from torchvision.datasets import CIFAR10

    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "page.tar.gz").write_text("<html>please log in</html>")
    (tmp_path / "root").mkdir()
    with served(tmp_path / "web" / "page.tar.gz") as url:
        monkeypatch.setattr(CIFAR10, "url", url)
        assert "cannot be downloaded (File not found or corrupted.)" in failure("cifar10", "train", tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.usefixtures("no_proxy", "offline")
def test_absent_and_offline_says_what_where_and_the_three_ways_out(tmp_path):
    text = failure("cifar10", "train", tmp_path)
    assert text.startswith(f"CIFAR-10 is not in {tmp_path} (looked for cifar10/, train-*.parquet, cifar-10-batches-py/")
    assert "refused" in text
    assert all(way in text for way in ("connect to a network", "--data-root", "SPARSITY_AUDIT_DATA"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_proxy", "offline")
def test_root_is_the_option_then_the_environment_then_the_users_folder(tmp_path, monkeypatch):
    option, environment = tmp_path / "option", tmp_path / "environment"
    option.mkdir()
    environment.mkdir()
    assert f"not in {tmp_path / 'user-data' / 'sparsity-audit' / 'datasets'} " in failure("cifar10", "test")
    monkeypatch.setenv("SPARSITY_AUDIT_DATA", str(environment))
    assert f"not in {environment} " in failure("cifar10", "test")
    assert f"not in {option} " in failure("cifar10", "test", option)


def test_root_may_hold_both_data_sets_in_both_layouts(pickled_cifar10):
    root = pickled_cifar10().parent
    write_parquet(root / "test-00000-of-00001.parquet", [encoded(pixels(1)[0])], [42], label_column="fine_label")
    assert len(load_corpus("cifar10", "test", root)) == 6
    assert load_corpus("cifar100", "test", root).labels.tolist() == [42]
