"""Makers of image data sets as files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def photograph(width: int, height: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Return a smooth image with some noise: what JPEG is made for, yet no two alike."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    noisy = np.asarray(coarse, dtype=np.int16) + rng.integers(-20, 20, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def save(image: Image.Image, file: Path) -> Path:
    """Write an image; the kind is the name's, ``.JPEG`` too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)
    return file


def content(image: Image.Image, kind: str = "JPEG") -> bytes:
    """Return an image's file."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def class_folders(folder: Path, classes: dict[str, int], size: tuple[int, int] = (40, 30), seed: int = 0) -> Path:
    """Write ``classes[name]`` photographs into a folder for each class, alternately JPEG and PNG."""
    for name, count in classes.items():
        for index in range(count):
            seed += 1
            save(photograph(*size, seed), folder / name / f"{index}.{'png' if index % 2 else 'JPEG'}")
    return folder


def tiny_imagenet(folder: Path) -> Path:
    """Write three classes of TinyImageNet in its archive's layout; every fourth image is grey."""
    ids = ["n03", "n01", "n02"]
    (folder / "val").mkdir(parents=True)
    (folder / "wnids.txt").write_text("\n".join(ids) + "\n")
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\ttench\nn03\tbullfrog, Rana\nn99\tother\n")
    for number, wnid in enumerate(ids):
        for index in range(4):
            image = photograph(64, 64, 10 * number + index, "L" if index == 0 else "RGB")
            save(image, folder / "train" / wnid / "images" / f"{wnid}_{index}.JPEG")
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("x.JPEG\t0\t0\t1\t1\n")
    lines = []
    for index, wnid in enumerate(["n02", "n03", "n01", "n02", "n03"]):
        save(photograph(64, 64, 100 + index, "L" if index == 3 else "RGB"), folder / f"val/images/val_{index}.JPEG")
        lines.append(f"val_{index}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    return folder
