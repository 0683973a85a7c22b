"""The library's information theory beside torch, SciPy and scikit-learn: time, ratio of times, difference of results.

Run `.venv/bin/python benchmarks/information.py`. Both sides of a row compute the same numbers on the same data,
alternately and on one thread; the times are medians. A ratio above 1 means that the library takes longer; the check of
its arguments is most of that. Nothing here is a test: no time is asserted.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from sklearn.feature_selection import mutual_info_regression
from sklearn.metrics import mutual_info_score

from chainrule.coding import decode, encode, huffman_code
from chainrule.information import cross_entropy, empirical_distribution, entropy, kl_divergence, mutual_information
from chainrule.likelihood import fit_gumbel, gumbel_sample, log_sum_exp, negative_log_likelihood
from chainrule.mutual_information import histogram_mutual_information, nearest_neighbour_mutual_information

SECONDS = 1.0  # spent on each row, at least 5 repetitions of either side

Row = tuple[str, str, Callable[[], object], Callable[[], object]]


def rows() -> Iterator[Row]:
    """What is compared: title, whose function it is compared with, ours, theirs."""
    generator = torch.Generator().manual_seed(0)
    for m, k in ((1, 10), (1000, 10), (1000, 1000)):
        p, q = torch.randn(2, m, k, generator=generator, dtype=torch.float64).softmax(-1)
        size = f"{m} x {k}"
        yield (
            f"entropy, {size}",
            "scipy.stats",
            lambda p=p: entropy(p),
            lambda p=p: scipy.stats.entropy(p.numpy(), axis=1),
        )
        yield f"entropy, {size}", "torch.distributions", lambda p=p: entropy(p), lambda p=p: categorical_entropy(p)
        yield f"KL divergence, {size}", "torch", lambda p=p, q=q: kl_divergence(p, q), lambda p=p, q=q: torch_kl(p, q)
        yield (
            f"KL divergence, {size}",
            "scipy.stats",
            lambda p=p, q=q: kl_divergence(p, q),
            lambda p=p, q=q: scipy.stats.entropy(p.numpy(), q.numpy(), axis=1),
        )
        yield (
            f"cross entropy, {size}",
            "torch, from log q",
            lambda p=p, q=q: cross_entropy(p, q),
            lambda p=p, q=q: F.cross_entropy(q.log(), p, reduction="none"),
        )
    scores = torch.randn(1000, 1000, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 1000, (1000,), generator=generator)
    yield "log-sum-exp, 1000 x 1000", "torch", lambda: log_sum_exp(scores), lambda: torch.logsumexp(scores, -1)
    yield (
        "log-sum-exp, 1000 x 1000",
        "scipy.special",
        lambda: log_sum_exp(scores),
        lambda: scipy.special.logsumexp(scores.numpy(), axis=-1),
    )
    yield (
        "softmax and negative log-likelihood, 1000 x 1000",
        "torch",
        lambda: negative_log_likelihood(scores.log_softmax(1), labels),
        lambda: F.cross_entropy(scores, labels),
    )
    table = torch.randint(1, 50, (100, 100), generator=generator)
    yield (
        "mutual information of a 100 x 100 table",
        "sklearn",
        lambda: mutual_information(table.double() / table.sum()),
        lambda: mutual_info_score(None, None, contingency=table.numpy()),
    )
    samples = torch.randint(0, 256, (1_000_000,), generator=generator)
    yield (
        "empirical distribution of a million samples",
        "numpy.bincount",
        lambda: empirical_distribution(samples, 256),
        lambda: np.bincount(samples.numpy(), minlength=256) / len(samples),
    )
    extremes = gumbel_sample(2.0, 3.0, 1000, generator)
    yield (
        "Gumbel fit of 1000 data",
        "scipy.stats",
        lambda: fit_gumbel(extremes),
        lambda: scipy.stats.gumbel_r.fit(extremes.numpy()),
    )
    x, noise = torch.randn(2, 1000, generator=generator, dtype=torch.float64)
    x, y = (v / v.std(correction=0) for v in (x, 0.6 * x + 0.8 * noise))  # as scikit-learn scales them
    yield (
        "mutual information of 1000 pairs, 3 neighbours",
        "sklearn",
        lambda: nearest_neighbour_mutual_information(x.unsqueeze(1), y.unsqueeze(1), 3),
        lambda: mutual_info_regression(x.unsqueeze(1).numpy(), y.numpy(), n_neighbors=3, random_state=0),
    )
    yield (
        "mutual information of 1000 pairs, 20 bins",
        "numpy and sklearn",
        lambda: histogram_mutual_information(x, y, 20),
        lambda: mutual_info_score(None, None, contingency=np.histogram2d(x.numpy(), y.numpy(), bins=20)[0]),
    )


def categorical_entropy(p: torch.Tensor) -> torch.Tensor:
    return torch.distributions.Categorical(p).entropy()


def torch_kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return F.kl_div(q.log(), p, reduction="none").sum(-1)


def compare(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float, float]:
    """Median seconds of both sides, run alternately, and the largest difference of their results."""
    first, second = (np.asarray(f(), dtype=float).ravel() for f in (ours, theirs))
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times[0]) < 5:
        for function, record in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            function()
            record.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1]), float(np.abs(first - second).max())


def coding_rates() -> Iterator[tuple[str, float]]:
    """Speeds that have no other package beside them: symbols a second of Huffman's code."""
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(256, generator=generator, dtype=torch.float64).softmax(0)
    message = torch.multinomial(p, 100_000, replacement=True, generator=generator)
    code = huffman_code(p)
    bits = encode(message, code)
    for name, count, action in (
        ("building the code of 256 symbols", 256, lambda: huffman_code(p)),
        ("encoding 100000 symbols", 100_000, lambda: encode(message, code)),
        ("decoding 100000 symbols", 100_000, lambda: decode(bits, code)),
    ):
        start = time.perf_counter()
        action()
        yield name, count / (time.perf_counter() - start)


def main() -> None:
    torch.set_num_threads(1)
    print("| what | beside | ours, ms | theirs, ms | ratio | largest difference |\n|---|---|---|---|---|---|")
    ratios = []
    for title, other, ours, theirs in rows():
        a, b, difference = compare(ours, theirs)
        ratios.append(a / b)
        print(f"| {title} | {other} | {1e3 * a:.3f} | {1e3 * b:.3f} | {a / b:.2f} | {difference:.1e} |", flush=True)
    print(f"\nGeometric mean of the ratios: {math.exp(statistics.mean(map(math.log, ratios))):.2f}\n")
    for name, rate in coding_rates():
        print(f"{name}: {rate:,.0f} symbols a second")


if __name__ == "__main__":
    main()
