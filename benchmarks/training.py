"""The book's training loop beside a bare loop of torch: time, ratio of times, difference of the trained parameters.

Run `.venv/bin/python benchmarks/training.py`, on a GPU with `--device cuda`. Both sides make the same steps on the same
batches, alternately and on one thread. The times are medians, on a CPU of the process's own time, which other programs
disturb less. The bare loop is what one writes by hand: index the tensors, zero_grad, predict, loss, backward, step, and
add up the losses. It checks nothing. A ratio above 1 means that the library takes longer; the aim is to stay below
1.11, that is, to reach 0.9 of the bare loop's speed. Nothing here is a test: no time is asserted.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from chainrule.training import fit

SECONDS = 8.0  # spent on each row, at least 5 repetitions of either side


class Pairs(Dataset):
    """Samples one by one, as a data set with transforms gives them."""

    def __init__(self, x: Tensor, y: Tensor):
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.x[i], self.y[i]


def perceptron(*sizes: int) -> nn.Module:
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def convolutional() -> nn.Module:
    body = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*body, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 7 * 7, 10))


def rows() -> Iterator[tuple[str, Callable[[], nn.Module], tuple[int, ...], int, int, type]]:
    """What is compared: title, network, shape of a sample, samples, batch size, optimizer."""
    yield (
        "64-32-10 on 1400 digits, batches of 32, SGD",
        lambda: perceptron(64, 32, 10),
        (8, 8),
        1400,
        32,
        torch.optim.SGD,
    )
    yield "the same with Adam", lambda: perceptron(64, 32, 10), (8, 8), 1400, 32, torch.optim.Adam
    yield (
        "784-512-512-10 on 3000 images, batches of 64, SGD",
        lambda: perceptron(784, 512, 512, 10),
        (28, 28),
        3000,
        64,
        torch.optim.SGD,
    )
    yield "two convolutions on 500 images, batches of 50, SGD", convolutional, (1, 28, 28), 500, 50, torch.optim.SGD


def order(samples: int, epoch: int) -> Tensor:
    """The order that fit draws for seed 0."""
    seed = int(np.random.SeedSequence((0, epoch)).generate_state(1, np.uint64)[0])
    return torch.randperm(samples, generator=torch.Generator().manual_seed(seed))


def bare(model: nn.Module, make: type, x: Tensor, y: Tensor, size: int, data: Dataset | None, device: str) -> None:
    model.to(device).train()
    optimizer = make(model.parameters(), lr=0.01)
    chosen = order(len(x), 0).split(size)
    batches = (
        ((x[i], y[i]) for i in chosen) if data is None else DataLoader(data, batch_sampler=[i.tolist() for i in chosen])
    )
    total = 0.0
    for inputs, labels in batches:
        inputs, labels = inputs.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)


def ours(model: nn.Module, make: type, x: Tensor, y: Tensor, size: int, data: Dataset | None, device: str) -> None:
    optimizer = make(model.parameters(), lr=0.01)
    fit(model, F.cross_entropy, optimizer, (x, y) if data is None else data, epochs=1, batch_size=size, device=device)


def compare(build: Callable[[], nn.Module], *arguments) -> tuple[float, float, float]:
    """Median seconds of both loops, run alternately, and the largest difference of the parameters they end with."""
    clock = time.process_time if arguments[-1] == "cpu" else time.perf_counter

    def run(loop: Callable) -> tuple[float, Tensor]:
        torch.manual_seed(0)
        model = build()
        start = clock()
        loop(model, *arguments)
        if arguments[-1] == "cuda":
            torch.cuda.synchronize()
        seconds = clock() - start
        return seconds, torch.cat([p.detach().flatten() for p in model.parameters()])

    first, second = run(ours)[1], run(bare)[1]
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times[0]) < 5:
        for loop, record in zip((ours, bare), times, strict=True):
            record.append(run(loop)[0])
    return statistics.median(times[0]), statistics.median(times[1]), (first - second).abs().max().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    torch.set_num_threads(1)
    print("| one epoch | data | ours, ms | bare loop, ms | ratio | largest difference |\n|---|---|---|---|---|---|")
    generator = torch.Generator().manual_seed(0)
    ratios = []
    for title, build, shape, samples, size, make in rows():
        x = torch.rand(samples, *shape, generator=generator)
        y = torch.randint(10, (samples,), generator=generator)
        for kind, data in (("tensors", None), ("data set", Pairs(x, y))):
            a, b, difference = compare(build, make, x, y, size, data, device)
            ratios.append(a / b)
            print(f"| {title} | {kind} | {1e3 * a:.2f} | {1e3 * b:.2f} | {a / b:.3f} | {difference:.1e} |", flush=True)
    print(f"\nOn {device}. Geometric mean of the ratios: {statistics.geometric_mean(ratios):.3f}")


if __name__ == "__main__":
    main()
