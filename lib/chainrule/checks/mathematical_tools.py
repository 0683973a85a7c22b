"""The exercises of the chapter on mathematical tools, in the order of its exercise page."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from chainrule.calculus import chain_cost
from chainrule.checks._record import Exercise, Mistake, Output
from chainrule.probability import bayes_posterior

__all__ = ["EXERCISES"]

CHAPTER = "mathematical-tools"


def _vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _whole(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# broadcast_shape: implement


def _broadcast_shape(a: list[int], b: list[int]) -> list[int]:
    try:
        return list(torch.broadcast_shapes(a, b))
    except RuntimeError:
        return [-1]


def _fit(a: list[int], b: list[int], *, left: bool = False, strict: bool = True, ones: bool = True) -> list[int]:
    """The rule of broadcasting with a part of it wrong: aligned at the left, without an error, or without the ones."""
    axes = max(len(a), len(b))
    pad_a, pad_b = [1] * (axes - len(a)), [1] * (axes - len(b))
    pairs = list(zip(a + pad_a if left else pad_a + a, b + pad_b if left else pad_b + b, strict=True))
    if strict and any(i != j and not (ones and 1 in (i, j)) for i, j in pairs):
        return [-1]
    return [max(pair) for pair in pairs]


def _draw_shapes(generator: torch.Generator) -> tuple[list[int], list[int]]:
    shape = [_whole(2, 6, generator) for _ in range(_whole(1, 4, generator))]
    a, b = ([1 if _whole(0, 2, generator) == 0 else size for size in shape] for _ in range(2))
    b = b[_whole(0, len(b), generator) :]
    if _whole(0, 2, generator) == 0:
        a[_whole(0, len(a) - 1, generator)] += 1
    return (a, b) if _whole(0, 1, generator) else (b, a)


broadcast_shape = Exercise(
    name="broadcast_shape",
    chapter=CHAPTER,
    title="The shape of a sum",
    points=3,
    page="mathematical-tools/tensors",
    start="two shapes of equal length, one column at a time; then give the shorter shape ones in front",
    reference=_broadcast_shape,
    output=Output("numbers", "the shape"),
    public=(
        ([4, 3], [4, 3]),
        ([4, 1], [4]),
        ([5, 2, 3], [2, 1]),
        ([4, 3], [4]),
        ([2, 3], []),
        ([2], [2, 5]),
    ),
    draw=_draw_shapes,
    mistakes=(
        Mistake(
            lambda a, b: _fit(a, b, left=True),
            "Shapes are compared from the right: the last axes stand in one column, and the ones are added in front.",
        ),
        Mistake(
            lambda a, b: _fit(a, b, strict=False),
            "Two sizes that differ fit only if one of them is 1. Else the sum is an error, for which we return [-1].",
        ),
        Mistake(
            lambda a, b: _fit(a, b, ones=False),
            "An axis of size 1 fits every size: its single entry is used again and again.",
        ),
        Mistake(
            lambda a, b: _broadcast_shape(a, b) if len(a) == len(b) else [-1],
            "The numbers of axes may differ. A missing axis on the left counts as one of size 1.",
        ),
    ),
    forbidden=(
        "torch.broadcast_shapes",
        "torch.broadcast_tensors",
        "torch.functional.broadcast_shapes",
        "torch.functional.broadcast_tensors",
        "numpy.broadcast_shapes",
        "numpy.broadcast_arrays",
        "numpy.broadcast",
    ),
)

# rotation_onto: derive


def _rotation_onto(u: Tensor, v: Tensor) -> Tensor:
    w = u - v
    square = w @ w
    eye = torch.eye(len(u), dtype=u.dtype)
    return eye if square == 0 else eye - 2 * torch.outer(w, w) / square


def _accept_rotation(inputs: tuple, output: Tensor) -> str | None:
    u, v = inputs
    eye = torch.eye(len(u), dtype=output.dtype)
    columns = float((output.T @ output - eye).abs().max())
    if torch.allclose(output @ u, v, atol=1e-6):
        if columns < 1e-6:
            return None
        if torch.linalg.matrix_rank(output) == 1:
            return (
                "This matrix sends u to v, and it has rank 1: whatever is at right angles to u goes to 0, so "
                "lengths are lost. Add to it something that moves the other directions"
            )
        return (
            f"This matrix sends u to v, and it is not orthogonal: an entry of Q^T Q - I is as large as {columns:.3g}. "
            "The other directions must keep their lengths and angles too"
        )
    if columns >= 1e-6:
        return f"This matrix is not orthogonal: an entry of Q^T Q - I is as large as {columns:.3g}"
    if torch.allclose(output @ v, u, atol=1e-6):
        return "This matrix sends v to u, the wrong way round. Its transpose does what was asked"
    if torch.allclose(output @ u, -v, atol=1e-6):
        return "This matrix sends u to -v: the sign is wrong. The mirror stands at right angles to u - v, not to u + v"
    distance = float(torch.linalg.vector_norm(output @ u - v))
    return f"This matrix is orthogonal, and it does not send u to v: the distance from Qu to v is {distance:.3g}"


def _draw_directions(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    u, v = _normal(2, _whole(2, 7, generator), generator=generator)
    return u / u.norm(), v / v.norm()


rotation_onto = Exercise(
    name="rotation_onto",
    chapter=CHAPTER,
    title="A mirror between two directions",
    points=4,
    page="mathematical-tools/linear-algebra",
    start="two directions in the plane: where must a mirror stand that shows u as v?",
    reference=_rotation_onto,
    output=Output("tensor", "the matrix"),
    public=(
        (_vector(1, 0), _vector(0, 1)),
        (_vector(0.6, 0.8), _vector(1, 0)),
        (_vector(0, 1, 0), _vector(0, -1, 0)),
        (_vector(0, 0, 1), _vector(0, 0, 1)),
        (_vector(1, 0, 0, 0), _vector(0.5, 0.5, -0.5, 0.5)),
    ),
    draw=_draw_directions,
    accept=_accept_rotation,
)

# terms_needed: measure


def _terms(errors: Tensor, bound: float) -> int:
    """The first k at which the errors, from k = 0 on, are within the bound."""
    return int((errors > bound).sum())


def _squares_left(image: Tensor) -> Tensor:
    """The sum of the squared singular values from the k-th on, for k = 0, 1, ..., relative to the sum of all."""
    squares = torch.linalg.svdvals(image).square()
    return torch.cat([squares.flip(0).cumsum(0).flip(0), squares.new_zeros(1)]) / squares.sum()


def _terms_needed(image: Tensor, error: float) -> int:
    return _terms(_squares_left(image).sqrt(), error)


def _terms_by_sums(image: Tensor, error: float) -> int:
    values = torch.linalg.svdvals(image)
    return _terms(torch.cat([values.flip(0).cumsum(0).flip(0), values.new_zeros(1)]) / values.sum(), error)


def _draw_image(generator: torch.Generator) -> tuple[Tensor, float]:
    a, b = _whole(3, 25, generator), _whole(3, 25, generator)
    rows, columns = _normal(a, 12, generator=generator), _normal(12, b, generator=generator)
    decay = _between(0.4, 0.95, generator) ** torch.arange(12, dtype=torch.float64)
    return (rows * decay) @ columns, _between(0.02, 0.7, generator)


terms_needed = Exercise(
    name="terms_needed",
    chapter=CHAPTER,
    title="How many outer products make a picture?",
    points=3,
    page="mathematical-tools/linear-algebra",
    start="the singular values of a diagonal matrix; how large is what is left when the first k are taken away?",
    reference=_terms_needed,
    output=Output("number", "the number of terms"),
    public=(
        (torch.diag(_vector(4, 3)), 0.65),
        (torch.diag(_vector(4, 3)), 0.5),
        (torch.diag(_vector(4, 3)), 1.5),
        (_vector(*range(12)).reshape(3, 4), 0.05),
        (_vector(*[1.0] * 15).reshape(5, 3), 0.01),
    ),
    draw=_draw_image,
    mistakes=(
        Mistake(
            lambda image, error: _terms(_squares_left(image), error),
            "This bounds the squared error. The Frobenius norm is the root of the sum of squares.",
        ),
        Mistake(
            _terms_by_sums,
            "These are sums of singular values. The Frobenius norm adds their squares.",
        ),
        Mistake(
            lambda image, error: int((torch.linalg.svdvals(image) > error * torch.linalg.matrix_norm(image)).sum()),
            "Each singular value was compared with the bound by itself. What counts is all that is left out together.",
        ),
        Mistake(
            lambda image, error: _terms_needed(image, error) + 1,
            "One too many: after k terms the singular values from number k + 1 on are missing, and k may be 0.",
        ),
        Mistake(
            lambda image, error: _terms((1 - _squares_left(image)).clamp(min=0).sqrt().flip(0), error),
            "The singular values were used from the wrong end. The heaviest terms come first.",
        ),
        Mistake(
            lambda image, error: int(torch.linalg.matrix_rank(image)),
            "This is the rank, the number of terms for an error of 0. A larger error is allowed.",
        ),
    ),
)

# coin_posterior: implement


def _log_likelihood(biases: Tensor, tosses: Tensor) -> Tensor:
    heads = tosses.sum()
    return torch.xlogy(heads, biases) + torch.xlogy(len(tosses) - heads, 1 - biases)


def _coin_posterior(prior: Tensor, biases: Tensor, tosses: Tensor) -> Tensor:
    return bayes_posterior(prior, _log_likelihood(biases, tosses))


def _products(prior: Tensor, biases: Tensor, tosses: Tensor) -> Tensor:
    heads = tosses.sum()
    joint = prior * biases**heads * (1 - biases) ** (len(tosses) - heads)
    return joint / joint.sum()


def _draw_coins(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    k = _whole(2, 6, generator)
    biases = torch.linspace(0, 1, k + 2, dtype=torch.float64)[1:-1]
    if _whole(0, 2, generator) == 0:
        biases[0] = 0.0
    weights = torch.rand(k, generator=generator, dtype=torch.float64) + 0.1
    m = _whole(0, 12, generator) if _whole(0, 1, generator) else _whole(1500, 3000, generator)
    tosses = (torch.rand(m, generator=generator) < biases[-1]).long()
    return weights / weights.sum(), biases, tosses


coin_posterior = Exercise(
    name="coin_posterior",
    chapter=CHAPTER,
    title="Which coin was it?",
    points=4,
    page="mathematical-tools/probability",
    start="one toss: each prior times the probability of what came up, divided by the sum of these products",
    reference=_coin_posterior,
    output=Output("tensor", "the posterior"),
    public=(
        (_vector(0.5, 0.5), _vector(0.5, 0.75), torch.tensor([1])),
        (_vector(0.8, 0.2), _vector(0.5, 0.9), torch.tensor([1, 1, 0, 1])),
        (_vector(0.25, 0.75), _vector(0.25, 0.5), torch.tensor([], dtype=torch.long)),
        (_vector(0.5, 0.25, 0.25), _vector(0.0, 0.5, 1.0), torch.tensor([1, 1, 1])),
        (_vector(0.5, 0.5), _vector(0.49, 0.51), torch.tensor([0, 1] * 1000 + [1] * 20)),
    ),
    draw=_draw_coins,
    mistakes=(
        Mistake(
            _products,
            "A product of a thousand probabilities is smaller than any float, so every hypothesis got 0 and the "
            "division gave nan. Add logarithms, and take a softmax of the sums.",
        ),
        Mistake(
            lambda prior, biases, tosses: torch.softmax(
                prior.log() + tosses.sum() * biases.log() + (len(tosses) - tosses.sum()) * (1 - biases).log(),
                dim=0,
            ),
            "A bias of 0 and no heads (or of 1 and no tails) gave 0 * log 0 = nan. An event that did not occur does "
            "not count, however improbable: torch.xlogy(a, b) is a * log(b), and 0 where a is 0.",
        ),
        Mistake(
            lambda prior, biases, tosses: torch.softmax(_log_likelihood(biases, tosses), dim=0),
            "This is the posterior for coins that are equally likely before the tosses. The prior is missing.",
        ),
        Mistake(
            lambda prior, biases, tosses: _coin_posterior(prior, 1 - biases, tosses),
            "Heads and tails are exchanged: a bias is the probability of heads, and 1 in the tosses is heads.",
        ),
        Mistake(
            lambda prior, biases, tosses: prior * _log_likelihood(biases, tosses).exp(),
            "These are the products prior times likelihood. Divide by their sum, the evidence.",
        ),
        Mistake(
            lambda prior, biases, tosses: _coin_posterior(prior, biases, tosses).log(),
            "These are the logarithms of the posterior. Exponentiate them, or use softmax in place of log_softmax.",
        ),
        Mistake(
            lambda prior, biases, tosses: prior,
            "This is the prior. The tosses say something about the coins.",
        ),
    ),
    forbidden=("chainrule.probability", "torch.distributions", "scipy.stats"),
)

# break_variance: break it


def _break_variance(m: int) -> Tensor:
    return 1e6 + _vector(*[1.0 - 2 * (i % 2) for i in range(m)])


def _accept_spread(inputs: tuple, output: Tensor) -> str | None:
    if not (output.abs() < 1e18).all():
        return "The numbers must lie between -1e18 and 1e18, so that their squares are finite in float32"
    data = output.float()
    true = float(data.double().var(correction=0))
    if not 0.5 <= true <= 2:
        return f"Rounded to float32 the numbers have the variance {true:.4g}, and it should lie between 0.5 and 2"
    one_pass = float((data * data).mean() - data.mean() ** 2)
    if abs(one_pass - true) >= 0.5 * true:
        return None
    return (
        f"The formula survives: it gives {one_pass:.4g}, and the variance is {true:.4g}. The squares must be so large "
        "that neighbouring float32 numbers of their size are further apart than the variance"
    )


break_variance = Exercise(
    name="break_variance",
    chapter=CHAPTER,
    title="A variance that drowns",
    points=2,
    page="mathematical-tools/probability",
    start="numbers near 0, which have the right variance and break nothing; then move them all by the same amount",
    reference=_break_variance,
    output=Output("tensor", "the data"),
    public=((2,), (3,), (10,)),
    draw=lambda generator: (_whole(2, 60, generator),),
    accept=_accept_spread,
)

# convex_ones: predict

CONVEX_ONES = [1, 0, 1, 1, 1, 0, 1, 0]


def _ones_but(index: int) -> list[int]:
    """The right verdicts with the one at an index (from 0) turned round."""
    return [1 - verdict if i == index else verdict for i, verdict in enumerate(CONVEX_ONES)]


convex_ones = Exercise(
    name="convex_ones",
    chapter=CHAPTER,
    title="Which of the eight are convex?",
    points=2,
    page="mathematical-tools/convexity",
    start="a sketch of each graph: does some chord run below it?",
    reference=lambda: list(CONVEX_ONES),
    output=Output("numbers", "the list of verdicts"),
    public=((),),
    mistakes=(
        Mistake(
            lambda: [1 - verdict for verdict in CONVEX_ONES],
            "These are the verdicts upside down. Convex functions bend upwards, as the square does.",
        ),
        Mistake(
            lambda: _ones_but(1), "The cube bends downwards for x < 0: its second derivative 6x is negative there."
        ),
        Mistake(
            lambda: _ones_but(2),
            "The reciprocal falls, but for positive x it bends upwards: its second derivative 2/x^3 is positive.",
        ),
        Mistake(
            lambda: _ones_but(4),
            "A corner does no harm. The maximum of convex functions is convex, and lines are convex.",
        ),
        Mistake(
            lambda: _ones_but(5),
            "A convex function of a convex function need not be convex. Look at the chord of number 6 from -1 to 1.",
        ),
        Mistake(
            lambda: _ones_but(6),
            "The root bends downwards, yet number 7 does not: its second derivative is (1 + x^2)^(-3/2). "
            "It is the length of the vector (1, x).",
        ),
        Mistake(
            lambda: _ones_but(7),
            "A single valley is not enough. On each side of 0 the graph of number 8 bends downwards, below no chord.",
        ),
        Mistake(
            lambda: [1] * 8, "Not all of them: try the chord from -1 to 1 for numbers 6 and 8, and from -1 to 0 for 2."
        ),
    ),
    forbidden=("chainrule.convexity",),
)

# break_convexity: break


def _break_convexity(A: Tensor) -> tuple[Tensor, Tensor]:
    direction = torch.linalg.eigh((A + A.T) / 2).eigenvectors[:, 0]
    return direction, -direction


def _accept_chord(inputs: tuple, output: tuple) -> str | None:
    (A,) = inputs
    x, y = output
    if not torch.isfinite(torch.stack([x, y])).all():
        return "The two points must be finite"
    if torch.equal(x, y):
        return "The two points are the same, so there is no chord between them"
    f_x, f_y, f_middle = (float(v @ A @ v) for v in (x, y, (x + y) / 2))
    if (f_x + f_y) / 2 < f_middle - 1e-9 * max(abs(f_x), abs(f_y), abs(f_middle)):
        return None
    return (
        f"The chord is not below the graph: its middle is at height {(f_x + f_y) / 2:.4f}, the function there is "
        f"{f_middle:.4f}. The gap is (x - y)^T A (x - y) / 4, so look for a direction in which x^T A x is negative"
    )


def _draw_indefinite(generator: torch.Generator) -> tuple[Tensor]:
    n = _whole(2, 6, generator)
    basis = torch.linalg.qr(_normal(n, n, generator=generator)).Q
    curvature = 0.5 + torch.rand(n, generator=generator, dtype=torch.float64)
    curvature[0] = -_between(0.05, 0.5, generator)
    skew = 3 * _normal(n, n, generator=generator)
    return (basis @ torch.diag(curvature) @ basis.T + skew - skew.T,)


break_convexity = Exercise(
    name="break_convexity",
    chapter=CHAPTER,
    title="Break convexity",
    points=3,
    page="mathematical-tools/matrix-calculus",
    start="A = [[1, 0], [0, -1]]: along which axis does x^T A x bend downwards?",
    reference=_break_convexity,
    output=(Output("tensor", "the point x"), Output("tensor", "the point y")),
    public=(
        (torch.diag(_vector(1.0, -1.0)),),
        (torch.tensor([[1.0, -4.0], [0.0, 1.0]], dtype=torch.float64),),
        (torch.tensor([[1.0, 0.0], [4.0, 1.0]], dtype=torch.float64),),
        (torch.tensor([[2.0, 3.0, 0.0], [0.0, 1.0, 3.0], [-1.0, 0.0, 1.0]], dtype=torch.float64),),
    ),
    draw=_draw_indefinite,
    accept=_accept_chord,
    forbidden=("chainrule.convexity", "chainrule.calculus"),
)

# ratio_gradient: derive


def _forms(A: Tensor, B: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two quadratic forms and their gradients."""
    return x @ A @ x, x @ B @ x, (A + A.T) @ x, (B + B.T) @ x


def _ratio_gradient(A: Tensor, B: Tensor, x: Tensor) -> Tensor:
    top, bottom, d_top, d_bottom = _forms(A, B, x)
    return (d_top - top / bottom * d_bottom) / bottom


def _with_forms(change: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda A, B, x: change(*_forms(A, B, x))


def _draw_ratio(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    n = _whole(2, 6, generator)
    A, C, skew = _normal(3, n, n, generator=generator)
    B = C @ C.T / n + torch.eye(n, dtype=torch.float64) + skew - skew.T  # x^T B x is at least |x|^2
    return A, B, _normal(n, generator=generator)


ratio_gradient = Exercise(
    name="ratio_gradient",
    chapter=CHAPTER,
    title="The gradient of a ratio",
    points=3,
    page="mathematical-tools/matrix-calculus",
    start="the gradients of x^T A x and of x^T B x, one at a time",
    reference=_ratio_gradient,
    output=Output("tensor", "the gradient"),
    public=(
        (torch.tensor([[1.0, 2.0], [0.0, 3.0]], dtype=torch.float64), torch.eye(2, dtype=torch.float64), _vector(1, 1)),
        (
            torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64),
            torch.tensor([[2.0, 1.0], [-1.0, 1.0]], dtype=torch.float64),
            _vector(1.0, 2.0),
        ),
    ),
    draw=_draw_ratio,
    mistakes=(
        Mistake(
            lambda A, B, x: (2 * A @ x - x @ A @ x / (x @ B @ x) * 2 * B @ x) / (x @ B @ x),
            "2Ax is the gradient of x^T A x for symmetric matrices only. In general it is (A + A^T) x, and so for B.",
        ),
        Mistake(
            lambda A, B, x: (A @ x - x @ A @ x / (x @ B @ x) * B @ x) / (x @ B @ x),
            "The gradient of x^T A x has two parts, since x stands on both sides: A x and A^T x.",
        ),
        Mistake(
            _with_forms(lambda f, h, df, dh: (f * dh - df * h) / h**2),
            "The sign: the quotient rule begins with the derivative of the upper function, f' g - f g'.",
        ),
        Mistake(
            _with_forms(lambda f, h, df, dh: (df * h - f * dh) / h), "The denominator of the quotient rule is squared."
        ),
        Mistake(
            _with_forms(lambda f, h, df, dh: (df * h + f * dh) / h**2),
            "A plus belongs to the product rule. In the quotient rule the two terms are subtracted.",
        ),
        Mistake(
            _with_forms(lambda f, h, df, dh: df / h),
            "The lower quadratic form depends on x too, and it was held fixed.",
        ),
        Mistake(
            _with_forms(lambda f, h, df, dh: df / dh),
            "The derivative of a ratio is not the ratio of the derivatives: use the quotient rule.",
        ),
        Mistake(
            lambda A, B, x: torch.stack([_ratio_gradient(A, B, x)]),
            "This is a row, of shape (1, n). A gradient has the shape of its argument, (n,).",
        ),
    ),
    forbidden=("chainrule.calculus", "torch.autograd", "torch.func", "torch.Tensor.backward"),
)

# jacobian_chain_costs: implement


def _best_bracketing(widths: list[int]) -> int:
    """Least number of multiplications over all bracketings, by dynamic programming over the parts of the chain."""
    length = len(widths) - 1
    best = {(i, i): 0 for i in range(length)}
    for span in range(1, length):
        for i in range(length - span):
            j = i + span
            best[i, j] = min(
                best[i, k] + best[k + 1, j] + widths[i] * widths[k + 1] * widths[j + 1] for k in range(i, j)
            )
    return best[0, length - 1]


def _jacobian_chain_costs(widths: list[int]) -> list[int]:
    return [chain_cost(widths, "forward"), chain_cost(widths, "reverse"), _best_bracketing(widths)]


def _costs_with_extra(widths: list[int]) -> list[int]:
    """Also counts a product of the first (last) Jacobian with the identity."""
    forward, reverse, best = _jacobian_chain_costs(widths)
    return [forward + widths[0] ** 2 * widths[1], reverse + widths[-1] ** 2 * widths[-2], best]


def _costs_of_vectors(widths: list[int]) -> list[int]:
    """The price of a product with a single vector from either end."""
    total = sum(a * b for a, b in pairwise(widths))
    return [total, total, total]


jacobian_chain_costs = Exercise(
    name="jacobian_chain_costs",
    chapter=CHAPTER,
    title="What a chain of Jacobians costs",
    points=4,
    page="mathematical-tools/derivatives",
    start="three widths: there is a single product, of an n2 x n1 by an n1 x n0 matrix, so all three numbers agree",
    reference=_jacobian_chain_costs,
    output=Output("numbers", "the list of costs"),
    public=(
        ([3, 4, 5],),
        ([1000, 100, 100, 1],),
        ([1, 100, 100, 1000],),
        ([50, 50, 1, 50, 50],),
        ([7, 2],),
    ),
    draw=lambda generator: ([_whole(1, 30, generator) for _ in range(_whole(4, 8, generator))],),
    mistakes=(
        Mistake(
            lambda widths: [*_jacobian_chain_costs(widths)[:2], min(_jacobian_chain_costs(widths)[:2])],
            "The third number is the least over ALL bracketings, and sometimes neither end is the place to begin: "
            "try a chain with a narrow middle.",
        ),
        Mistake(
            lambda widths: [_jacobian_chain_costs(widths)[i] for i in (1, 0, 2)],
            "The first two numbers are exchanged. From the input's end every partial product has n0 columns.",
        ),
        Mistake(
            _costs_with_extra,
            "One product too many: L matrices take L - 1 products, since the first matrix needs no multiplication.",
        ),
        Mistake(
            _costs_of_vectors,
            "This is the price of multiplying the chain with one vector. Here the full matrices are multiplied.",
        ),
        Mistake(
            lambda widths: [
                max(widths) * sum(a * b for a, b in list(pairwise(widths))[1:]),
                *_jacobian_chain_costs(widths)[1:],
            ],
            "From the input's end every partial product has n0 columns, whatever the widest layer is.",
        ),
    ),
    forbidden=("chainrule.calculus", "numpy.linalg.multi_dot", "torch.linalg.multi_dot", "torch.chain_matmul"),
)

EXERCISES = (
    broadcast_shape,
    rotation_onto,
    terms_needed,
    coin_posterior,
    break_variance,
    convex_ones,
    break_convexity,
    ratio_gradient,
    jacobian_chain_costs,
)
