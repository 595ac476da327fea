"""What a training is shown: every image once an epoch, in an order, flipped and cropped, by seed and epoch alone."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from training_images import AUGMENTATIONS, Fake, assert_same, corpus_of, epoch, pixels_of, shown, taken

from sparsity_audit.data.corpus import LazyImages, Pixels
from sparsity_audit.data.load import load_corpus
from sparsity_audit.errors import DataError
from sparsity_audit.schema.spec import Normalisation
from sparsity_audit.specs.budget import steps_per_epoch
from sparsity_audit.training.batches import WINDOW
from sparsity_audit.training.corpora import Augmentation


@pytest.mark.parametrize(("count", "batch"), [(12, 4), (14, 4), (2, 40), (39, 40), (40, 40), (7, 2)])
def test_an_epoch_shows_every_image_once_in_batches_of_the_size_asked_for(count: int, batch: int) -> None:
    images = shown(corpus_of(pixels_of(count)), Augmentation(flip=True, crop=None), batch)
    assert images.steps_per_epoch == steps_per_epoch(count, batch)
    for number in range(3):
        sizes = [len(labels) for _, labels in taken(images, number * images.steps_per_epoch, images.steps_per_epoch)]
        assert sizes[:-1] == [batch] * (len(sizes) - 1)
        whole = count - 1 if count % batch == 1 else count  # a single image cannot be normalised by batch norm
        assert sum(sizes) == whole
        labels, _ = epoch(images, number)
        assert len(set(labels.tolist())) == whole


@pytest.mark.parametrize(("count", "batch", "steps"), [(13, 4, 3), (41, 40, 1), (3, 2, 1), (14, 4, 4), (2, 40, 1)])
def test_a_last_batch_of_one_is_left_out(count: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(count, batch) == steps
    images = shown(corpus_of(pixels_of(count)), batch=batch)
    sizes = {len(labels) for _, labels in taken(images, 0, 3 * steps)}
    assert min(sizes) >= 2


def test_the_image_left_out_is_another_one_every_epoch() -> None:
    images = shown(corpus_of(pixels_of(9)))
    left_out = [set(range(9)) - set(epoch(images, number)[0].tolist()) for number in range(12)]
    assert all(len(one) == 1 for one in left_out)
    assert len(set.union(*left_out)) > 4


def test_a_single_image_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 images") as failure:
        shown(corpus_of(pixels_of(1)))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("count", [14, 13])
def test_a_training_that_goes_on_in_the_middle_sees_what_it_would_have_seen(
    augmentation: Augmentation, count: int
) -> None:
    corpus = corpus_of(pixels_of(count))
    whole = taken(shown(corpus, augmentation, seed=3), 0, 11)
    for step in range(11):
        assert_same(taken(shown(corpus, augmentation, seed=3), step, 11 - step), whole[step:])


def test_chance_is_seed_and_epoch_alone() -> None:
    corpus = corpus_of(pixels_of(40))
    cropped = Augmentation(flip=True, crop=4)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = taken(shown(corpus, cropped, seed=5), 0, 10)
    assert torch.equal(torch.get_rng_state(), before)  # dropout's chance is not touched
    torch.manual_seed(2)
    assert_same(taken(shown(corpus, cropped, seed=5), 0, 10), first)
    orders = [tuple(epoch(shown(corpus, cropped, seed=seed), n)[0]) for seed in range(6) for n in range(6)]
    assert len(set(orders)) == len(orders)
    assert tuple(range(40)) not in orders


def test_order_is_uniform() -> None:
    places = np.array([epoch(shown(corpus_of(pixels_of(8)), seed=seed), n)[0] for seed in range(40) for n in range(20)])
    for place in range(8):
        counts = np.bincount(places[:, place], minlength=8)
        assert chi_square(counts) < 30  # 7 degrees of freedom: p ≈ 1e-4; the seeds are fixed


def chi_square(counts: npt.NDArray[np.int64]) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


def test_about_half_is_flipped_and_exactly_mirrored() -> None:
    source = pixels_of(1000)
    images = shown(corpus_of(source), Augmentation(flip=True, crop=None), 64)
    flipped = []
    for number in range(2):
        labels, values = epoch(images, number)
        upright = source[labels].transpose(0, 3, 1, 2).astype(np.float32)
        mirrored = upright[:, :, :, ::-1]
        is_upright = (values.numpy() == upright).all(axis=(1, 2, 3))
        is_mirrored = (values.numpy() == mirrored).all(axis=(1, 2, 3))
        assert (is_upright ^ is_mirrored).all()
        flipped.append(is_mirrored[np.argsort(labels)])
        assert 440 < is_mirrored.sum() < 560  # 500 ± 3.8 deviations
        patterns = {tuple(is_mirrored[start : start + 64]) for start in range(0, 960, 64)}
        assert len(patterns) == 15  # chance goes on from batch to batch
    assert 400 < (flipped[0] != flipped[1]).sum() < 600  # another half in the next epoch


def test_without_flips_nothing_is_mirrored() -> None:
    source = pixels_of(100)
    labels, values = epoch(shown(corpus_of(source)))
    assert (values.numpy() == source[labels].transpose(0, 3, 1, 2)).all()


@pytest.mark.parametrize("flip", [False, True])
def test_crops_are_squares_of_the_image_from_every_place_alike(flip: bool) -> None:
    height, width, crop = 6, 7, 4
    source = pixels_of(1200, height, width)
    labels, values = epoch(shown(corpus_of(source), Augmentation(flip=flip, crop=crop), 50))
    assert values.shape == (1200, 3, crop, crop)
    places: list[tuple[int, int, bool]] = []
    for label, value in zip(labels, values.numpy(), strict=True):
        found = [
            (top, left, mirrored)
            for top in range(height - crop + 1)
            for left in range(width - crop + 1)
            for mirrored in (False, True)
            if (value.transpose(1, 2, 0) == cut(source[label], top, left, crop, mirrored)).all()
        ]
        assert len(found) == 1
        places.append(found[0])
    counts = Counter(places)
    assert len(counts) == 3 * 4 * (1 + flip)
    assert chi_square(np.array(list(counts.values()))) < 52  # at most 23 degrees of freedom: p ≈ 5e-4
    assert len({tuple(places[start : start + 50]) for start in range(0, 1200, 50)}) == 24  # no batch like another


def cut(image: Pixels, top: int, left: int, crop: int, mirrored: bool) -> Pixels:
    square = image[top : top + crop, left : left + crop]
    return square[:, ::-1] if mirrored else square


def test_a_crop_of_the_whole_image_is_the_image() -> None:
    source = pixels_of(20)
    labels, values = epoch(shown(corpus_of(source), Augmentation(flip=False, crop=6)))
    assert (values.numpy() == source[labels].transpose(0, 3, 1, 2)).all()


@pytest.mark.parametrize("scale", [255.0, 16.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_are_normalised_pixels_in_channels_last(scale: float, channels: int) -> None:
    source = pixels_of(30, channels=channels)
    means, deviations = [0.4914, 0.4822, 0.4465][:channels], [0.247, 0.2435, 0.2616][:channels]
    corpus = corpus_of(source, normalisation=Normalisation(mean=means, std=deviations), pixel_scale=scale)
    for values, labels in taken(shown(corpus), 0, 7):
        naive = (source[labels.numpy()].astype(np.float64) / scale - np.array(means)) / np.array(deviations)
        error = np.abs(values.double().numpy() - naive.transpose(0, 3, 1, 2))
        assert (error <= 1e-6 * np.maximum(1.0, np.abs(naive.transpose(0, 3, 1, 2)))).all()
        assert values.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert values.is_contiguous(memory_format=torch.channels_last)
        assert values.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_the_pixels_of_the_corpus_are_left_alone_and_may_be_read_only(augmentation: Augmentation) -> None:
    source = pixels_of(21)
    before = source.copy()
    source.flags.writeable = False
    for values, _ in taken(shown(corpus_of(source), augmentation), 0, 12):
        values.zero_()  # nor are they what a batch lies in
    assert (source == before).all()


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("count", [2 * 2 * WINDOW, 2 * 3 * WINDOW + 5, 11])
def test_images_decoded_on_the_way_are_those_of_the_array(augmentation: Augmentation, count: int) -> None:
    source = pixels_of(count)
    steps = 2 * steps_per_epoch(count, 2) + 1
    for start in (0, 1, WINDOW + 1):
        array = taken(shown(corpus_of(source), augmentation, 2, seed=8), start, steps)
        lazy = taken(shown(corpus_of(Fake(source)), augmentation, 2, seed=8), start, steps)
        assert_same(lazy, array)


def test_a_window_of_batches_is_decoded_at_once_and_no_image_twice() -> None:
    fake = Fake(pixels_of(2 * 3 * WINDOW))
    images = shown(corpus_of(fake), batch=2)
    taken(images, 0, images.steps_per_epoch)
    assert [len(indices) for indices in fake.asked[:3]] == [2 * WINDOW] * 3
    assert sorted(np.concatenate(fake.asked[:3]).tolist()) == list(range(2 * 3 * WINDOW))


def test_a_bad_image_on_the_way_reaches_the_training() -> None:
    class Bad(Fake):
        def batches(self, batch_size: int) -> Generator[Pixels]:
            raise DataError(f"one of {batch_size} images is corrupt")

        def take(self, indices: npt.NDArray[np.int64]) -> Bad:
            return Bad(self.images[indices])

    with pytest.raises(DataError, match="one of 4 images is corrupt"):
        next(shown(corpus_of(Bad(pixels_of(9)))).batches(0))


def test_leaving_an_epoch_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    batches = shown(corpus_of(Fake(pixels_of(100))), batch=2).batches(0)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_a_folder_of_photographs_trains_alike_from_the_cache_and_streamed(tmp_path: Path) -> None:
    for name, number in itertools.product("ab", range(9)):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        image = pixels_of(1, 20, 24)[0] ^ np.uint8(17 * number + ord(name))
        Image.fromarray(image).save(tmp_path / "data" / name / f"{number}.{'png' if number % 2 else 'jpeg'}")
    place = f"imagefolder:{tmp_path / 'data'}"
    cached = load_corpus(place, "train", resize=16, crop=16)
    streamed = load_corpus(place, "train", resize=16, crop=16, stream_above=0)
    assert not isinstance(cached.images, LazyImages)
    assert isinstance(streamed.images, LazyImages)
    both = [taken(shown(corpus, Augmentation(flip=True, crop=12), 4, seed=2), 2, 9) for corpus in (cached, streamed)]
    assert_same(*both)
    assert both[0][0][0].shape == (4, 3, 12, 12)
