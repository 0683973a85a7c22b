"""Entropy and its relatives against SciPy, scikit-learn, torch, closed forms and their own laws."""

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score
from torch.testing import assert_close

from chainrule.information import (
    conditional_entropy,
    cross_entropy,
    empirical_distribution,
    entropy,
    gaussian_entropy,
    gaussian_kl_divergence,
    jensen_shannon_divergence,
    joint_entropy,
    kl_divergence,
    mutual_information,
    surprisal,
)

from .reference import distribution_tuples, distributions, joints, raises

LN2 = math.log(2)
PAIRS = [cross_entropy, kl_divergence, jensen_shannon_divergence]
JOINTS = [joint_entropy, conditional_entropy, mutual_information]


def softmax(generator, *shape, num_dims=1):
    """Random distributions in float64 over the last ``num_dims`` dimensions, away from the border."""
    scores = torch.randn(*shape, dtype=torch.float64, generator=generator)
    return scores.flatten(-num_dims).softmax(-1).reshape(shape)


# Agreement with references


@pytest.mark.parametrize("base", [2, math.e, 10.0])
def test_entropies_agree_with_scipy(base, generator):
    p, q = softmax(generator, 5, 7), softmax(generator, 5, 7)
    h, d = scipy.stats.entropy(p, axis=1, base=base), scipy.stats.entropy(p, q, axis=1, base=base)
    jsd = scipy.spatial.distance.jensenshannon(p, q, axis=1, base=base) ** 2
    assert_close(entropy(p, base=base), torch.from_numpy(h))
    assert_close(kl_divergence(p, q, base=base), torch.from_numpy(d))
    assert_close(cross_entropy(p, q, base=base), torch.from_numpy(h + d))
    assert_close(jensen_shannon_divergence(p, q, base=base), torch.from_numpy(jsd))
    assert_close(surprisal(p, base=base), torch.from_numpy(-np.log(p.numpy()) / np.log(base)))


def test_natural_logarithms_are_the_default(generator):
    p, q = softmax(generator, 7), softmax(generator, 7)
    joint = softmax(generator, 3, 4, num_dims=2)
    one = torch.tensor(2.0)
    assert_close(surprisal(p), surprisal(p, base=math.e), rtol=0, atol=0)
    assert_close(entropy(p), torch.distributions.Categorical(p).entropy())
    for function, arguments in [
        *((f, (p, q)) for f in PAIRS),
        *((f, (joint,)) for f in JOINTS),
        (gaussian_entropy, (one,)),
        (gaussian_kl_divergence, (one, one, -one, one + 1)),
    ]:
        assert_close(function(*arguments), function(*arguments, base=2) * LN2)


def test_divergences_agree_with_torch_which_takes_the_model_first(generator):
    p, q = softmax(generator, 7), softmax(generator, 7)
    assert_close(kl_divergence(p, q), F.kl_div(q.log(), p, reduction="sum"))
    assert_close(kl_divergence(p, q), F.kl_div(q.log(), p.log(), reduction="sum", log_target=True))
    assert not torch.isclose(kl_divergence(p, q), F.kl_div(p.log(), q, reduction="sum"))
    scores = torch.randn(4, 7, dtype=torch.float64, generator=generator)
    target = softmax(generator, 4, 7)
    assert_close(cross_entropy(target, scores.softmax(-1)), F.cross_entropy(scores, target, reduction="none"))


def test_gaussians_agree_with_torch_distributions(generator):
    mean_p, mean_q = torch.randn(2, 50, dtype=torch.float64, generator=generator)
    std_p, std_q = torch.rand(2, 50, dtype=torch.float64, generator=generator) + 0.1
    p, q = torch.distributions.Normal(mean_p, std_p), torch.distributions.Normal(mean_q, std_q)
    assert_close(gaussian_entropy(std_p), p.entropy())
    assert_close(gaussian_kl_divergence(mean_p, std_p, mean_q, std_q), torch.distributions.kl_divergence(p, q))


def test_joint_measures_agree_with_scipy_and_scikit_learn(generator):
    counts = torch.randint(0, 9, (3, 4, 5), generator=generator)
    joint = counts.double() / counts.sum((1, 2), keepdim=True)
    assert_close(joint_entropy(joint), entropy(joint.flatten(1)))
    for table, j in zip(counts, joint, strict=True):
        expected = mutual_info_score(None, None, contingency=table.numpy())
        assert mutual_information(j).item() == pytest.approx(expected, abs=1e-12)
        per_row = scipy.stats.entropy(j.numpy(), axis=1)  # SciPy normalizes each row
        assert conditional_entropy(j).item() == pytest.approx((j.sum(1).numpy() * per_row).sum(), abs=1e-12)
    assert_close(mutual_information(joint), torch.stack([mutual_information(j) for j in joint]))
    assert_close(conditional_entropy(joint), torch.stack([conditional_entropy(j) for j in joint]))


def test_known_values_in_bits():
    die = torch.full((6,), 1 / 6, dtype=torch.float64)
    assert entropy(die, base=2).item() == pytest.approx(math.log2(6))
    horses = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 16, *[1 / 64] * 4])  # Cover and Thomas, example 1.1.2
    assert entropy(horses, base=2).item() == 2
    joint = torch.tensor(  # Cover and Thomas, example 2.2.1, with Y along the rows as there
        [[1 / 8, 1 / 16, 1 / 32, 1 / 32], [1 / 16, 1 / 8, 1 / 32, 1 / 32], [1 / 16] * 4, [1 / 4, 0, 0, 0]],
        dtype=torch.float64,
    )
    assert joint_entropy(joint, base=2).item() == pytest.approx(27 / 8)
    assert conditional_entropy(joint.T, base=2).item() == pytest.approx(13 / 8)
    assert conditional_entropy(joint, base=2).item() == pytest.approx(11 / 8)
    assert mutual_information(joint, base=2).item() == pytest.approx(3 / 8)


def test_empirical_distribution_counts():
    samples = torch.tensor([3, 0, 3, 1])
    p = empirical_distribution(samples, num_outcomes=5)
    assert_close(p, torch.tensor([0.25, 0.25, 0, 0.5, 0], dtype=torch.float64), rtol=0, atol=0)
    for integer in (torch.uint8, torch.int16, torch.int32, torch.uint16):
        assert torch.equal(empirical_distribution(samples.to(integer), 5), p)
    assert torch.equal(empirical_distribution(torch.tensor([0]), 1), torch.ones(1, dtype=torch.float64))


# Laws


@given(distributions())
def test_entropy_lies_between_zero_and_that_of_the_uniform_distribution(p):
    assert -1e-12 <= entropy(p) <= math.log(len(p)) + 1e-12
    assert entropy(torch.full_like(p, 1 / len(p))).item() == pytest.approx(math.log(len(p)), abs=1e-12)


@given(distribution_tuples(2))
def test_gibbs_inequality_and_its_parts(pair):
    p, q = pair
    assert kl_divergence(p, q) >= 0
    assert cross_entropy(p, q) >= entropy(p) - 1e-12
    assert kl_divergence(p, p).item() == pytest.approx(0, abs=1e-12)
    assert_close(cross_entropy(p, q), entropy(p) + kl_divergence(p, q), rtol=1e-9, atol=1e-9)
    assert torch.isinf(kl_divergence(p, q)).item() == bool(((p > 0) & (q == 0)).any())


@given(distribution_tuples(3))
def test_root_of_jensen_shannon_divergence_is_a_bounded_metric(triple):
    p, q, r = triple
    distance = [jensen_shannon_divergence(a, b).sqrt().item() for a, b in ((p, q), (q, r), (p, r))]
    assert jensen_shannon_divergence(p, q) == jensen_shannon_divergence(q, p)
    assert 0 <= distance[0] <= math.sqrt(LN2) + 1e-12
    assert distance[2] <= distance[0] + distance[1] + 1e-7
    midpoint = (p + q) / 2
    expected = (kl_divergence(p, midpoint) + kl_divergence(q, midpoint)) / 2
    assert_close(jensen_shannon_divergence(p, q), expected, rtol=1e-9, atol=1e-12)


@given(joints())
def test_chain_rule_and_information_diagram(joint):
    p_x, p_y = joint.sum(1), joint.sum(0)
    h_xy, h_x, h_y = joint_entropy(joint), entropy(p_x), entropy(p_y)
    assert_close(h_xy, h_x + conditional_entropy(joint), rtol=1e-9, atol=1e-9)
    assert_close(mutual_information(joint), h_x + h_y - h_xy, rtol=1e-9, atol=1e-9)
    assert_close(mutual_information(joint), mutual_information(joint.T), rtol=1e-9, atol=1e-12)
    assert mutual_information(joint) >= 0 and conditional_entropy(joint) >= 0
    assert mutual_information(torch.outer(p_x, p_y)).item() == pytest.approx(0, abs=1e-12)


@given(distribution_tuples(2, min_size=2), st.randoms(use_true_random=False))
def test_names_of_outcomes_do_not_matter(pair, random):
    p, q = pair
    order = list(range(len(p)))
    random.shuffle(order)
    assert_close(entropy(p[order]), entropy(p))
    for function in PAIRS:
        assert_close(function(p[order], q[order]), function(p, q))


def test_independent_surprisals_add(generator):
    p, q = torch.rand(2, 20, dtype=torch.float64, generator=generator)
    assert_close(surprisal(p * q), surprisal(p) + surprisal(q))
    assert surprisal(torch.tensor(0.0)).item() == math.inf


# Numerical safety


def test_zeros_count_nothing_and_no_result_is_minus_zero(dtype):
    sure = torch.tensor([1.0, 0.0], dtype=dtype)
    other = torch.tensor([0.0, 1.0], dtype=dtype)
    joint = torch.outer(sure, sure)
    results = [entropy(sure), cross_entropy(sure, sure), kl_divergence(sure, sure), surprisal(sure[0])]
    results += [jensen_shannon_divergence(sure, sure), *(f(joint) for f in JOINTS)]
    for result in results:
        assert result == 0 and not torch.signbit(result)
    assert kl_divergence(sure, other) == math.inf == cross_entropy(sure, other)
    assert jensen_shannon_divergence(sure, other).item() == pytest.approx(LN2)


def test_smallest_probabilities_neither_overflow_nor_vanish(dtype):
    tiny = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps  # the smallest subnormal number
    p = torch.tensor([1.0, tiny], dtype=dtype)
    q = torch.tensor([tiny, 1.0], dtype=dtype)
    sure = torch.tensor([1.0, 0.0], dtype=dtype)
    log_tiny = torch.tensor(tiny, dtype=dtype).log().item()
    assert kl_divergence(p, q).item() == pytest.approx(-log_tiny, rel=1e-6)  # p / q overflows here
    assert kl_divergence(p, sure) == math.inf
    assert jensen_shannon_divergence(p, sure).item() == pytest.approx(0, abs=1e-6)  # (p + 0) / 2 underflows here
    square = torch.tensor([[1.0, 0.0], [0.0, tiny]], dtype=dtype)
    assert mutual_information(square).item() == pytest.approx(0, abs=1e-6)  # p(x) p(y) underflows here
    big = torch.tensor(torch.finfo(dtype).max / 4, dtype=dtype)
    zero = torch.zeros((), dtype=dtype)
    assert gaussian_kl_divergence(big, big, big, big) == 0  # the variance overflows here
    assert gaussian_kl_divergence(zero, 1 / big, zero, 1 / big) == 0  # and vanishes here
    assert gaussian_entropy(1 / big).item() == pytest.approx(1.4189385 - math.log(big.item()), rel=1e-6)


def test_divergence_of_nearly_equal_distributions_is_not_negative(generator):
    p = softmax(generator, 1000, 10).float()
    q = (p.double() * (1 + 1e-7 * torch.randn(1000, 10, generator=generator))).float()
    assert (kl_divergence(p, q) >= 0).all() and (jensen_shannon_divergence(p, q) >= 0).all()
    joint = torch.einsum("na,nb->nab", p, q)
    assert (mutual_information(joint) >= 0).all()
    std = 1 + 1e-5 * torch.randn(1000, generator=generator)
    kl = gaussian_kl_divergence(torch.zeros(1000), std, torch.zeros(1000), torch.ones(1000))
    assert (kl >= 0).all()
    assert_close(kl.double(), (std.double() - 1).square(), rtol=0, atol=1e-11)  # second order in the difference


def test_distributions_from_float32_pass_in_float64():
    p = torch.tensor([0.1, 0.2, 0.7]).double()  # misses 1 by 1e-8
    assert entropy(p) > 0


# Gradients


def test_gradients_agree_with_finite_differences(generator):
    scores = [torch.randn(2, 4, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(2)]
    p, q = (s.softmax(-1).detach().requires_grad_() for s in scores)
    check = torch.autograd.gradcheck
    assert check(lambda a: entropy(a.softmax(-1)), scores[0])
    assert check(lambda a: surprisal(a.softmax(-1)), scores[0])
    for function in PAIRS:
        assert check(lambda a, b, f=function: f(a.softmax(-1), b.softmax(-1)), scores)
    for function in JOINTS:
        assert check(lambda a, f=function: f(a.flatten().softmax(-1).reshape(2, 4)), scores[0])
    assert check(lambda s: gaussian_entropy(s.exp()), scores[0])
    assert check(lambda a, b: gaussian_kl_divergence(a, b.exp(), b, a.exp()), scores)
    (grad,) = torch.autograd.grad(entropy(p).sum(), p)
    assert_close(grad, -p.log() - 1)
    edge = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(entropy(edge, base=2), edge)
    assert grad[2] == 0  # not -log(0)
    (grad,) = torch.autograd.grad(cross_entropy(edge, torch.tensor([0.25, 0.25, 0.5]), base=2), edge)
    assert_close(grad, torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64))
    (grad,) = torch.autograd.grad(cross_entropy(p, q).sum(), q)
    assert_close(grad, -p / q)


@pytest.mark.parametrize("function", [lambda p, q: entropy(p), *PAIRS], ids=["entropy", "cross", "kl", "jsd"])
def test_gradients_stay_finite_where_probabilities_are_zero(function):
    scores = torch.tensor([[0.0, 1.0, -2000.0], [1.0, 0.0, -2000.0]], dtype=torch.float64, requires_grad=True)
    p, q = scores.softmax(-1).unbind()
    assert p[2] == q[2] == 0
    (grad,) = torch.autograd.grad(function(p, q), scores)
    short = scores[:, :2].detach().requires_grad_()
    (expected,) = torch.autograd.grad(function(*short.softmax(-1).unbind()), short)
    assert_close(grad, F.pad(expected, (0, 1)))


@pytest.mark.parametrize("function", JOINTS)
def test_gradients_of_joint_measures_stay_finite_where_a_row_is_zero(function):
    joint = torch.tensor([[0.5, 0.2, 0.0], [0.1, 0.2, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(function(joint), joint)
    small = joint[:2, :2].detach().requires_grad_()
    (expected,) = torch.autograd.grad(function(small), small)
    assert_close(grad[:2, :2], expected)
    assert grad.isfinite().all()


# Shapes, types, devices


def test_shapes_broadcast(generator):
    p, q = softmax(generator, 3, 1, 5), softmax(generator, 4, 5)
    for function in PAIRS:
        both = function(p, q)
        assert both.shape == (3, 4)
        assert_close(both[2, 1], function(p[2, 0], q[1]))
    column = torch.ones(3, 1)
    assert gaussian_kl_divergence(column, column, torch.ones(4), torch.ones(())).shape == (3, 4)
    assert entropy(softmax(generator, 2, 3, 5)).shape == (2, 3)
    assert surprisal(torch.full((2, 3), 0.5)).shape == (2, 3)
    assert entropy(torch.ones(0, 1)).shape == (0,)


def test_results_follow_type_and_device_of_the_inputs(device, dtype):
    p = torch.tensor([0.5, 0.25, 0.25, 0], device=device, dtype=dtype)
    joint = p.reshape(2, 2)
    one = torch.ones((), device=device, dtype=dtype)
    results = [surprisal(p), entropy(p), gaussian_entropy(one), gaussian_kl_divergence(one, one, one, one)]
    results += [f(p, p) for f in PAIRS] + [f(joint) for f in JOINTS]
    for result in results:
        assert result.dtype == dtype and result.device.type == device.type
    expected = torch.tensor([1.5, 1.5, 0, 0], dtype=dtype)
    computed = torch.stack(
        [f(p, p, base=2) for f in (cross_entropy, lambda p, q, base: entropy(p, base=base), *PAIRS[1:])]
    )
    assert_close(computed.cpu(), expected)
    counts = empirical_distribution(torch.tensor([0, 1, 1], device=device), 3)
    assert counts.dtype == torch.float64 and counts.device.type == device.type


# Errors

HALF = torch.tensor([0.5, 0.5])
ONE = torch.tensor(1.0)


@pytest.mark.parametrize(
    "function, arguments",
    [
        (surprisal, (HALF,)),
        (entropy, (HALF,)),
        *((f, (HALF, HALF)) for f in PAIRS),
        *((f, (HALF.unsqueeze(0),)) for f in JOINTS),
        (gaussian_entropy, (ONE,)),
        (gaussian_kl_divergence, (ONE,) * 4),
    ],
)
def test_bases_that_are_none(function, arguments):
    for base in (1, 0, -2, math.inf, math.nan):
        with raises(ValueError, f"expected base to be a finite number above 1, got {base}"):
            function(*arguments, base=base)
    with pytest.raises(TypeError):
        function(*arguments, 2)


def test_arguments_that_are_no_probabilities():
    bad = torch.tensor([0.25, 0.25])
    with raises(ValueError, "expected p to lie in [0, 1], got 1.5"):
        surprisal(torch.tensor([0.5, 1.5]))
    with raises(ValueError, "expected p to lie in [0, 1], got -0.5"):
        surprisal(torch.tensor([-0.5]))
    with raises(ValueError, "expected p to lie in [0, 1], got nan"):
        surprisal(torch.tensor(math.nan))
    with raises(ValueError, "expected p to sum to 1, got a sum of 0.5"):
        entropy(bad)
    for function in PAIRS:
        with raises(ValueError, "expected p to sum to 1, got a sum of 0.5"):
            function(bad, HALF)
        with raises(ValueError, "expected q to sum to 1, got a sum of 0.5"):
            function(HALF, bad)
    for function in JOINTS:
        with raises(ValueError, "expected joint to sum to 1, got a sum of 2.0"):
            function(HALF.expand(2, 2))


@pytest.mark.usefixtures("unchecked")
def test_arguments_of_wrong_shape_or_type():
    for function in PAIRS:
        with raises(ValueError, "expected p and q over the same outcomes, got 2 and 1"):
            function(HALF, torch.ones(1))
    for function in JOINTS:
        with raises(ValueError, "expected joint to have at least 2 dimension(s), got shape (2,)"):
            function(HALF)
        with raises(TypeError, "expected joint to be of floating type, got torch.int64"):
            function(torch.ones(1, 1, dtype=torch.long))
    with raises(TypeError, "expected p to be a torch.Tensor of floating type, got a list"):
        entropy([0.5, 0.5])
    with raises(TypeError, "expected p to be of floating type, got torch.int64"):
        surprisal(torch.tensor([1]))
    with raises(TypeError, "expected std to be of floating type, got torch.int64"):
        gaussian_entropy(torch.tensor(1))
    for position, name in enumerate(["mean_p", "std_p", "mean_q", "std_q"]):
        arguments = [ONE] * 4
        arguments[position] = torch.tensor(1)
        with raises(TypeError, f"expected {name} to be of floating type, got torch.int64"):
            gaussian_kl_divergence(*arguments)
    with raises(TypeError, "expected samples to be of integer type, got torch.float32"):
        empirical_distribution(torch.ones(2), 2)
    with raises(ValueError, "expected samples of shape (m,) with m of at least 1, got (1, 2)"):
        empirical_distribution(torch.zeros(1, 2, dtype=torch.long), 2)


def test_arguments_of_gaussians():
    with raises(ValueError, "expected std to be positive, got 0.0"):
        gaussian_entropy(torch.tensor([1.0, 0.0]))
    for position, name in enumerate(["mean_p", "std_p", "mean_q", "std_q"]):
        arguments = [ONE] * 4
        arguments[position] = torch.tensor(-math.inf)
        with raises(ValueError, f"expected {name} to be finite, got -inf"):
            gaussian_kl_divergence(*arguments)
        arguments[position] = torch.tensor(-1.0)
        if name.startswith("std"):
            with raises(ValueError, f"expected {name} to be positive, got -1.0"):
                gaussian_kl_divergence(*arguments)
        else:
            assert gaussian_kl_divergence(*arguments) == 2


def test_samples_that_are_no_outcomes():
    with raises(ValueError, "expected num_outcomes to be at least 1, got 0"):
        empirical_distribution(torch.tensor([0]), 0)
    with raises(ValueError, "expected samples of shape (m,) with m of at least 1, got (0,)"):
        empirical_distribution(torch.tensor([], dtype=torch.long), 2)
    with raises(ValueError, "expected samples in [0, 2), got 2"):
        empirical_distribution(torch.tensor([0, 2]), 2)
    with raises(ValueError, "expected samples in [0, 2), got -1"):
        empirical_distribution(torch.tensor([1, -1]), 2)
