"""Several processes that train one model, as ``torchrun`` starts them, and the batches that each of them gets.

A process that is alone has number 0 of 1.

Private to the library: :mod:`chainrule.training` uses it.
"""

import atexit
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

__all__ = ["Data", "as_dataset", "batches", "join_processes", "own_device", "shares", "sum_over_processes"]

Data = Dataset | tuple[Tensor, ...] | list


def own_device(device: torch.device | str | None, otherwise: torch.device) -> torch.device:
    """The device of this process: ``None`` is its own GPU under ``torchrun`` if there is one, ``otherwise`` if not."""
    launched = dist.is_available() and dist.is_torchelastic_launched()
    if device is None:
        device = "cuda" if launched and torch.cuda.is_available() else otherwise
    device = torch.device(device)
    if launched and device.type == "cuda" and device.index is None:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def join_processes(device: torch.device) -> tuple[int, int]:
    """Meet the other processes that ``torchrun`` started, if it did; return this one's number and their count."""
    if dist.is_available() and dist.is_torchelastic_launched() and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return _rank_and_world()


def _rank_and_world() -> tuple[int, int]:
    """The number of this process and the count of all."""
    alone = not (dist.is_available() and dist.is_initialized())
    return (0, 1) if alone else (dist.get_rank(), dist.get_world_size())


def shares(order: Tensor, batch_size: int, rank: int, world: int) -> list[tuple[Tensor, int, int]]:
    """The samples of one process in each step, how many of them count, and how many the whole batch has.

    All processes must take each step together. One that gets no sample of a last, small batch goes along with a sample
    that counts for nothing.

    >>> shares(torch.tensor([7, 8, 9]), batch_size=1, rank=1, world=2)
    [(tensor([8]), 1, 2), (tensor([9]), 0, 1)]
    """
    wholes = order.split(batch_size * world)
    parts = [(whole, whole[rank::world]) for whole in wholes]
    return [(part if len(part) else whole[:1], len(part), len(whole)) for whole, part in parts]


def as_dataset(data: Data) -> Dataset | list:
    """Tensors as a data set; ValueError where there is no sample, or the lengths differ."""
    if isinstance(data, tuple) or (isinstance(data, list) and any(isinstance(part, Tensor) for part in data)):
        if not all(isinstance(part, Tensor) for part in data):
            raise ValueError(f"expected tensors, got {', '.join(type(part).__name__ for part in data)}")
        if len(data) < 2 or len({len(part) for part in data}) > 1:
            raise ValueError(f"expected inputs and targets of the same length, got {[len(part) for part in data]}")
        data = TensorDataset(*data)
    if len(data) == 0:
        raise ValueError("expected at least one sample, got none")
    return data


def batches(
    data: Dataset | list, order: Tensor, batch_size: int, num_workers: int, device: torch.device
) -> Iterator[tuple[list[Tensor], Tensor, int, int]]:
    """Inputs and targets of this process, how many of its samples count, and how many the whole batch has."""
    chosen = shares(order, batch_size, *_rank_and_world())
    if type(data) is TensorDataset:  # a whole batch at once, many times faster than sample by sample
        made = (data[indices] for indices, _, _ in chosen)
    else:
        lists = [indices.tolist() for indices, _, _ in chosen]
        made = DataLoader(data, batch_sampler=lists, num_workers=num_workers, pin_memory=device.type == "cuda")
    for batch, (_, count, size) in zip(made, chosen, strict=True):
        *x, y = (part.to(device, non_blocking=True) for part in batch)
        yield x, y, count, size


def sum_over_processes(numbers: list[float], device: torch.device) -> list[float]:
    """Elementwise sums over all processes, the same in each of them."""
    if _rank_and_world()[1] == 1:
        return numbers
    sums = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()
