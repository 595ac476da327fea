"""What a training runs on, and how it is kept apart from the rest of the process."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator

import torch

from sparsity_audit.schema.record import SessionRecord
from sparsity_audit.version import __version__


def session_record(device: str, began: float, start: int, end: int) -> SessionRecord:
    """Return the record of a stretch of steps; ``began`` is its first ``time.monotonic()``."""
    return SessionRecord(
        from_step=start,
        to_step=end,
        seconds=round(time.monotonic() - began, 3),
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        python=platform.python_version(),
        platform=platform.platform(),
        tool=__version__,
    )


@contextlib.contextmanager
def chance_apart(device: str) -> Iterator[None]:
    """Leave torch's random generators to the caller as they were."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextlib.contextmanager
def deterministic(device: str) -> Iterator[None]:
    """Keep cuDNN from choosing its kernels by timing them; on the CPU nothing needs to be asked for."""
    if not device.startswith("cuda"):
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield
