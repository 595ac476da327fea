"""Images that a slim network is verified on beside the corpus: random ones, and those of another size."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from sparsity_audit.errors import GraphError
from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.stats.collect import Normaliser

MORE_PIXELS = 16

Shape = tuple[int, int, int]
"""Channels, height, width."""


def random_images(shape: Shape, count: int, normalise: Normaliser, *, pixel_max: int = 255, seed: int = 0) -> Tensor:
    """Return normalised images [count, channels, height, width] of random pixels from 0 to ``pixel_max``.

    Every second image has pixels of 0 and ``pixel_max`` only: the corners of the declared range, where bounds that
    were proved over it are nearest to being broken.
    """
    channels, height, width = shape
    # RandomState: the only generator of numpy whose stream is frozen across versions (NEP 19).
    chance = np.random.RandomState(seed % 2**32)
    pixels = chance.randint(0, pixel_max + 1, (count, height, width, channels)).astype(np.uint8)
    pixels[1::2] = np.where(pixels[1::2] > pixel_max // 2, pixel_max, 0)
    return normalise(pixels)


def other_size(shape: Shape) -> Shape:
    """Return the shape of larger images, to see that surgery did not rest on the size."""
    channels, height, width = shape
    return channels, height + MORE_PIXELS, width + MORE_PIXELS


def resized_graph(model: nn.Module, graph: FeatureGraph) -> FeatureGraph | None:
    """Return the graph of ``model`` for images of another size than ``graph``; None where it takes no other.

    A captured program may have sizes written into it (of a channel shuffle's view, of a pooling over the whole plane),
    so the one for the usual size can't be asked.
    """
    batch = {} if graph.captured.batch is None else {"static_batch": graph.captured.batch}
    try:
        return build_graph(model, other_size(graph.captured.input_shape), **batch)
    except GraphError:
        return None
