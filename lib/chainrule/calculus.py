r"""Derivatives checked by differences, Taylor approximations, and derivatives in both layouts of matrix calculus.

The derivative of a function at a point is the linear map that describes it best nearby,

.. math:: f(x + h) = f(x) + J_f(x)\, h + o(\lVert h \rVert),

and its matrix, the Jacobian, has a row for each output and a column for each input. That is the numerator layout;
the denominator layout is its transpose, in which the gradient of a number has the shape of its argument.

Reference: J. R. Magnus and H. Neudecker, *Matrix Differential Calculus*, 3rd edition, Wiley 2019, chapters 5 and 9;
for the differences, W. H. Press et al., *Numerical Recipes*, 3rd edition, Cambridge University Press 2007, section 5.7.
The book's chapter ``mathematical-tools`` teaches this module.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from chainrule._validate import check_finite, check_tensor

__all__ = [
    "chain_cost",
    "derivative_matrix",
    "distance_gradient",
    "finite_difference_gradient",
    "finite_difference_jacobian",
    "quadratic_form",
    "quadratic_form_gradient",
    "taylor_approximation",
    "taylor_polynomial",
]


def finite_difference_jacobian(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "..."], *, step: float | None = None
) -> Float[Tensor, "..."]:
    r"""All partial derivatives of a function by central differences, one input at a time.

    .. math:: \frac{\partial f}{\partial x_j} \approx \frac{f(x + h e_j) - f(x - h e_j)}{2h}

    Args:
        function: maps a tensor of the shape of x to a tensor of any shape.
        x: where to differentiate, finite.
        step: h, positive. By default the cube root of the machine epsilon, times :math:`\max(1, |x_j|)`: the error of
            the formula falls like :math:`h^2`, that of rounding grows like :math:`\varepsilon / h`, and there they
            meet.

    Returns:
        The derivatives, of the shape of the output followed by that of x; right to about 10 digits in float64 and 4
        in float32 for functions whose values and derivatives are near 1.

    Raises:
        ValueError: if x has no elements or is not finite, or the step is not positive.

    Source: Press et al., section 5.7.

    >>> finite_difference_jacobian(lambda x: x**2, torch.tensor([1.0, 3.0], dtype=torch.float64)).round(decimals=6)
    tensor([[2., 0.],
            [0., 6.]], dtype=torch.float64)
    """
    check_tensor("x", x)
    check_finite("x", x)
    if x.numel() == 0:
        raise ValueError(f"expected x to have elements, got shape {tuple(x.shape)}")
    if step is not None and not 0 < step < math.inf:
        raise ValueError(f"expected a positive step, got {step}")
    point = x.detach().flatten()
    if step is None:
        steps = torch.finfo(x.dtype).eps ** (1 / 3) * point.abs().clamp(min=1)
    else:
        steps = torch.full_like(point, step)
    columns = []
    for j in range(len(point)):
        above, below = point.clone(), point.clone()
        above[j] += steps[j]
        below[j] -= steps[j]
        rise = function(above.reshape(x.shape)) - function(below.reshape(x.shape))
        # x + h is rounded; dividing by the distance of the rounded points, not by 2h, keeps that error out.
        columns.append(rise / (above[j] - below[j]))
    jacobian = torch.stack(columns, dim=-1)  # (*out, n)
    return jacobian.reshape(jacobian.shape[:-1] + x.shape)


def finite_difference_gradient(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "*shape"], *, step: float | None = None
) -> Float[Tensor, "*shape"]:
    r"""Gradient of a number-valued function by central differences.

    .. math:: (\nabla f)_j \approx \frac{f(x + h e_j) - f(x - h e_j)}{2h}

    Args:
        function: maps a tensor of the shape of x to a number.
        x: where to differentiate, finite.
        step: h, positive; chosen as in :func:`finite_difference_jacobian` if None.

    Returns:
        The gradient, of the shape of x.

    Raises:
        ValueError: as :func:`finite_difference_jacobian`, and if the function does not give a number.

    Source: Press et al., section 5.7.

    >>> finite_difference_gradient(lambda x: x.prod(), torch.tensor([2.0, 3.0], dtype=torch.float64)).round(decimals=6)
    tensor([3., 2.], dtype=torch.float64)
    """
    gradient = finite_difference_jacobian(function, x, step=step)
    if gradient.shape != x.shape:
        shape = tuple(gradient.shape[: gradient.dim() - x.dim()])
        raise ValueError(f"expected the function to give a number, got shape {shape}")
    return gradient


def taylor_approximation(
    function: Callable[[Tensor], Tensor], w: Float[Tensor, "n"], u: Float[Tensor, "*batch n"], order: int = 1
) -> Float[Tensor, "*batch"]:
    r"""Taylor approximation of a function of a vector around a point, to the first or second order.

    .. math:: f(u) \approx f(w) + \langle u - w, \nabla f(w) \rangle
        + \tfrac12 (u - w)^\top \nabla^2 f(w)\, (u - w)

    Args:
        function: maps a vector of length n to a number, differentiably.
        w: the point around which to approximate.
        u: where to evaluate the approximation.
        order: 0, 1 or 2, the highest power of u - w to keep.

    Returns:
        The approximate values.

    Raises:
        ValueError: if the order is none of the three, the lengths differ, or the function does not give a number.

    Source: Magnus and Neudecker, chapter 6.

    >>> w, u = torch.tensor([1.0, 1.0]), torch.tensor([1.5, 1.0])
    >>> [taylor_approximation(lambda x: x[0] ** 2 * x[1], w, u, order).item() for order in (0, 1, 2)]
    [1.0, 2.0, 2.25]
    """
    check_tensor("w", w)
    check_tensor("u", u)
    if order not in (0, 1, 2):
        raise ValueError(f"expected an order of 0, 1 or 2, got {order}")
    if w.dim() != 1 or u.shape[-1:] != w.shape:
        raise ValueError(f"expected w of shape (n,) and u of shape (*batch, n), got {tuple(w.shape)}, {tuple(u.shape)}")
    value = function(w)
    if value.shape != ():
        raise ValueError(f"expected the function to give a number, got shape {tuple(value.shape)}")
    step = u - w  # (*batch, n)
    result = value.expand(u.shape[:-1])
    if order >= 1:
        result = result + step @ torch.func.jacrev(function)(w)
    if order == 2:
        result = result + quadratic_form(torch.func.jacrev(torch.func.jacrev(function))(w), step) / 2
    return result


def taylor_polynomial(
    function: Callable[[Tensor], Tensor], center: Float[Tensor, ""], x: Float[Tensor, "*batch"], order: int
) -> Float[Tensor, "*batch"]:
    r"""Taylor polynomial of any order of a function of a number.

    .. math:: T_n(x) = \sum_{k=0}^{n} \frac{f^{(k)}(c)}{k!} (x - c)^k

    Args:
        function: maps a number to a number, as often differentiable as the order asks.
        center: c, the point around which to approximate.
        x: where to evaluate the polynomial.
        order: n, at least 0. The work doubles with each order or so; 10 is quick, 20 is not.

    Returns:
        The values of the polynomial.

    Raises:
        ValueError: if the order is negative, or the function does not give a number.

    Source: Magnus and Neudecker, chapter 6.

    >>> taylor_polynomial(torch.exp, torch.tensor(0.0), torch.tensor([0.0, 1.0]), 3)
    tensor([1.0000, 2.6667])
    """
    check_tensor("center", center)
    check_tensor("x", x)
    if order < 0:
        raise ValueError(f"expected an order of at least 0, got {order}")
    # requires_grad on entry, so that a constant derivative (of a polynomial) still counts as a function of c
    c = center.detach().requires_grad_()
    with torch.enable_grad():
        derivative = function(c)
        if derivative.shape != ():
            raise ValueError(f"expected the function to give a number, got shape {tuple(derivative.shape)}")
        coefficients = [derivative.detach()]
        for k in range(1, order + 1):
            if derivative.requires_grad:
                (derivative,) = torch.autograd.grad(derivative, c, create_graph=True, materialize_grads=True)
            else:
                derivative = torch.zeros_like(derivative)  # beyond the degree of a polynomial
            coefficients.append(derivative.detach() / math.factorial(k))
    result = torch.zeros_like(x)
    for coefficient in reversed(coefficients):  # Horner's rule
        result = result * (x - center) + coefficient
    return result


def derivative_matrix(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "..."], layout: str = "numerator"
) -> Float[Tensor, "rows columns"]:
    r"""Derivative as a matrix, in the numerator or in the denominator layout.

    .. math:: \Bigl(\frac{\partial y}{\partial x}\Bigr)_{ij} = \frac{\partial y_i}{\partial x_j}
        \text{ (numerator)}, \qquad \frac{\partial y_j}{\partial x_i} \text{ (denominator)}

    A matrix fits five cases: y and x both a number or a vector, a number by a (p, q) matrix (numerator layout: q rows,
    p columns), and a (p, q) matrix by a number (numerator layout: p rows, q columns).

    Args:
        function: maps a tensor of the shape of x to a number, a vector or a matrix, differentiably.
        x: where to differentiate, a number, a vector or a matrix.
        layout: ``"numerator"`` or ``"denominator"``; one is the transpose of the other.

    Returns:
        The matrix; a row or column of numbers has two dimensions too, so that the layout can be seen.

    Raises:
        ValueError: for another layout, or if input and output together have more than two dimensions, which no
            matrix can hold; ``torch.func.jacrev`` gives the full array.

    Source: Magnus and Neudecker, chapter 9, who call the numerator layout the only sensible one.

    >>> b = torch.tensor([1.0, 2.0, 3.0])
    >>> derivative_matrix(lambda x: b @ x, torch.ones(3))
    tensor([[1., 2., 3.]])
    >>> derivative_matrix(lambda x: b @ x, torch.ones(3), "denominator").shape
    torch.Size([3, 1])
    """
    check_tensor("x", x)
    if layout not in ("numerator", "denominator"):
        raise ValueError(f"expected the layout 'numerator' or 'denominator', got {layout!r}")
    y = function(x)
    if y.dim() + x.dim() > 2:
        raise ValueError(f"expected at most two dimensions together, got {tuple(y.shape)} by {tuple(x.shape)}")
    jacobian = torch.func.jacrev(function)(x)  # y.shape + x.shape
    if x.dim() == 2:
        jacobian = jacobian.T
    elif y.dim() < 2:
        jacobian = jacobian.reshape(y.numel(), x.numel())
    return jacobian if layout == "numerator" else jacobian.T


def quadratic_form(A: Float[Tensor, "n n"], x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    r"""Quadratic form of a square matrix, symmetric or not.

    .. math:: x^\top A x = \sum_{i,j} a_{ij} x_i x_j

    Args:
        A: the matrix.
        x: the vectors.

    Returns:
        The numbers, one a vector.

    Raises:
        ValueError: if A is not square or its size is not the length of the vectors.

    Source: Magnus and Neudecker, chapter 1.

    >>> quadratic_form(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([1.0, 1.0]))
    tensor(6.)
    """
    _check_square(A, x)
    return torch.einsum("...i,ij,...j->...", x, A, x)


def quadratic_form_gradient(A: Float[Tensor, "n n"], x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    r"""Gradient of a quadratic form, which is 2Ax for a symmetric matrix only.

    .. math:: \nabla_x\, x^\top A x = (A + A^\top) x

    Args:
        A: the matrix, symmetric or not.
        x: the vectors.

    Returns:
        The gradients, of the shape of x.

    Raises:
        ValueError: if A is not square or its size is not the length of the vectors.

    Source: Magnus and Neudecker, chapter 9.

    >>> quadratic_form_gradient(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([1.0, 1.0]))
    tensor([4., 8.])
    """
    _check_square(A, x)
    return x @ (A + A.T)  # rows: ((A + A^T) x)^T = x^T (A + A^T)


def distance_gradient(x: Float[Tensor, "*#batch n"], b: Float[Tensor, "*#batch n"]) -> Float[Tensor, "*batch n"]:
    r"""Gradient of the Euclidean distance to a point.

    .. math:: \nabla_x \lVert x - b \rVert_2 = \frac{x - b}{\lVert x - b \rVert_2}

    Args:
        x: where to differentiate.
        b: the point. The two broadcast.

    Returns:
        Unit vectors that point away from b. At x = b, where no derivative exists, the zero vector, which is a
        subgradient (so that a descent that has arrived stays).

    Raises:
        ValueError: if the lengths of the vectors differ, or the shapes do not broadcast.

    Source: Magnus and Neudecker, chapter 9; Boyd and Vandenberghe, *Convex Optimization*, for the subgradient.

    >>> distance_gradient(torch.tensor([3.0, 4.0]), torch.zeros(2))
    tensor([0.6000, 0.8000])
    """
    check_tensor("x", x)
    check_tensor("b", b)
    if x.shape[-1:] != b.shape[-1:] or x.dim() == 0:
        raise ValueError(f"expected vectors of one length, got shapes {tuple(x.shape)} and {tuple(b.shape)}")
    try:
        difference = x - b
    except RuntimeError:
        raise ValueError(f"expected shapes that broadcast, got {tuple(x.shape)} and {tuple(b.shape)}") from None
    # Scaled to a largest entry of 1 first: the squares of 1e-200 or 1e200 would underflow or overflow.
    largest = difference.abs().amax(dim=-1, keepdim=True)
    scaled = difference / torch.where(largest > 0, largest, 1)
    return scaled / torch.where(largest > 0, torch.linalg.vector_norm(scaled, dim=-1, keepdim=True), 1)


def chain_cost(widths: Sequence[int], mode: str = "reverse") -> int:
    r"""Multiplications needed to multiply the Jacobians of a chain of functions, from one end.

    A chain :math:`\mathbb{R}^{n_0} \to \mathbb{R}^{n_1} \to \dots \to \mathbb{R}^{n_L}` has the Jacobian
    :math:`J_L \cdots J_2 J_1`, where :math:`J_l` is :math:`n_l \times n_{l-1}`. From the input's end (forward mode) and
    from the output's end (reverse mode) the product costs

    .. math:: n_0 \sum_{l=2}^{L} n_{l-1} n_l \qquad \text{and} \qquad n_L \sum_{l=1}^{L-1} n_{l-1} n_l .

    Args:
        widths: :math:`n_0, \dots, n_L`, at least two, each at least 1.
        mode: ``"forward"`` or ``"reverse"``.

    Returns:
        The number of multiplications of two numbers.

    Raises:
        ValueError: for fewer than two widths, a width below 1, or another mode.

    Source: A. Griewank and A. Walther, *Evaluating Derivatives*, 2nd edition, SIAM 2008, chapter 3.

    >>> chain_cost([1000, 100, 1], "forward"), chain_cost([1000, 100, 1], "reverse")
    (100000, 100000)
    >>> chain_cost([1000, 100, 100, 1], "forward"), chain_cost([1000, 100, 100, 1], "reverse")
    (10100000, 110000)
    """
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"expected at least two widths, each at least 1, got {list(widths)}")
    if mode not in ("forward", "reverse"):
        raise ValueError(f"expected the mode 'forward' or 'reverse', got {mode!r}")
    sizes = [rows * columns for columns, rows in pairwise(widths)]
    return widths[0] * sum(sizes[1:]) if mode == "forward" else widths[-1] * sum(sizes[:-1])


def _check_square(A: Tensor, x: Tensor) -> None:
    check_tensor("A", A)
    check_tensor("x", x)
    if A.dim() != 2 or A.shape[0] != A.shape[1] or x.shape[-1:] != A.shape[:1]:
        raise ValueError(
            f"expected A of shape (n, n) and x of shape (*batch, n), got {tuple(A.shape)}, {tuple(x.shape)}"
        )
