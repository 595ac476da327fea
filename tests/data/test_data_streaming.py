"""Corpora decoded on every pass: the same batches as from the cache, few at a time, and nothing left running."""

from __future__ import annotations

import gc
import hashlib
import json
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from image_files import class_folders, content, photograph

from sparsity_audit.data.corpus import Corpus, LazyImages
from sparsity_audit.data.image_corpus import EncodedImages
from sparsity_audit.data.listing import Listing
from sparsity_audit.data.load import load_corpus
from sparsity_audit.data.prefetch import AHEAD, decoded_batches
from sparsity_audit.data.view import View
from sparsity_audit.errors import DataError

SIZE = (24, 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "data", {"a": 21, "b": 9, "c": 20}, SIZE)


def both(folder: Path, **options: object) -> tuple[Corpus, Corpus]:
    """Return the corpus from the cache, and streamed."""
    cached = load_corpus(f"imagefolder:{folder}", "train", **options)
    streamed = load_corpus(f"imagefolder:{folder}", "train", stream_above=0, **options)
    assert isinstance(cached.images, np.memmap)
    assert isinstance(streamed.images, LazyImages)
    return cached, streamed


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sparsity-audit")]


@pytest.mark.parametrize("size", [1, 7, 16, 50, 1000])
def test_batches_are_those_of_the_array(folder, size):
    cached, streamed = both(folder)
    pairs = list(zip(cached.batches(size), streamed.batches(size), strict=True))
    for (images, labels), (same, same_labels) in pairs:
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, same_labels)
    assert (len(streamed), streamed.shape, streamed.available) == (50, (3, 20, 24), 50)
    assert streamed.class_names == cached.class_names
    assert our_threads() == []


@pytest.mark.parametrize("seed", [0, 5])
def test_a_sample_is_the_same_drawn_before_or_after_from_the_cache_or_streamed(folder, seed):
    cached, streamed = both(folder)
    early_cached, early_streamed = both(folder, limit=13, seed=seed)
    expected = cached.sample(13, seed)
    for corpus in (streamed.sample(13, seed), early_cached, early_streamed):
        images, labels = next(iter(corpus.batches(13)))
        np.testing.assert_array_equal(images, expected.images)
        np.testing.assert_array_equal(labels, expected.labels)
        assert (len(corpus), corpus.available, corpus.seed) == (13, 50, seed)
        assert corpus.sample(13, seed) is corpus
    assert early_cached.sha256 == expected.sha256
    assert early_streamed.sha256 == streamed.sample(13, seed).sha256 != streamed.sha256


def test_a_sample_decodes_no_other_image(folder):
    whole = load_corpus(f"imagefolder:{folder}", "train", stream_above=0)
    drawn = whole.sample(5, 1)
    wanted = {int(index) for index in drawn.images.indices}
    for index, file in enumerate(sorted(folder.glob("*/*"))):
        if index not in wanted:
            file.write_bytes(b"junk")
    assert [len(labels) for _, labels in drawn.batches(2)] == [2, 2, 1]


def test_threshold_is_that_of_the_decoded_bytes(folder):
    exactly = 50 * 24 * 20 * 3
    for stream_above, lazy in ((exactly, False), (exactly - 1, True)):
        corpus = load_corpus(f"imagefolder:{folder}", "train", stream_above=stream_above)
        assert isinstance(corpus.images, LazyImages) == lazy
    corpus = load_corpus(f"imagefolder:{folder}", "train", stream_above=exactly // 2, limit=25)
    assert not isinstance(corpus.images, LazyImages)


def test_digest_is_over_view_names_sizes_and_labels(folder):
    _, streamed = both(folder)
    files = sorted(folder.glob("*/*"))
    # Sorted as the names are: 0, 1, 10, 11, …
    expected = hashlib.sha256(b"(None, None)")
    for file in files:
        name = f"{file.parent.name}/{file.name} {file.stat().st_size}"
        expected.update(json.dumps([name, "abc".index(file.parent.name)]).encode() + b"\n")
    assert streamed.sha256 == expected.hexdigest()
    assert both(folder, crop=9)[1].sha256 != streamed.sha256
    files[0].write_bytes(content(photograph(*SIZE, 99)))
    assert both(folder)[1].sha256 != streamed.sha256


def test_corrupt_images_end_the_pass_at_their_batch(folder):
    streamed = load_corpus(f"imagefolder:{folder}", "train", stream_above=0)
    files = [Path(streamed.images.listing.where(index)) for index in (25, 27)]
    for file in files:
        file.write_bytes(file.read_bytes()[:90])
    batches = streamed.batches(10)
    assert [len(next(batches)[1]) for _ in range(2)] == [10, 10]
    with pytest.raises(DataError) as caught:
        next(batches)
    text = str(caught.value)
    assert f"2 of 30 images are corrupt, the first in {files[0]}: " in text
    assert text.endswith("; replace or delete them")
    assert our_threads() == []


def test_a_file_that_went_away_is_named(folder):
    streamed = load_corpus(f"imagefolder:{folder}", "train", stream_above=0)
    gone = Path(streamed.images.listing.where(3))
    gone.unlink()
    with pytest.raises(DataError, match=r"1 of 10 images are corrupt, the first in .*No such file"):
        next(streamed.batches(10))


@dataclass(eq=False)
class Counted:
    """Encoded images that say how many of them were asked for, and when one was let go."""

    total: int
    asked: int = 0
    closed: bool = False
    image: bytes = field(default_factory=lambda: content(photograph(8, 8), "PNG"))

    def __iter__(self) -> Iterator[bytes]:
        try:
            for _ in range(self.total):
                self.asked += 1
                yield self.image
        finally:
            self.closed = True


def decoding(source: Counted, batch: int = 10) -> Iterator[np.ndarray]:
    for images, found in decoded_batches(iter(source), source.total, (8, 8, 3), View(), batch, workers=3):
        assert not found
        yield images
        del images


def test_a_slow_consumer_never_has_more_than_the_stated_batches_waiting():
    source = Counted(200)
    for number, _ in enumerate(decoding(source), 1):
        time.sleep(0.01)
        assert source.asked <= 10 * (number + AHEAD)
    assert (number, source.asked) == (20, 200)


def test_batches_that_the_consumer_let_go_are_free(folder):
    streamed = load_corpus(f"imagefolder:{folder}", "train", stream_above=0)
    seen: list[weakref.ref[np.ndarray]] = []
    for images, _ in streamed.batches(5):
        seen.append(weakref.ref(images))
        del images
        patience = time.monotonic() + 5  # a worker may not have let go of its finished work yet
        while any(ref() is not None for ref in seen[:-1]) and time.monotonic() < patience:
            time.sleep(0.001)
        assert [number for number, ref in enumerate(seen[:-1]) if ref() is not None] == []
    assert len(seen) == 10


@pytest.mark.parametrize("ending", ["break", "error", "close"])
def test_leaving_early_stops_the_workers(folder, ending):
    streamed = load_corpus(f"imagefolder:{folder}", "train", stream_above=0)
    batches = streamed.batches(5)
    assert our_threads() == []  # nothing starts before the first batch is asked for
    try:
        for _ in batches:
            assert our_threads() != []
            if ending == "error":
                raise KeyError
            break
    except KeyError:
        pass
    batches.close()
    assert our_threads() == []


def test_a_loop_that_is_left_needs_no_close(folder):
    def first() -> int:
        for images, _ in load_corpus(f"imagefolder:{folder}", "train", stream_above=0).batches(5):
            return len(images)
        return 0

    assert first() == 5
    gc.collect()
    assert our_threads() == []


def test_leaving_early_asks_for_nothing_more():
    source = Counted(1000)
    batches = decoding(source)
    next(batches)
    batches.close()
    asked = source.asked
    assert asked <= 10 * (1 + AHEAD)
    time.sleep(0.02)
    assert source.asked == asked


def test_failure_of_the_reader_reaches_the_consumer():
    def damaged() -> Iterator[bytes]:
        yield from Counted(15)
        raise DataError("shard 2 is damaged")

    batches = decoded_batches(damaged(), 30, (8, 8, 3), View(), 10)
    assert len(next(batches)[0]) == 10
    with pytest.raises(DataError, match="shard 2 is damaged"):
        next(batches)
    with pytest.raises(DataError, match="fewer images than when it was opened"):
        list(decoded_batches(iter(Counted(15)), 30, (8, 8, 3), View(), 10))
    assert our_threads() == []


def test_passes_may_run_side_by_side(folder):
    cached, streamed = both(folder)
    for (one, _), (two, _), (three, _) in zip(streamed.batches(6), streamed.batches(6), cached.batches(6), strict=True):
        np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(two, three)


def test_takes_nest():
    class Plain(Listing):
        encoded = where = identity = stamp = lambda *_: ""

    labels = np.arange(30)
    images = EncodedImages(Plain(labels, ("a",)), labels, View(), (4, 4, 3))
    assert images.take(np.array([3, 7, 9])).take(np.array([0, 2])).indices.tolist() == [3, 9]


def test_streaming_imports_no_torch(folder):
    code = (
        "import sys; from sparsity_audit.data.load import load_corpus\n"
        "list(load_corpus('imagefolder:' + sys.argv[1], 'train', stream_above=0).batches(9))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder)], timeout=60).returncode == 0
