"""Tiny data sets in the real formats; no test here sees the user's cache, data folder or network."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_files import CIFAR10_NAMES, encoded, pixels, write_parquet


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSITY_AUDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSITY_AUDIT_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_data_dir", lambda name: str(tmp_path / "user-data" / name))


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests on the real data, so that each split is decoded once."""
    return tmp_path_factory.mktemp("shared-cache")


@pytest.fixture
def cifar_folder(tmp_path: Path) -> Path:
    """Return a folder with ten training images (PNG) and six test images (WebP) as parquet, without names."""
    folder = tmp_path / "parquet"
    write_parquet(folder / "train-00000-of-00001.parquet", [encoded(x) for x in pixels(10)], range(10))
    test = [encoded(x, "WEBP") for x in pixels(6, seed=1)]
    write_parquet(folder / "test-00000-of-00001.parquet", test, [0, 1, 2, 3, 4, 9])
    return folder


def _pickle(file: Path, content: object) -> list[str]:
    file.write_bytes(pickle.dumps(content, protocol=2))
    return [file.name, hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()]


def _rows(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


@pytest.fixture
def pickled_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Return a maker of CIFAR-10 in torchvision's layout: ten training images in two batches, six test images.

    The images are those of ``cifar_folder`` with the two training batches the other way round, and torchvision is
    told the md5 of these files.
    """

    def make(folder: Path = tmp_path / "root" / "cifar-10-batches-py") -> Path:
        from torchvision.datasets import CIFAR10

        folder.mkdir(parents=True)
        train, test = pixels(10), pixels(6, seed=1)
        first = {"data": _rows(train[5:]), "labels": list(range(5, 10))}
        second = {"data": _rows(train[:5]), "labels": list(range(5))}
        published = [_pickle(folder / "data_batch_1", first), _pickle(folder / "data_batch_2", second)]
        monkeypatch.setattr(CIFAR10, "train_list", published)
        held_out = {"data": _rows(test), "labels": [0, 1, 2, 3, 4, 9]}
        monkeypatch.setattr(CIFAR10, "test_list", [_pickle(folder / "test_batch", held_out)])
        name, md5 = _pickle(folder / "batches.meta", {"label_names": list(CIFAR10_NAMES)})
        monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
        return folder

    return make


@pytest.fixture
def pickled_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return CIFAR-100 in torchvision's layout: four training images, two test images."""
    from torchvision.datasets import CIFAR100

    folder = tmp_path / "root" / "cifar-100-python"
    folder.mkdir(parents=True)
    train = {"data": _rows(pixels(4)), "fine_labels": [0, 99, 50, 7], "coarse_labels": [1, 2, 3, 4]}
    test = {"data": _rows(pixels(2, seed=1)), "fine_labels": [98, 1], "coarse_labels": [0, 0]}
    monkeypatch.setattr(CIFAR100, "train_list", [_pickle(folder / "train", train)])
    monkeypatch.setattr(CIFAR100, "test_list", [_pickle(folder / "test", test)])
    name, md5 = _pickle(folder / "meta", {"fine_label_names": [f"class{i}" for i in range(100)]})
    monkeypatch.setattr(CIFAR100, "meta", {"filename": name, "key": "fine_label_names", "md5": md5})
    return folder
