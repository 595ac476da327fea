"""Any data set of images in parquet: columns told apart, splits chosen, rows in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_files import encoded, pixels, write_parquet
from image_files import content, photograph

from sparsity_audit.data.load import load_corpus
from sparsity_audit.errors import DataError

SHARD = "train-00000-of-00001.parquet"


def failure(path: Path, split: str = "train", **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load_corpus(f"parquet:{path}", split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(file: Path, columns: dict[str, pa.Array], features: dict[str, object] | None = None) -> Path:
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=3)
    return file


def structs(images: Sequence[bytes]) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": image, "path": "x.png"} for image in images], kind)


IMAGES = pixels(7, size=(10, 12))
ENCODED = [encoded(image) for image in IMAGES]


@pytest.mark.parametrize("stream_above", [2**30, 0])
def test_shards_in_order_with_names_from_the_schema(tmp_path, stream_above):
    names = [f"class {i}" for i in range(9)]
    for shard, part in enumerate((slice(0, 2), slice(2, 7))):
        write_parquet(
            tmp_path / f"data/train-0000{shard}-of-00002.parquet",
            ENCODED[part],
            list(range(7))[part],
            image_column="image",
            names=names,
        )
    corpus = load_corpus(f"parquet:{tmp_path}", "train", stream_above=stream_above)
    assert (corpus.class_names, corpus.shape) == (tuple(names), (3, 10, 12))
    assert corpus.name == f"parquet:{tmp_path.name}"
    batches = list(corpus.batches(4))
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), IMAGES)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), range(7))


@pytest.mark.parametrize("seed", range(4))
def test_samples_skip_rows_across_groups_and_shards(tmp_path, seed):
    images = pixels(230, size=(6, 6))
    for shard, part in enumerate((slice(0, 100), slice(100, 101), slice(101, 230))):
        data = [encoded(image) for image in images[part]]
        write_parquet(
            tmp_path / f"train-{shard}.parquet", data, np.arange(230)[part], image_column="image", row_group_size=70
        )
    whole = load_corpus(f"parquet:{tmp_path}", "train")
    for limit in (1, 9, 150):
        expected = whole.sample(limit, seed)
        for stream_above in (2**30, 0):
            drawn = load_corpus(f"parquet:{tmp_path}", "train", limit=limit, seed=seed, stream_above=stream_above)
            found = [images for images, _ in drawn.batches(40)]
            np.testing.assert_array_equal(np.concatenate(found), expected.images)
            np.testing.assert_array_equal(drawn.labels, expected.labels)
            assert (drawn.available, drawn.seed) == (230, seed)


def test_one_file_serves_as_both_splits_and_binary_is_an_image_too(tmp_path):
    file = write(tmp_path / "set.parquet", {"photo": pa.array(ENCODED), "id": pa.array([0, 1, 2, 0, 1, 2, 0])})
    for path in (file, tmp_path):
        for split in ("train", "test"):
            corpus = load_corpus(f"parquet:{path}", split)
            np.testing.assert_array_equal(corpus.images, IMAGES)
            assert corpus.class_names == ("0", "1", "2")
            assert corpus.name == f"parquet:{path.name} (one split for both)"


def test_columns_by_metadata_then_by_name(tmp_path):
    one = pa.array([5] * 7)
    columns = {"mask": structs([b"junk"] * 7), "photo": structs(ENCODED), "width": one, "kind": pa.array(range(7))}
    names = list("abcdefg")
    features = {"photo": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": names}, "width": {}}
    write(tmp_path / "a" / SHARD, columns, features)
    corpus = load_corpus(f"parquet:{tmp_path / 'a'}", "train")
    np.testing.assert_array_equal(corpus.images, IMAGES)
    assert corpus.class_names == tuple(names)
    renamed = dict(zip(["mask", "image", "width", "label"], columns.values(), strict=True))
    write(tmp_path / "b" / SHARD, renamed)
    (tmp_path / "b" / "classes.txt").write_text("\n".join("ABCDEFGH"))
    assert load_corpus(f"parquet:{tmp_path / 'b'}", "train").class_names == tuple("ABCDEFGH")
    write(tmp_path / "c" / SHARD, columns)
    assert "has no image column (binary, or a struct with 'bytes') that can be told" in failure(tmp_path / "c")
    write(tmp_path / "d" / SHARD, {"image": columns["photo"], "label": pa.array(["cat"] * 7)})
    assert "has no integer label column that can be told (columns there: image: struct<" in failure(tmp_path / "d")


def test_test_split_is_validation_where_test_has_no_labels(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", ENCODED, range(7))
    write_parquet(tmp_path / "validation-0.parquet", ENCODED[:3], [6, 5, 4])
    assert load_corpus(f"parquet:{tmp_path}", "test").labels.tolist() == [6, 5, 4]
    write_parquet(tmp_path / "test-0.parquet", ENCODED[:2], [-1, -1])
    assert load_corpus(f"parquet:{tmp_path}", "test").labels.tolist() == [6, 5, 4]
    write_parquet(tmp_path / "test-0.parquet", ENCODED[:2], [1, 0])
    assert load_corpus(f"parquet:{tmp_path}", "test").labels.tolist() == [1, 0]


def test_faults(tmp_path):
    assert "holds no parquet files" in failure(tmp_path)
    write_parquet(tmp_path / SHARD, ENCODED, range(7))
    assert "has no test split (splits there: train)" in failure(tmp_path, "test")
    write_parquet(tmp_path / SHARD, ENCODED, [0, 1, None, 3, -1, 5, 6])
    assert "2 of 7 labels are not in 0–6, the first in row 2 (from 0) of" in failure(tmp_path)
    write_parquet(tmp_path / SHARD, ENCODED, [0, 1, 2, 0, 1, 2, 3], names=["a", "b", "c"])
    assert "1 of 7 labels are not in 0–2" in failure(tmp_path)
    images = [*ENCODED[:4], None, b"junk", content(photograph(20, 10))]
    write_parquet(tmp_path / SHARD, images, range(7))
    text = failure(tmp_path)
    assert f"2 of 7 images are corrupt, the first in row 4 (from 0) of {tmp_path / SHARD}: no bytes" in text
    assert "1 of 7 images are not 12×10, the first in row 6 (from 0)" in text
    write_parquet(tmp_path / SHARD, [], [])
    assert "no rows in 1 file(s)" in failure(tmp_path)
    (tmp_path / SHARD).write_bytes(b"PAR1 and no end")
    assert "is cut short" in failure(tmp_path)


def test_cifar_folder_can_be_enlarged(cifar_folder):
    corpus = load_corpus(f"parquet:{cifar_folder}", "train", resize=64)
    assert corpus.shape == (3, 64, 64)
