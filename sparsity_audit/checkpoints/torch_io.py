"""Reading what ``torch.save`` wrote, zip or legacy, as weights only: nothing in the file is run."""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sparsity_audit.checkpoints.plain_data import STAND_INS
from sparsity_audit.checkpoints.tensor import FORMATS, Tensor
from sparsity_audit.errors import CheckpointError, UntrustedCodeError

if TYPE_CHECKING:
    import torch

NEST_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "params_ema",
    "state_dict_ema",
    "ema",
    "module",
    "meta",
)
"""Where trainers put the state dict among other things; the first that holds tensors is read."""

_MAX_DEPTH = 4
"""How many dicts deep a state dict may lie: a pickle may hold itself."""

_WAY_OUT = (
    "save its state_dict, or as safetensors (code is allowed only by --trust-code with "
    "--arch python:PKG.MODULE:FACTORY, and the checkpoint itself stays weights only)"
)

_GLOBAL = re.compile(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)")


_CODES = {spec.torch: code for code, spec in FORMATS.items()}


class StateDict(NamedTuple):
    """The tensors found in a pickled file, where they lay, and the dotted keys of what lay beside them."""

    tensors: dict[str, Tensor]
    nested: str | None
    ignored: tuple[str, ...]


def read_torch(path: Path) -> StateDict:
    """Read a state dict with ``torch.load(weights_only=True, map_location="cpu")``.

    Plain data of other libraries beside the weights (numpy scalars, paths, ``argparse.Namespace``) are read as nothing.

    Raises:
        UntrustedCodeError: the file needs code to be loaded; the class or function is named.
        CheckpointError: damaged, no dict of tensors, or a tensor that is not dense, plain and of a known dtype.
    """
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if is_zip:
        _check_archive(path)
    loaded = _load(path, is_zip)
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"{path}: holds a {type(loaded).__name__}, not a dict of named tensors; save the model's state_dict"
        )
    state, trail, ignored = _descend(path, loaded)
    return StateDict(tensors_of(path, state), ".".join(trail) or None, tuple(ignored))


def tensors_of(path: Path, state: Mapping[str, torch.Tensor]) -> dict[str, Tensor]:
    """Return a state dict's tensors, over torch's own memory where that is contiguous; ``path`` is for messages.

    Raises:
        CheckpointError: a tensor that is not dense, plain, of a known dtype and on the CPU.
    """
    return {name: _tensor(path, name, value) for name, value in state.items()}


def _check_archive(path: Path) -> None:
    """Refuse zip files other than ``torch.save``'s before torch is imported at all."""
    try:
        with zipfile.ZipFile(path) as archive:
            # Inside the one top folder where there is one; the oldest export archives have none.
            members = {name.partition("/")[2] or name for name in archive.namelist()}
    except Exception:  # BadZipFile, NotImplementedError and others, as the damaged directory has it.
        raise CheckpointError(f"{path}: truncated or damaged zip container; fetch or save it again") from None
    if "constants.pkl" in members or any(name.startswith("code/") for name in members):
        raise UntrustedCodeError(f"{path}: a TorchScript archive, which carries code to run; {_WAY_OUT}")
    exported = {"archive_format", "serialized_exported_program.json", "models/model.json"}
    if members & exported:
        raise UntrustedCodeError(f"{path}: a torch.export archive, which runs code when loaded; {_WAY_OUT}")
    if "data.pkl" not in members:
        raise CheckpointError(f"{path}: a zip file, but not one that torch.save wrote (it has no data.pkl)")


def _load(path: Path, is_zip: bool) -> Any:
    import torch

    # An open file, since torch reads a *path* that ends in .safetensors by its suffix alone.
    with path.open("rb") as file, warnings.catch_warnings(), torch.serialization.safe_globals(list(STAND_INS)):
        # About pickle protocols and typed storages: nothing the user could act on.
        warnings.simplefilter("ignore")
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # A legacy file that ends within a global's name is cut off; a whole one goes on behind it.
            if is_zip or file.read(1):
                raise _refusal(path, is_zip, str(error)) from None
            detail = "end of file"
        except Exception as error:  # A damaged pickle fails in whatever way its bytes lead to.
            known = str(error).partition(" This is an internal miniz error")[0]
            detail = known if known and isinstance(error, RuntimeError) else type(error).__name__
    raise CheckpointError(
        f"{path}: truncated, damaged or not written by torch.save ({_one_line(detail)}); fetch or save it again"
    )


def _refusal(path: Path, is_zip: bool, message: str) -> CheckpointError:
    """Condense torch's page of advice (which includes switching the safety off) to one line of ours."""
    found = _GLOBAL.search(message)
    name = found.group(1) if found else None if is_zip else _first_global(path)
    if name:
        return UntrustedCodeError(f"{path}: loading it would import and run {_one_line(name)}; {_WAY_OUT}")
    detail = message.partition("WeightsUnpickler error:")[2].strip() or message
    return CheckpointError(
        f"{path}: torch's weights-only loader cannot read this pickle ({_one_line(detail.splitlines()[0])}): "
        "damaged, or not written by torch.save with its defaults; save its state_dict, or as safetensors"
    )


def _first_global(path: Path) -> str | None:
    """Name the first thing a plain pickle would import, by disassembly, or None where there is none."""
    texts: list[str] = []
    try:
        with path.open("rb") as file:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name in ("GLOBAL", "INST"):
                    return str(argument).replace(" ", ".")
                if opcode.name == "STACK_GLOBAL":
                    return ".".join(texts[-2:])
                if isinstance(argument, str):
                    texts.append(argument)
    except (ValueError, OSError):
        return None
    return None


def _one_line(text: str) -> str:
    """Join lines, and drop what a hostile file could steer a terminal with."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _descend(path: Path, loaded: dict[Any, Any]) -> tuple[dict[str, torch.Tensor], list[str], list[str]]:
    """Return the state dict, the keys that led there, and the dotted keys of everything left aside."""
    import torch

    here, trail, ignored = loaded, list[str](), list[str]()
    while len(trail) < _MAX_DEPTH and (key := _nest_key(path, here)) is not None:
        ignored += [".".join([*trail, str(k)]) for k in here if k != key]
        trail.append(key)
        here = here[key]
    state = {k: v for k, v in here.items() if isinstance(v, torch.Tensor)}
    ignored += [".".join([*trail, str(k)]) for k in here if k not in state]
    if not state:
        raise CheckpointError(f"{path}: holds no tensors by name (keys: {_some(here)}); save the model's state_dict")
    unnamed = next((k for k in state if not isinstance(k, str)), None)
    if unnamed is not None:
        raise CheckpointError(
            f"{path}: tensor names must be text, found {unnamed!r} ({type(unnamed).__name__}); save a state_dict"
        )
    return state, trail, ignored


def _nest_key(path: Path, here: dict[Any, Any]) -> str | None:
    """Return the key to follow, or None where the state dict is ``here``.

    Tensors at this level win, unless a key of ``NEST_KEYS`` holds more of them: trainers put metrics as tensors
    beside ``state_dict``. Without any here or under those keys, a single dict of tensors is taken.
    """
    direct = _direct(here)
    for key in NEST_KEYS:
        if isinstance(here.get(key), dict) and _within(here[key]) > direct:
            return key
    if direct:
        return None
    candidates = [k for k, v in here.items() if isinstance(k, str) and isinstance(v, dict) and _direct(v)]
    if len(candidates) > 1:
        raise CheckpointError(
            f"{path}: several dicts of tensors ({_some(candidates)}) and none under a usual key: "
            "which is the model? Save that one alone"
        )
    return candidates[0] if candidates else None


def _direct(here: dict[Any, Any]) -> int:
    """Count the tensors that are values of this dict."""
    import torch

    return sum(isinstance(v, torch.Tensor) for v in here.values())


def _within(root: dict[Any, Any]) -> int:
    """Count the tensors in a dict and in the dicts inside it, each dict once: a pickle may hold itself."""
    seen, todo, found = set[int](), [root], 0
    while todo:
        here = todo.pop()
        if id(here) not in seen:
            seen.add(id(here))
            found += _direct(here)
            todo += [v for v in here.values() if isinstance(v, dict)]
    return found


def _some(names: Any, most: int = 6) -> str:
    shown = [_one_line(str(name)) for name in names]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "") or "none"


def _tensor(path: Path, name: str, value: torch.Tensor) -> Tensor:
    """Return the tensor over torch's own memory; only a non-contiguous one is copied."""
    import torch

    problem = None
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in _CODES:
        problem = f"is {dtype}, which is not supported; dequantise it, or convert it to float32"
    elif value.layout != torch.strided or value.is_nested:
        problem = f"is not dense ({str(value.layout).removeprefix('torch.')}); call .to_dense() before saving"
    elif value.device.type != "cpu":
        problem = f"has no data (device {value.device}); save real weights"
    if problem:
        raise CheckpointError(f"{path}: tensor {_one_line(name)!r} {problem}")
    # A single element counts as contiguous whatever its stride, and then has no byte view: set the stride.
    try:
        flat = value.detach().resolve_neg().contiguous().as_strided((value.numel(),), (1,))
    except RuntimeError:  # torch's out of memory: an expanded tensor is larger than its storage, at will.
        size = f"{value.numel() * value.element_size():,} bytes"
        raise CheckpointError(f"{path}: tensor {_one_line(name)!r} does not fit into memory ({size})") from None
    data = flat.view(torch.uint8).numpy().data.toreadonly()
    return Tensor(name, _CODES[dtype], tuple(value.shape), data)
