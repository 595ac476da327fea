"""Image files in class folders, ImageNet and TinyImageNet: order, labels and pixels as torchvision reads them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from image_files import class_folders, content, photograph, save, tiny_imagenet
from PIL import Image

from sparsity_audit.data.load import load_corpus
from sparsity_audit.errors import DataError, UsageError


def failure(data: str, split: str = "train", **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load_corpus(data, split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def oracle(folder: Path, *steps: object) -> tuple[np.ndarray, list[int], list[str]]:
    """Return what torchvision's ImageFolder gives: images, labels, classes."""
    from torchvision import datasets, transforms

    dataset = datasets.ImageFolder(folder, transforms.Compose([*steps, transforms.Lambda(np.asarray)]))
    images, labels = zip(*dataset, strict=True)
    return np.stack(images), list(labels), dataset.classes


def test_one_folder_is_read_as_torchvision_reads_it_and_serves_as_both_splits(tmp_path):
    folder = class_folders(tmp_path / "birds", {"wren": 3, "auk": 2, "Owl": 1})
    save(photograph(40, 30, 50), folder / "auk" / "deeper" / "0.webp")
    images, labels, classes = oracle(folder)
    for split in ("train", "test"):
        corpus = load_corpus(f"imagefolder:{folder}", split)
        np.testing.assert_array_equal(corpus.images, images)
        assert (corpus.labels.tolist(), list(corpus.class_names)) == (labels, classes)
        assert (corpus.name, corpus.split) == ("imagefolder:birds (one split for both)", split)
    assert (corpus.shape, corpus.available, corpus.pixel_scale) == ((3, 30, 40), 7, 255)
    assert corpus.normalisation.mean == [0.485, 0.456, 0.406]
    assert corpus.normalisation.std == [0.229, 0.224, 0.225]


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_split_folders(tmp_path, held_out):
    class_folders(tmp_path / "train", {"a": 2, "b": 1})
    class_folders(tmp_path / held_out, {"a": 1, "b": 2}, seed=9)
    for split, place in (("train", "train"), ("test", held_out)):
        corpus = load_corpus(f"imagefolder:{tmp_path}", split)
        images, labels, _ = oracle(tmp_path / place)
        np.testing.assert_array_equal(corpus.images, images)
        assert corpus.labels.tolist() == labels
        assert corpus.name == f"imagefolder:{tmp_path.name}"


SIZES = [(40, 30), (30, 40), (33, 33), (91, 40), (41, 200), (33, 64)]


@pytest.mark.parametrize(("resize", "crop"), [(33, 33), (33, 20), (48, 31), (None, 29), (10, 9), (64, 1)])
def test_resize_and_crop_are_torchvisions(tmp_path, resize, crop):
    from torchvision import transforms

    for number, size in enumerate(SIZES):
        save(photograph(*size, number), tmp_path / "data" / "a" / f"{number}.png")
    steps = [transforms.Resize(resize)] if resize else []
    images, _, _ = oracle(tmp_path / "data", *steps, transforms.CenterCrop(crop))
    for limit in (2**31, 0):  # from the cache, and streamed
        corpus = load_corpus(f"imagefolder:{tmp_path / 'data'}", "train", resize=resize, crop=crop, stream_above=limit)
        (batch,) = [images for images, _ in corpus.batches(10)]
        np.testing.assert_array_equal(batch, images)


def test_resize_alone_keeps_the_ratio(tmp_path):
    from torchvision import transforms

    class_folders(tmp_path / "data", {"a": 2}, (91, 40))
    corpus = load_corpus(f"imagefolder:{tmp_path / 'data'}", "train", resize=17)
    np.testing.assert_array_equal(corpus.images, oracle(tmp_path / "data", transforms.Resize(17))[0])


def test_imagenet_is_cropped_by_default_and_found_by_name(tmp_path, monkeypatch):
    from torchvision import transforms

    class_folders(tmp_path / "imagenet" / "train", {"n01": 1, "n02": 1}, (300, 280))
    class_folders(tmp_path / "imagenet" / "val", {"n01": 1, "n02": 2}, (260, 400), seed=7)
    corpus = load_corpus("imagenet", "test", tmp_path)
    steps = [transforms.Resize(256), transforms.CenterCrop(224)]
    np.testing.assert_array_equal(corpus.images, oracle(tmp_path / "imagenet" / "val", *steps)[0])
    assert (corpus.name, corpus.labels.tolist()) == ("imagenet", [0, 1, 1])
    monkeypatch.setenv("SPARSITY_AUDIT_DATA", str(tmp_path / "imagenet"))
    assert load_corpus("imagenet", "train", crop=160).shape == (3, 160, 160)
    with pytest.raises(UsageError, match="--crop 224 is larger than --resize 128"):
        load_corpus("imagenet", "train", resize=128)


def test_tinyimagenet_as_its_archive_unpacks(tmp_path):
    folder = tiny_imagenet(tmp_path / "tiny-imagenet-200")
    images, labels, _ = oracle(folder / "train")
    train = load_corpus("tinyimagenet", "train", tmp_path)
    np.testing.assert_array_equal(train.images, images)
    assert (train.labels.tolist(), train.class_names) == (labels, ("goldfish", "tench", "bullfrog"))
    for place in ({"name_or_path": "tinyimagenet", "root": folder}, {"name_or_path": str(folder)}):
        test = load_corpus(split="test", **place)
        assert (test.name, test.labels.tolist(), test.shape) == ("tinyimagenet", [1, 2, 0, 1, 2], (3, 64, 64))
    for index, image in enumerate(test.images):
        expected = Image.open(folder / f"val/images/val_{index}.JPEG").convert("RGB")
        np.testing.assert_array_equal(image, np.asarray(expected))
    assert (test.images[3, :, :, 0] == test.images[3, :, :, 2]).all()


def test_tinyimagenet_with_val_sorted_into_class_folders(tmp_path):
    folder = tiny_imagenet(tmp_path)
    for line in (folder / "val/val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        (folder / "val" / wnid).mkdir(exist_ok=True)
        (folder / "val/images" / name).rename(folder / "val" / wnid / name)
    (folder / "val/images").rmdir()
    (folder / "val/val_annotations.txt").unlink()
    assert load_corpus(str(folder), "test").labels.tolist() == [0, 1, 1, 2, 2]


def test_faults_of_tinyimagenet(tmp_path):
    folder = tiny_imagenet(tmp_path / "tiny")
    (folder / "val/images/val_1.JPEG").unlink()
    assert "1 of 5 images are missing, the first is val_1.JPEG" in failure(str(folder), "test")
    annotations = folder / "val/val_annotations.txt"
    annotations.write_text("../../x.JPEG\tn01\n")
    assert f"{annotations}, line 1: not an image and a known class" in failure(str(folder), "test")
    annotations.write_text("val_0.JPEG\tn77\n")
    assert "line 1: not an image and a known class" in failure(str(folder), "test")
    annotations.write_text("")
    assert "0 of 0 images are missing" in failure(str(folder), "test")
    (folder / "wnids.txt").write_text("n01\nn02\n")
    assert "has 3 class folders where 2 are expected: it has n03 besides" in failure(str(folder))
    assert "TinyImageNet is not in" in failure("tinyimagenet", root=tmp_path / "absent")
    assert "ImageNet is not in" in failure("imagenet", root=tmp_path)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    kind = {"CMYK": "jpg", "YCbCr": "jpg"}.get(mode, "png")
    file = save(photograph(20, 20, mode="L" if mode == "LA" else "RGB").convert(mode), tmp_path / "d/a" / f"0.{kind}")
    corpus = load_corpus(f"imagefolder:{tmp_path / 'd'}", "train")
    np.testing.assert_array_equal(corpus.images[0], np.asarray(Image.open(file).convert("RGB")))


def test_more_than_eight_bits_are_not_clipped_in_silence(tmp_path):
    class_folders(tmp_path / "d", {"a": 1}, (20, 20))
    save(Image.fromarray(np.full((20, 20), 3000, dtype=np.uint16)), tmp_path / "d/a/1.png")
    assert "1.png: pixels of more than 8 bits" in failure(f"imagefolder:{tmp_path / 'd'}")


def test_content_counts_and_not_the_name(tmp_path):
    file = tmp_path / "d/a/0.JPEG"
    file.parent.mkdir(parents=True)
    file.write_bytes(content(photograph(20, 20), "PNG"))
    assert len(load_corpus(f"imagefolder:{tmp_path / 'd'}", "train")) == 1


def test_hidden_and_other_files_are_passed_over(tmp_path):
    folder = class_folders(tmp_path / "d", {"a": 2, "b": 1})
    for name in (".DS_Store", "a/._0.JPEG", "a/.cache/x.png", "a/notes.txt", ".git/x.png", "Thumbs.db"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"junk")
    assert load_corpus(f"imagefolder:{folder}", "train").labels.tolist() == [0, 0, 1]


def _flat(folder: Path) -> str:
    save(photograph(9, 9), folder / "0.png")
    return "holds no class folders"


def _empty_class(folder: Path) -> str:
    class_folders(folder, {"a": 1, "c": 1})
    (folder / "b").mkdir()
    return "1 of 3 class folders hold no image: b"


def _no_split(folder: Path) -> str:
    class_folders(folder / "val", {"a": 1})
    return "has no train split: no folder train/ (folders there: val)"


def _mixed(folder: Path) -> str:
    class_folders(folder, {"a": 2}, (40, 30))
    class_folders(folder, {"b": 2, "c": 1}, (50, 30))
    return f"3 of 5 images are not 40×30, the first in {folder}/b/0.JPEG: 50×30; give all one size with --resize N and"


def _corrupt(folder: Path) -> str:
    class_folders(folder, {"a": 4}, (40, 30))
    (folder / "a/1.png").write_bytes((folder / "a/1.png").read_bytes()[:200])
    (folder / "a/2.JPEG").write_text("junk")
    return f"2 of 4 images are corrupt, the first in {folder}/a/1.png: "


def _all_corrupt(folder: Path) -> str:
    (folder / "a").mkdir(parents=True)
    (folder / "a/0.png").write_text("junk")
    return f"none of 1 images can be read; the first, {folder}/a/0.png: no image of a known format"


BAD = [_flat, _empty_class, _no_split, _mixed, _corrupt, _all_corrupt]


@pytest.mark.parametrize("bad", BAD)
def test_faults_of_folders(tmp_path, bad):
    says = bad(tmp_path / "d")
    assert says in failure(f"imagefolder:{tmp_path / 'd'}")
    assert not list(tmp_path.glob("cache/corpora/*"))  # nothing half-written


def test_splits_with_other_classes(tmp_path):
    class_folders(tmp_path / "train", {"a": 1, "b": 1})
    class_folders(tmp_path / "test", {"a": 1, "c": 1})
    says = "has 2 class folders where 2 are expected: it lacks b and has c besides"
    assert says in failure(f"imagefolder:{tmp_path}", "test")


def test_images_smaller_than_the_crop(tmp_path):
    class_folders(tmp_path / "d", {"a": 1}, (40, 30))
    text = failure(f"imagefolder:{tmp_path / 'd'}", crop=32)
    assert "1 of 1 images are smaller than --crop 32" in text
    assert "add --resize" in text


def test_sizes_that_cannot_be_or_do_not_apply(tmp_path):
    for wrong in ({"resize": 0}, {"crop": -1}, {"resize": 10, "crop": 11}):
        with pytest.raises(UsageError):
            load_corpus(f"imagefolder:{tmp_path}", "train", **wrong)
    with pytest.raises(UsageError, match="do not apply to digits"):
        load_corpus("digits", "train", resize=16)


@pytest.mark.parametrize("data", ["imagefolder:", "imagefolder:/no/such/place", "parquet:/no/such/place"])
def test_paths_that_are_not_there(data):
    assert f"{data}: no such folder" in failure(data)


def test_a_changed_file_or_view_is_decoded_again(tmp_path):
    folder = class_folders(tmp_path / "d", {"a": 2})
    told: list[tuple[int, int]] = []

    def load(**options: object) -> np.ndarray:
        progress = lambda done, total: told.append((done, total))  # noqa: E731
        return load_corpus(f"imagefolder:{folder}", "train", progress=progress, **options).images

    before = np.array(load())
    assert (load() == before).all()
    assert told == [(2, 2)]
    assert load(crop=8).shape == (2, 8, 8, 3)
    assert load(limit=1).shape[0] == 1
    file = folder / "a" / "0.JPEG"
    changed = file.stat().st_mtime_ns
    file.write_bytes(content(photograph(40, 30, 77)))
    os.utime(file, ns=(changed + 1, changed + 1))
    after = load()
    assert (after[0] != before[0]).any()
    assert told == [(2, 2), (2, 2), (1, 1), (2, 2)]
    assert Image.open(io.BytesIO(file.read_bytes())).size == (40, 30)
