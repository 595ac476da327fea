"""The ``--arch`` option: ``zoo:NAME``, ``torchvision:NAME``, ``timm:NAME`` or ``python:PKG.MODULE:FACTORY``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from sparsity_audit.errors import ArchitectureError, UntrustedCodeError, UsageError, did_you_mean
from sparsity_audit.models.index import load_index
from sparsity_audit.models.registry import TORCHVISION, zoo_names
from sparsity_audit.models.timm_index import load_timm_index
from sparsity_audit.models.timm_network import TIMM

SOURCES = ("zoo", "torchvision", "timm", "python")


def parse_arch(arch: str) -> tuple[str, str]:
    """Return source and name of an ``--arch`` value.

    Raises:
        UsageError: an unknown source, or a zoo network that does not exist.
    """
    source, _, name = arch.partition(":")
    if source not in SOURCES or not name:
        known = [f"zoo:{zoo}" for zoo in zoo_names()] + [TORCHVISION + entry.name for entry in load_index()]
        known += [TIMM + network for network in load_timm_index()]
        ends = [title for title in known if title.endswith(f":{arch}")]
        hint = f" (did you mean {ends[0]!r}?)" if ends else ""
        raise UsageError(
            f"--arch {arch!r}: not of the form zoo:NAME, torchvision:NAME, timm:NAME or python:PKG.MODULE:FACTORY{hint}"
        )
    if source == "zoo" and name not in zoo_names():
        raise UsageError(f"--arch {arch!r}: no such network in the zoo{did_you_mean(name, zoo_names())}")
    return source, name


def call_factory(place: str, trust_code: bool) -> nn.Module:
    """Return what the factory ``PKG.MODULE:FACTORY`` makes; the current folder is searched for it first.

    Raises:
        UntrustedCodeError: without ``trust_code``.
        UsageError: no module and factory in ``place``, or none of that name.
        ArchitectureError: it fails, or returns no module.
    """
    option = f"--arch 'python:{place}'"
    if not trust_code:
        raise UntrustedCodeError(f"{option} runs code of that module; add --trust-code if you trust it")
    path, _, attribute = place.partition(":")
    if not path or not attribute:
        raise UsageError(f"{option}: not of the form python:PKG.MODULE:FACTORY")
    with _current_folder_first():
        try:
            namespace = importlib.import_module(path)
        except Exception as error:
            raise ArchitectureError(f"{option}: importing {path} failed: {_one_line(error)}") from error
        factory = getattr(namespace, attribute, None)
        if not callable(factory):
            public = [name for name, value in vars(namespace).items() if callable(value) and name[0] != "_"]
            raise UsageError(f"{option}: {path} has no factory {attribute!r}{did_you_mean(attribute, public)}")
        try:
            module = factory()
        except Exception as error:
            raise ArchitectureError(f"{option}: {attribute}() failed: {_one_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise ArchitectureError(f"{option}: {attribute}() returned a {type(module).__name__}, not a torch module")
    return module


@contextmanager
def _current_folder_first() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
