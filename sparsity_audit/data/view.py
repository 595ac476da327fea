"""View: what of a stored image the network is shown; and decoding one image into it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sparsity_audit.data.corpus import Pixels
from sparsity_audit.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

Encoded = bytes | Path | None
"""An image file's content, the file itself, or nothing where there should be something."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
"""By content, whatever the name: ImageNet holds a PNG called JPEG. Plugins that run other programs are left out."""

ONE_SIZE = "give all one size with --resize N and --crop N"
TOO_SMALL = "add --resize N, which scales the shorter side"
CORRUPT = "replace or delete them"


class Fault(NamedTuple):
    """What is wrong with an image: ``kind`` continues the sentence "n of m images …"."""

    kind: str
    detail: str
    remedy: str


@dataclass(frozen=True)
class View:
    """Deterministic preprocessing, as torchvision's ``Resize`` and ``CenterCrop`` do it on PIL images."""

    resize: int | None = None
    """Pixels of the shorter side afterwards; bilinear, antialiased. None: as stored."""
    crop: int | None = None
    """Pixels of the square cut from the centre. None: the whole image."""

    def check(self) -> None:
        """Raise a UsageError for sizes that cannot be, or a crop that no resized image has."""
        for flag, size in (("--resize", self.resize), ("--crop", self.crop)):
            if size is not None and size < 1:
                raise UsageError(f"{flag} must be at least 1, not {size}")
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise UsageError(f"--crop {self.crop} is larger than --resize {self.resize}: give both so that it fits")

    def shape_of(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) of what is shown of an image."""
        return (self.crop, self.crop) if self.crop is not None else self._resized(width, height)

    def of(self, image: Image) -> Image:
        """Return what is shown of an RGB image that is at least as large as the crop."""
        from PIL import Image as Pillow

        size = self._resized(*image.size)
        if size != image.size:
            image = image.resize(size, Pillow.Resampling.BILINEAR)
        if self.crop is None:
            return image
        width, height = image.size
        left, top = round((width - self.crop) / 2), round((height - self.crop) / 2)
        return image.crop((left, top, left + self.crop, top + self.crop))

    def fault(self, width: int, height: int, wanted: tuple[int, int]) -> Fault | None:
        """Return what keeps an image of this size from being shown as (width, height) ``wanted``."""
        if self.crop is not None and min(self._resized(width, height)) < self.crop:
            return Fault(f"are smaller than --crop {self.crop}", f"{width}×{height}", TOO_SMALL)
        if self.shape_of(width, height) == wanted:
            return None
        resized = "" if self.resize is None else f" after --resize {self.resize}"
        return Fault(f"are not {wanted[0]}×{wanted[1]}{resized}", f"{width}×{height}", ONE_SIZE)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        short, long = min(width, height), max(width, height)
        if self.resize is None or short == self.resize:
            return width, height
        other = int(self.resize * long / short)
        return (self.resize, other) if width <= height else (other, self.resize)


def decode_into(target: Pixels, encoded: Encoded, view: View) -> Fault | None:
    """Decode one image into ``target`` (uint8 [H, W, 3]); grey, palette, RGBA and CMYK images become RGB.

    Returns:
        What is wrong with the image, and ``target`` is then as it was; None where nothing is.
    """
    height, width, _ = target.shape
    try:
        with _opened(encoded) as image:
            fault = view.fault(*image.size, (width, height))
            if fault is None:
                target[:] = np.asarray(view.of(_rgb(image)))
            return fault
    except Exception as error:  # the codecs raise OSError, SyntaxError, struct.error, …: all mean a corrupt image
        return Fault("are corrupt", _reason(error), CORRUPT)


def size_of(encoded: Encoded) -> tuple[int, int] | Fault:
    """Return (width, height) from an image's header."""
    try:
        with _opened(encoded) as image:
            return image.size
    except Exception as error:
        return Fault("are corrupt", _reason(error), CORRUPT)


def _opened(encoded: Encoded) -> Image:
    from PIL import Image as Pillow

    if encoded is None:
        raise ValueError("no bytes")
    return Pillow.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=FORMATS)


def _rgb(image: Image) -> Image:
    if image.mode[0] in "IF":  # Pillow would clip these at 255 without a word
        raise ValueError(f"pixels of more than 8 bits (mode {image.mode})")
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":  # its own text is an object's address
        return "no image of a known format"
    return " ".join(str(error).split()) or type(error).__name__
