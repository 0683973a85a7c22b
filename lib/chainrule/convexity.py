r"""Convex functions: the chord and the tangent test, curvature, and the gap in Jensen's inequality.

A function is convex if no chord lies below its graph,

.. math:: f(t x + (1 - t) y) \le t f(x) + (1 - t) f(y) \qquad \text{for all } x, y \text{ and } t \in [0, 1],

equivalently if no tangent lies above it, equivalently (for smooth functions) if its Hessian has no negative eigenvalue.
For a random point the first of these becomes Jensen's inequality. Each function here measures by how much one of them
holds: a negative number is a proof that the function is not convex, positive numbers prove nothing.

The functions under test take a stack of points at once and give one value a point. A point is a number, or a tensor
with ``event_dims`` dimensions: 1 for vectors.

Reference: S. Boyd and L. Vandenberghe, *Convex Optimization*, Cambridge University Press 2004, sections 3.1 and 3.2.
The book's chapter ``mathematical-tools`` teaches this module.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from chainrule._validate import check_distribution, check_tensor

__all__ = ["chord_gap", "find_convexity_violation", "jensen_gap", "smallest_curvature", "tangent_gap"]


def chord_gap(
    function: Callable[[Tensor], Tensor],
    x: Float[Tensor, "..."],
    y: Float[Tensor, "..."],
    t: Float[Tensor, "..."] | float,
    *,
    event_dims: int = 0,
) -> Float[Tensor, "..."]:
    r"""Height of a chord above the graph.

    .. math:: t f(x) + (1 - t) f(y) - f(t x + (1 - t) y)

    Args:
        function: maps points of shape ``(*batch, *event)`` to values of shape ``(*batch)``.
        x: the end of the chord that has the weight t, of shape ``(*batch, *event)``.
        y: the other end, of the same shape.
        t: where on the chord, in [0, 1]; of a shape that broadcasts with the batch.
        event_dims: the number of dimensions of one point, 0 for numbers and 1 for vectors.

    Returns:
        The heights, one for each point of the batch; at least 0 wherever the function is convex.

    Raises:
        ValueError: if the shapes of x and y differ, t leaves [0, 1], there are too few dimensions, or the function
            does not give one value a point.

    Source: Boyd and Vandenberghe, section 3.1.1.

    >>> chord_gap(torch.square, torch.tensor(0.0), torch.tensor(2.0), 0.5)
    tensor(1.)
    """
    check_tensor("x", x)
    check_tensor("y", y)
    if x.shape != y.shape:
        raise ValueError(f"expected x and y of one shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    batch = _batch_shape("x", x, event_dims)
    t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    if not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"expected t in [0, 1], got {t.min().item()} to {t.max().item()}")
    try:
        t = t.expand(batch)
    except RuntimeError:
        raise ValueError(f"expected t to broadcast to {tuple(batch)}, got {tuple(t.shape)}") from None
    weight = t.reshape((*batch, *[1] * event_dims))
    middle = weight * x + (1 - weight) * y
    return t * _values(function, x, batch) + (1 - t) * _values(function, y, batch) - _values(function, middle, batch)


def find_convexity_violation(
    function: Callable[[Tensor], Tensor],
    points: Float[Tensor, "n *event"],
    *,
    generator: torch.Generator,
    num_trials: int = 10_000,
    t: float | None = None,
) -> tuple[Tensor, Tensor, float] | None:
    r"""Search for a chord that lies below the graph.

    Pairs of points and the place on the chord between them are drawn at random. A chord counts as a violation if

    .. math:: t f(x) + (1 - t) f(y) - f(z) < -\sqrt{\varepsilon}\, \max(|f(x)|, |f(y)|, |f(z)|),
        \qquad z = t x + (1 - t) y

    with the machine epsilon :math:`\varepsilon` of the points' type, so that rounding alone is not taken for one.

    Args:
        function: maps points of shape ``(num_trials, *event)`` to values of shape ``(num_trials)``.
        points: the n points to draw the ends from, at least 2.
        generator: the source of randomness.
        num_trials: how many chords to try, at least 1.
        t: the same place on all chords, 0.5 for the midpoint test; random if None.

    Returns:
        The ends and the place of the worst violation, ``(x, y, t)``; None if there was no violation, which makes
        convexity plausible on these points and does not prove it.

    Raises:
        ValueError: if there are fewer than 2 points or fewer than 1 trial, t leaves [0, 1], or the function does not
            give one value a point.

    Source: Boyd and Vandenberghe, section 3.1.1.

    >>> line = torch.linspace(-3, 3, 100)
    >>> find_convexity_violation(torch.square, line, generator=torch.Generator().manual_seed(0)) is None
    True
    >>> x, y, t = find_convexity_violation(torch.sin, line, generator=torch.Generator().manual_seed(0))
    >>> bool(t * torch.sin(x) + (1 - t) * torch.sin(y) < torch.sin(t * x + (1 - t) * y))
    True
    """
    check_tensor("points", points)
    if points.dim() == 0 or len(points) < 2:
        raise ValueError(f"expected at least 2 points along the first dimension, got shape {tuple(points.shape)}")
    if num_trials < 1:
        raise ValueError(f"expected at least 1 trial, got {num_trials}")
    drawn = torch.randint(len(points), (2, num_trials), generator=generator, device=generator.device)
    x, y = points[drawn.to(points.device)]
    if t is None:
        weight = torch.rand(num_trials, dtype=torch.float64, generator=generator, device=generator.device)
        weight = weight.to(points)
    else:
        weight = points.new_full((num_trials,), t)
    gap = chord_gap(function, x, y, weight, event_dims=points.dim() - 1)
    between = weight.reshape((-1, *[1] * (points.dim() - 1)))
    heights = torch.stack([function(x), function(y), function(between * x + (1 - between) * y)]).abs()
    scale = heights.nan_to_num(posinf=0).amax(dim=0)  # an infinite value needs no allowance for rounding
    excess = (gap + torch.finfo(points.dtype).eps ** 0.5 * scale).nan_to_num(nan=torch.inf)
    worst = int(excess.argmin())
    if excess[worst] >= 0:
        return None
    return x[worst], y[worst], weight[worst].item()


def tangent_gap(
    function: Callable[[Tensor], Tensor],
    w: Float[Tensor, "..."],
    u: Float[Tensor, "..."],
    *,
    event_dims: int = 0,
) -> Float[Tensor, "..."]:
    r"""Height of the graph at u above the tangent at w, also called the Bregman divergence.

    .. math:: f(u) - f(w) - \langle u - w, \nabla f(w) \rangle

    Args:
        function: maps points of shape ``(*batch, *event)`` to values of shape ``(*batch)``, differentiably.
        w: where the tangent touches, of shape ``(*batch, *event)``.
        u: where the height is measured, of the same shape.
        event_dims: the number of dimensions of one point, 0 for numbers and 1 for vectors.

    Returns:
        The heights, one for each point of the batch; at least 0 if the function is convex.

    Raises:
        ValueError: if the shapes of w and u differ, there are too few dimensions, or the function does not give one
            value a point.

    Source: Boyd and Vandenberghe, section 3.1.3.

    >>> tangent_gap(torch.square, torch.tensor(1.0), torch.tensor(3.0))
    tensor(4.)
    """
    check_tensor("w", w)
    check_tensor("u", u)
    if w.shape != u.shape:
        raise ValueError(f"expected w and u of one shape, got {tuple(w.shape)} and {tuple(u.shape)}")
    batch = _batch_shape("w", w, event_dims)
    with torch.enable_grad():
        start = w.detach().requires_grad_()
        height = _values(function, start, batch)
        # Each value depends on its own point alone, so the gradient of the sum holds all the gradients.
        (slope,) = torch.autograd.grad(height.sum(), start)
    rise = ((u - w) * slope).reshape((*batch, -1)).sum(dim=-1)
    return _values(function, u, batch) - height.detach() - rise


def smallest_curvature(function: Callable[[Tensor], Tensor], points: Float[Tensor, "n *event"]) -> Float[Tensor, "n"]:
    r"""Smallest eigenvalue of the Hessian at each point; the second derivative, for functions of a number.

    .. math:: \lambda_{\min}(\nabla^2 f(x)) = \min_{\lVert v \rVert = 1} v^\top \nabla^2 f(x)\, v

    Args:
        function: maps one point of shape ``(*event)`` to a number, twice differentiably.
        points: the n points.

    Returns:
        The eigenvalues. A smooth function is convex exactly if none is negative at any point of its (convex) domain.

    Raises:
        ValueError: if points has no dimension, or the function does not give a number.

    Source: Boyd and Vandenberghe, section 3.1.4.

    >>> smallest_curvature(lambda x: x[0] ** 2 - 3 * x[1] ** 2, torch.ones(1, 2))
    tensor([-6.])
    """
    check_tensor("points", points)
    if points.dim() == 0 or len(points) == 0:
        raise ValueError(f"expected at least 1 point along the first dimension, got shape {tuple(points.shape)}")
    value = function(points[0])
    if value.shape != ():
        raise ValueError(f"expected the function to give a number for one point, got shape {tuple(value.shape)}")
    hessians = torch.func.vmap(torch.func.jacrev(torch.func.jacrev(function)))(points)  # (n, *event, *event)
    size = points[0].numel()
    return torch.linalg.eigvalsh(hessians.reshape(-1, size, size))[:, 0]


def jensen_gap(
    function: Callable[[Tensor], Tensor],
    x: Float[Tensor, "..."],
    p: Float[Tensor, "*batch k"],
    *,
    event_dims: int = 0,
) -> Float[Tensor, "..."]:
    r"""Mean of the function minus the function of the mean, for a random point with k values.

    .. math:: \mathbb{E} f(X) - f(\mathbb{E} X) = \sum_{i=1}^{k} p_i f(x_i) - f\Bigl(\sum_{i=1}^{k} p_i x_i\Bigr)

    Args:
        function: maps points of shape ``(..., *event)`` to values of shape ``(...)``.
        x: the k values, of shape ``(*batch, k, *event)``.
        p: their probabilities, of shape ``(k,)`` or ``(*batch, k)``. A value of probability 0 counts for nothing,
            even where the function is infinite.
        event_dims: the number of dimensions of one value, 0 for numbers and 1 for vectors.

    Returns:
        The gaps, of shape ``(*batch)``; at least 0 if the function is convex, at most 0 if it is concave.

    Raises:
        ValueError: if p is no distribution over the k values, there are too few dimensions, or the function does not
            give one value a point.

    Source: Boyd and Vandenberghe, section 3.1.8.

    >>> jensen_gap(torch.square, torch.tensor([1.0, 3.0]), torch.tensor([0.5, 0.5]))
    tensor(1.)
    """
    check_tensor("x", x)
    check_distribution("p", p)
    shape = _batch_shape("x", x, event_dims)  # (*batch, k)
    try:
        p = p.expand(shape)
    except RuntimeError:
        raise ValueError(f"expected p to broadcast to {tuple(shape)}, got {tuple(p.shape)}") from None
    weight = p.reshape((*shape, *[1] * event_dims))
    mean = (weight * x).sum(dim=-1 - event_dims)
    values = _values(function, x, shape)
    mean_value = torch.where(p > 0, p * values, 0).sum(dim=-1)
    return mean_value - _values(function, mean, shape[:-1])


def _batch_shape(name: str, points: Tensor, event_dims: int) -> torch.Size:
    if not 0 <= event_dims <= points.dim():
        raise ValueError(f"expected event_dims in [0, {points.dim()}] for {name}, got {event_dims}")
    return points.shape[: points.dim() - event_dims]


def _values(function: Callable[[Tensor], Tensor], points: Tensor, batch: torch.Size) -> Tensor:
    values = function(points)
    if values.shape != batch:
        raise ValueError(f"expected the function to give values of shape {tuple(batch)}, got {tuple(values.shape)}")
    return values
