"""One training in several processes: each reads its own samples, and gradients are averaged.

On a few cores twice as fast as one process with as many threads, as most of so small a model's operations are too short
to share.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import parent_process
from typing import Any

import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn


def run(work: Callable[..., None], n_processes: int, *arguments: Any) -> None:
    """Call `work(rank, *arguments)` here, or in so many processes of one thread each that can talk to each other."""
    if n_processes == 1:
        return work(0, *arguments)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    spawn(_join, args=(work, n_processes, address, arguments), nprocs=n_processes)
    return None


def _join(rank: int, work: Callable[..., None], n_processes: int, address: str, arguments: Sequence[Any]) -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=n_processes)
    work(rank, *arguments)
    distributed.destroy_process_group()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # it was killed: nobody waits for this process, which would train on and save over others


def average(parameters: Iterable[nn.Parameter]) -> None:
    """Put the mean over all processes into each parameter's gradient; one that a process lacks counts as zero there."""
    if distributed.is_initialized():
        known = list(parameters)
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in known])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        for parameter, mean in zip(known, flat.split([p.numel() for p in known]), strict=True):
            parameter.grad = mean.view_as(parameter).clone()


def total(n: int) -> int:
    """The sum over all processes."""
    if not distributed.is_initialized():
        return n
    count = torch.tensor(n)
    distributed.all_reduce(count)
    return int(count)
