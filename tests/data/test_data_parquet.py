"""Hugging Face parquet folders: what is read, and what every kind of bad file is answered with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_files import CIFAR10_NAMES, encoded, pixels, write_parquet

from sparsity_audit.data.load import load_corpus
from sparsity_audit.errors import DataError

SHARD = "test-00000-of-00001.parquet"


def failure(folder: Path, split: str = "test") -> str:
    """Return the one line that loading ``folder`` fails with."""
    with pytest.raises(DataError) as caught:
        load_corpus(str(folder), split)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    assert not list(folder.parent.glob("cache/corpora/*"))  # nothing half-written
    return text


@pytest.mark.parametrize(("split", "count", "seed"), [("train", 10, 0), ("test", 6, 1)])
def test_pixels_and_labels_come_out_as_they_went_in(cifar_folder, split, count, seed):
    corpus = load_corpus(str(cifar_folder), split)
    np.testing.assert_array_equal(corpus.images, pixels(count, seed))
    assert corpus.labels.tolist() == (list(range(10)) if split == "train" else [0, 1, 2, 3, 4, 9])
    assert (corpus.name, corpus.split, corpus.shape, corpus.available) == ("cifar10", split, (3, 32, 32), count)
    assert corpus.normalisation.mean == [0.4914, 0.4822, 0.4465]
    assert corpus.normalisation.std == [0.2470, 0.2435, 0.2616]
    assert corpus.pixel_scale == 255


def test_shards_are_read_in_order_across_row_groups(tmp_path):
    images = pixels(23)
    for shard, part in enumerate((slice(0, 9), slice(9, 10), slice(10, 23))):
        data = [encoded(x) for x in images[part]]
        labels = np.arange(23)[part] % 10
        write_parquet(tmp_path / f"train-0000{shard}-of-00003.parquet", data, labels, image_column="image")
    corpus = load_corpus(str(tmp_path), "train")
    np.testing.assert_array_equal(corpus.images, images)
    np.testing.assert_array_equal(corpus.labels, np.arange(23) % 10)


def test_grey_and_palette_pngs_are_the_rgb_images_they_stand_for(tmp_path):
    grey = pixels(1)[0, :, :, 0]
    write_parquet(tmp_path / SHARD, [encoded(grey)], [0])
    np.testing.assert_array_equal(load_corpus(str(tmp_path), "test").images[0], np.stack([grey] * 3, axis=-1))


def test_cifar100_is_told_by_its_fine_labels(tmp_path):
    file = write_parquet(tmp_path / SHARD, [encoded(pixels(1)[0])], [42], label_column="fine_label")
    table = pq.read_table(file).append_column("coarse_label", pa.array([3]))
    pq.write_table(table, file)
    corpus = load_corpus(str(tmp_path), "test")
    assert (corpus.name, corpus.labels.tolist(), corpus.class_names[42]) == ("cifar100", [42], "leopard")
    assert corpus.normalisation.std == [0.2673, 0.2564, 0.2762]


def test_class_names_beside_win_over_the_schemas_and_those_over_the_known_ones(tmp_path):
    folder, own = tmp_path / "set", ("plane", "car", *CIFAR10_NAMES[2:])
    file = folder / SHARD
    write_parquet(file, [encoded(pixels(1)[0])], [0])
    assert load_corpus(str(folder), "test").class_names == CIFAR10_NAMES
    write_parquet(file, [encoded(pixels(1)[0])], [0], names=[name.title() for name in CIFAR10_NAMES])
    assert load_corpus(str(folder), "test").class_names[0] == "Airplane"
    (folder / "classes.txt").write_text("\n".join(own) + "\n\n")
    assert load_corpus(str(folder), "test").class_names == own


def test_a_hundred_names_make_a_plain_label_column_cifar100(tmp_path, shared_names):
    write_parquet(tmp_path / SHARD, [encoded(pixels(1)[0])], [99], names=shared_names)
    assert load_corpus(str(tmp_path), "test").name == "cifar100"


@pytest.fixture
def shared_names() -> tuple[str, ...]:
    from sparsity_audit.data.cifar import CIFARS

    return CIFARS["cifar100"].class_names


def test_shards_in_the_one_subfolder_are_found(cifar_folder, tmp_path):
    (tmp_path / "hub").mkdir()
    cifar_folder.rename(tmp_path / "hub" / "plain_text")
    assert len(load_corpus(str(tmp_path / "hub"), "train")) == 10


def test_progress_ends_at_the_number_of_images(tmp_path):
    one = encoded(pixels(1)[0])
    write_parquet(tmp_path / SHARD, [one] * 2500, [0] * 2500, row_group_size=2500)
    calls: list[tuple[int, int]] = []
    load_corpus(str(tmp_path), "test", progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1000, 2500), (2000, 2500), (2500, 2500)]


def test_several_data_sets_are_ambiguous(cifar_folder, tmp_path):
    (tmp_path / "both").mkdir()
    cifar_folder.rename(tmp_path / "both" / "cifar10")
    write_parquet(tmp_path / "both" / "cifar100" / SHARD, [], [])
    assert "several data sets (cifar10, cifar100)" in failure(tmp_path / "both")


def test_split_missing(cifar_folder):
    (cifar_folder / SHARD).unlink()
    assert "no test split" in failure(cifar_folder)
    assert "train-00000-of-00001.parquet" in failure(cifar_folder)


def test_a_shard_missing_is_not_half_a_data_set(tmp_path):
    write_parquet(tmp_path / "set" / "test-00000-of-00003.parquet", [encoded(pixels(1)[0])], [0])
    assert "lacks shard(s) 1, 2 of test" in failure(tmp_path / "set")


def test_shards_of_two_downloads_are_not_mixed(cifar_folder):
    write_parquet(cifar_folder / "test-00000-of-00002.parquet", [encoded(pixels(1)[0])], [0])
    assert "mixes test shards" in failure(cifar_folder)


def test_empty_split(tmp_path):
    write_parquet(tmp_path / "set" / SHARD, [], [])
    assert "test split is empty (0 rows" in failure(tmp_path / "set")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty (0 bytes)"),
        (b"<!DOCTYPE html><html><title>404</title></html>", "is an HTML page, not parquet"),
        (b"\n<html>login</html>", "is an HTML page, not parquet"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"PK\x03\x04 something else entirely", "is not a parquet file"),
        (b"PAR1 and no end", "is cut short after 15 bytes"),
        (b"PAR1\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00PAR1", "cannot be read as parquet"),
    ],
)
def test_not_parquet(tmp_path, content, says):
    file = tmp_path / "set" / SHARD
    file.parent.mkdir()
    file.write_bytes(content)
    text = failure(file.parent)
    assert f"{file} {says}" in text


def test_truncated_parquet(cifar_folder):
    file = cifar_folder / SHARD
    file.write_bytes(file.read_bytes()[:-100])
    assert f"{SHARD} is cut short after" in failure(cifar_folder)


def test_damage_behind_a_sound_footer(tmp_path):
    file = write_parquet(tmp_path / "set" / SHARD, [encoded(x) for x in pixels(6)], range(6))
    content = bytearray(file.read_bytes())
    content[4:400] = b"\xff" * 396  # the first page's header and the start of its data
    file.write_bytes(content)
    assert "cannot be read as parquet" in failure(file.parent)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"picture": [b"x"], "label": [0]}, "has no column img or image (columns there: picture, label)"),
        (
            {"img": [{"bytes": b"x"}], "coarse_label": [0]},
            "has no column fine_label or label (columns there: img, coarse",
        ),
        ({"img": [b"x"], "label": [0]}, "column img is binary, not a struct"),
        ({"img": [{"path": "x"}], "label": [0]}, "not a struct whose field 'bytes'"),
        ({"img": [{"bytes": b"x"}], "label": ["cat"]}, "column label is string, not integer"),
    ],
)
def test_columns_missing_or_of_another_type(tmp_path, columns, says):
    file = tmp_path / "set" / SHARD
    file.parent.mkdir()
    pq.write_table(pa.table(columns), file)
    text = failure(file.parent)
    assert says in text
    assert SHARD in text


def test_shards_with_different_columns(tmp_path):
    one = encoded(pixels(1)[0])
    write_parquet(tmp_path / "set" / "test-00000-of-00002.parquet", [one], [0])
    write_parquet(tmp_path / "set" / "test-00001-of-00002.parquet", [one], [0], label_column="fine_label")
    assert "has other columns (img, fine_label)" in failure(tmp_path / "set")


def test_corrupt_images_are_all_counted_and_the_first_is_named(tmp_path):
    png = encoded(pixels(1)[0])
    images: list[bytes | None] = [png] * 2500
    images[2100] = png[: len(png) // 2]
    images[2200] = b"no image at all"
    images[2300] = None
    write_parquet(tmp_path / "set" / SHARD, images, [0] * 2500, row_group_size=400)
    text = failure(tmp_path / "set")
    assert "3 of 2500 images are corrupt, the first in row 2100 (from 0) of" in text
    assert SHARD in text


@pytest.mark.parametrize(("bad", "says"), [(None, "no bytes"), (b"junk", "neither PNG nor WebP")])
def test_the_reason_of_a_corrupt_image(tmp_path, bad, says):
    write_parquet(tmp_path / "set" / SHARD, [bad], [0])
    assert f"row 0 (from 0) of {tmp_path / 'set' / SHARD}: {says}; " in failure(tmp_path / "set")


def test_the_row_is_that_of_its_shard(tmp_path):
    one = encoded(pixels(1)[0])
    write_parquet(tmp_path / "set" / "test-00000-of-00002.parquet", [one] * 5, [0] * 5)
    second = write_parquet(tmp_path / "set" / "test-00001-of-00002.parquet", [one, one, b"junk"], [0] * 3)
    assert f"1 of 8 images are corrupt, the first in row 2 (from 0) of {second}" in failure(tmp_path / "set")


def test_sizes_that_differ(tmp_path):
    odd = encoded(pixels(1, size=(32, 40))[0])
    write_parquet(tmp_path / "set" / SHARD, [encoded(pixels(1)[0]), odd, odd], [0, 1, 2])
    assert "2 of 3 images are not 32×32, the first in row 1 (from 0) of" in failure(tmp_path / "set")
    assert ": 40×32" in failure(tmp_path / "set")


@pytest.mark.parametrize("label", [10, -1, None])
def test_labels_out_of_range(tmp_path, label):
    write_parquet(tmp_path / "set" / SHARD, [encoded(x) for x in pixels(3)], [0, 9, label])
    text = failure(tmp_path / "set")
    assert "1 of 3 labels are not in 0–9, the first in row 2 (from 0) of" in text


def test_unsigned_labels_are_labels_too(tmp_path):
    file = write_parquet(tmp_path / "set" / SHARD, [encoded(x) for x in pixels(2)], [1, 9])
    table = pq.read_table(file)
    pq.write_table(table.set_column(1, "label", table["label"].cast("uint8")), file)
    corpus = load_corpus(str(tmp_path / "set"), "test")
    assert (corpus.labels.dtype, corpus.labels.tolist()) == (np.int64, [1, 9])


def test_all_kinds_of_faults_are_told_together(tmp_path):
    odd = encoded(pixels(1, size=(8, 8))[0])
    write_parquet(tmp_path / "set" / SHARD, [b"junk", odd], [0, 77])
    text = failure(tmp_path / "set")
    assert "1 of 2 images are corrupt" in text
    assert "1 of 2 images are not 32×32" in text
    assert "1 of 2 labels are not in 0–9" in text


def test_fewer_names_than_labels(tmp_path):
    file = write_parquet(tmp_path / "set" / SHARD, [encoded(pixels(1)[0])], [9])
    (file.parent / "classes.txt").write_text("\n".join(CIFAR10_NAMES[:8]))
    assert "names 8 classes, but CIFAR-10 has 10" in failure(file.parent)


def test_another_data_set_of_ten_classes_is_not_cifar10(tmp_path):
    write_parquet(tmp_path / "set" / SHARD, [encoded(pixels(1)[0])], [9], names=[str(i) for i in range(10)])
    assert "is not CIFAR-10: it names a class '0' where CIFAR-10 has 'airplane'" in failure(tmp_path / "set")


def test_names_that_are_no_text(cifar_folder):
    (cifar_folder / "classes.txt").write_bytes(b"\xff\xfe\x00")
    assert "classes.txt cannot be read as text" in failure(cifar_folder)
