r"""One training loop for the whole book: seeded, resumable, on one device or on several processes.

An epoch visits the samples in a fresh random order, cut into mini-batches B, and each batch moves the parameters by one
step of the optimizer, which for plain gradient descent is

.. math:: \theta \leftarrow \theta - \eta\,\nabla_\theta\,\frac{1}{|B|} \sum_{i \in B} \ell(f_\theta(x_i), y_i).

All randomness of an epoch (the order, dropout, random transforms that use torch) follows from the seed and the number
of the epoch. So a run that was killed starts again after its last whole epoch and ends with the same numbers, bit for
bit (on a GPU, if torch is told to use deterministic algorithms). Under ``torchrun`` the same program trains with
several processes: each takes its share of every batch, and DistributedDataParallel averages the gradients.

Reference: S. Li et al., *PyTorch Distributed: Experiences on Accelerating Data Parallel Training*, VLDB 2020.
The book's chapter ``neural-networks`` teaches this module.
"""

import contextlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from chainrule._checkpoint import read_checkpoint, write_checkpoint
from chainrule._processes import Data, as_dataset, batches, join_processes, own_device, sum_over_processes

__all__ = ["History", "accuracy", "evaluate", "fit"]

Measure = Callable[[Tensor, Tensor], Tensor]


@dataclass
class History:
    """What was measured, one number an epoch in every list.

    Attributes:
        train_loss: mean loss of the training samples, each measured when its batch had its turn, while the parameters
            were still moving.
        validation_loss: mean loss of the validation samples after the epoch; empty without validation data.
        metrics: for each metric its mean over the validation samples after the epoch.

    >>> History(train_loss=[0.9, 0.3, 0.1], validation_loss=[0.8, 0.4, 0.5]).best_epoch
    1
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        """The first epoch, from 0, of least validation loss; without validation data, of least training loss."""
        losses = self.validation_loss or self.train_loss
        return losses.index(min(losses))


def accuracy(scores: Float[Tensor, "m k"], labels: Integer[Tensor, "m"]) -> Float[Tensor, ""]:
    """Share of the samples whose largest score is the one of their class.

    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    tensor(0.5000)
    """
    return (scores.argmax(dim=1) == labels).to(scores.dtype).mean()


def evaluate(
    model: nn.Module,
    loss: Measure,
    data: Data,
    *,
    metrics: Mapping[str, Measure] | None = None,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    num_workers: int = 0,
) -> dict[str, float]:
    """Mean loss and metrics of a model over a data set, in evaluation mode and without gradients.

    Args:
        model: a module; it is left in the mode in which it came.
        loss: the mean over a batch, as for :func:`fit`.
        data: tensors or a data set, as for :func:`fit`.
        metrics: further measures by name, each a mean over a batch.
        batch_size: samples at a time; it changes the results by rounding only, a small last batch counts by its size.
        device: where to compute, as for :func:`fit`.
        num_workers: as for :func:`fit`.

    Returns:
        The means over all samples by name, ``"loss"`` first.

    Raises:
        ValueError: as :func:`fit`.

    >>> evaluate(nn.Identity(), nn.MSELoss(), (torch.zeros(3, 1), torch.ones(3, 1)), device="cpu")
    {'loss': 1.0}
    """
    data, device = as_dataset(data), own_device(device, _home(model))
    measures = {"loss": loss, **(metrics or {})}
    totals, mode = [0.0] * (1 + len(measures)), model.training
    model.to(device).eval()
    with torch.no_grad():
        for x, y, count, _ in batches(data, torch.arange(len(data)), batch_size, num_workers, device):
            scores = _predict(model, x, y)
            values = [1.0, *(_measure(name, measure, scores, y).item() for name, measure in measures.items())]
            totals = [total + count * value for total, value in zip(totals, values, strict=True)]
    model.train(mode)
    size, *sums = sum_over_processes(totals, device)
    return {name: total / size for name, total in zip(measures, sums, strict=True)}


def fit(
    model: nn.Module,
    loss: Measure,
    optimizer: torch.optim.Optimizer,
    data: Data,
    *,
    epochs: int,
    batch_size: int = 32,
    seed: int = 0,
    validation: Data | None = None,
    metrics: Mapping[str, Measure] | None = None,
    scheduler: Any = None,
    after_backward: Callable[[nn.Module], None] | None = None,
    device: torch.device | str | None = None,
    checkpoint: str | os.PathLike | None = None,
    keep_best: bool = False,
    num_workers: int = 0,
    progress: bool = False,
) -> History:
    """Train a model by mini-batches.

    Args:
        model: a module that maps the inputs of a batch to predictions; it is left in evaluation mode.
        loss: ``loss(prediction, target)`` is the mean over the batch, a single number.
        optimizer: holds parameters of the model.
        data: tensors ``(x, y)`` of the same length, or a data set whose items are such pairs.
        epochs: how often every sample is visited, those before an interruption included.
        batch_size: samples of a process at a step. Two processes make the steps of one with twice this size.
        seed: decides the order of the samples and all randomness inside of the model.
        validation: further data, on which loss and metrics are measured after each epoch.
        metrics: measures by name, such as ``{"accuracy": accuracy}``; each a mean over the batch, like the loss.
        scheduler: its ``step()`` is called after each epoch.
        after_backward: called with the model when the gradients are ready, before the step; may look or clip.
        device: where to train; the model is moved there. ``None`` means where it is, and under ``torchrun`` the
            process's own GPU if there is one.
        checkpoint: a file that is written after each epoch, in one atomic move, with the last and the best state. If
            it exists already, training goes on from it. Several processes must all see it.
        keep_best: give the model the parameters of the best epoch in the end, not the last ones.
        num_workers: processes that prepare the samples of a data set.
        progress: whether to show a progress bar.

    Returns:
        The history of all epochs.

    Raises:
        ValueError: if data, optimizer, loss, shapes or checkpoint do not fit.
        FloatingPointError: at the first step whose loss is infinite or NaN, with the parameters as they were before it.

    >>> x = torch.linspace(-1, 1, 20).unsqueeze(1)
    >>> model = nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    >>> history = fit(model, nn.MSELoss(), optimizer, (x, 3 * x), epochs=30, batch_size=4)
    >>> len(history.train_loss), round(model.weight.item(), 3)
    (30, 3.0)
    """
    data, device = as_dataset(data), own_device(device, _home(model))
    if min(epochs, batch_size) < 1 or seed < 0:
        raise ValueError(f"expected epochs, batch_size >= 1 and seed >= 0, got {epochs}, {batch_size} and {seed}")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held.isdisjoint(id(p) for p in model.parameters() if p.requires_grad):
        raise ValueError("expected an optimizer of the model's parameters, got one that holds none of them")
    rank, world = join_processes(device)
    network = model.to(device)
    parts = {"model": model, "optimizer": optimizer} | ({} if scheduler is None else {"scheduler": scheduler})
    settings = {"seed": seed, "whole batch": batch_size * world, "samples": len(data)}
    history, best = History(), {}
    if checkpoint is not None and Path(checkpoint).exists():
        others = read_checkpoint(checkpoint, settings, parts)
        history, best = History(**others["history"]), others["best"]
    if world > 1:
        network = DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
    begin, steps = len(history.train_loss), math.ceil(len(data) / (batch_size * world))
    gpus = [device] if device.type == "cuda" else []
    bar = contextlib.nullcontext()
    if progress and rank == 0:
        from tqdm.auto import tqdm

        bar = tqdm(total=epochs * steps, initial=begin * steps, unit="step")
    with bar, torch.random.fork_rng(devices=gpus):
        for epoch in range(begin, epochs):
            model.train()
            order = torch.randperm(len(data), generator=torch.Generator().manual_seed(_seed(seed, epoch)))
            _seed_noise(_seed(seed, epoch, 1 + rank), device)  # processes share the order, not the dropout masks
            totals = [0.0, 0.0]
            for step, (x, y, count, size) in enumerate(batches(data, order, batch_size, num_workers, device)):
                optimizer.zero_grad()
                value = _measure("loss", loss, _predict(network, x, y), y)
                number = value.item()
                if not math.isfinite(number):
                    raise FloatingPointError(
                        f"expected a finite loss, got {number} in epoch {epoch}, step {step}; usual causes are a large "
                        "learning rate, a logarithm or quotient of 0, and numbers in the data that are not finite"
                    )
                if world > 1:  # the gradients will be averaged; where counts differ, each must weigh by its own
                    value = value * (count * world / size)
                value.backward()
                if after_backward is not None:
                    after_backward(model)
                optimizer.step()
                totals = [totals[0] + count, totals[1] + count * number]
                if progress and rank == 0:
                    bar.set_postfix(epoch=epoch, loss=f"{number:.4f}", refresh=False)
                    bar.update()
            size, total = sum_over_processes(totals, device)
            history.train_loss.append(total / size)
            if validation is not None:
                options = {"metrics": metrics, "device": device, "num_workers": num_workers}
                measured = evaluate(model, loss, validation, batch_size=batch_size, **options)
                history.validation_loss.append(measured.pop("loss"))
                for name, number in measured.items():
                    history.metrics.setdefault(name, []).append(number)
            if scheduler is not None:
                scheduler.step()
            if history.best_epoch == epoch and (keep_best or checkpoint is not None):
                best = {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
            if checkpoint is not None:
                if rank == 0:
                    write_checkpoint(checkpoint, settings, parts, history=asdict(history), best=best)
                sum_over_processes([0.0], device)  # no process goes on, and perhaps reads the file, before it is there
    if keep_best:
        model.load_state_dict(best)
    model.eval()
    return history


def _home(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _predict(model: nn.Module, x: list[Tensor], y: Tensor) -> Tensor:
    try:
        scores = model(*x)
    except RuntimeError as error:
        error.add_note(f"The inputs of this batch have the shapes {[tuple(part.shape) for part in x]}.")
        raise
    # A loss that subtracts (m,) from (m, 1) gets (m, m) and compares every prediction with every target.
    pairs = list(zip(reversed(scores.shape), reversed(y.shape), strict=False))
    if all(a == b or 1 in (a, b) for a, b in pairs) and (y.dim() > scores.dim() or any(a < b for a, b in pairs)):
        together = tuple(torch.broadcast_shapes(scores.shape, y.shape))
        raise ValueError(
            f"expected targets of the predictions' shape {tuple(scores.shape)}, got {tuple(y.shape)}: a loss may "
            f"compare each with each, in the shape {together}; squeeze or unsqueeze one of them"
        )
    return scores


def _measure(name: str, measure: Measure, scores: Tensor, y: Tensor) -> Tensor:
    value = measure(scores, y)
    if value.numel() != 1:
        raise ValueError(f"expected {name} to give one number, the mean of the batch, got shape {tuple(value.shape)}")
    return value


def _seed_noise(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the generators of all devices
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _seed(*numbers: int) -> int:
    """A seed mixed from several numbers; with a sum, such as seed + epoch, neighbouring runs would share epochs."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
