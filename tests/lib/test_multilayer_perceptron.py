"""Networks against torch's own modules, the NumPy passes against autograd, counts and orders against closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from chainrule.activations import PReLU
from chainrule.multilayer_perceptron import (
    MLP,
    backward_pass,
    collapse_affine,
    feed_forward_order,
    forward_pass,
    gradient_step,
    initial_parameters,
    num_layers,
    num_parameters,
)

from .reference import raises

F64 = torch.float64


def draw(seed=1):
    return torch.Generator().manual_seed(seed)


def as_torch(parameters):
    return [tuple(torch.from_numpy(p).requires_grad_() for p in layer) for layer in parameters]


# Networks as modules


@pytest.mark.parametrize("sizes", [[3, 2], [5, 4, 3], [2, 7, 1, 6, 4]])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, lambda: PReLU(start=0.1)])
def test_mlp_is_the_composition_of_its_layers(sizes, activation, generator, device, dtype):
    model = MLP(sizes, activation, generator=generator, dtype=dtype).to(device)
    x = torch.randn(6, sizes[0], generator=generator).to(device, dtype)
    z, a = model.trace(x)
    assert [v.shape[1] for v in z] == sizes[1:] and [v.shape[1] for v in a] == sizes[:-1]
    assert torch.equal(a[0], x) and torch.equal(z[-1], model(x))
    linears = [module for module in model if isinstance(module, nn.Linear)]
    assert len(model) == 2 * len(linears) - 1 == 2 * len(sizes) - 3
    for i, linear in enumerate(linears):
        assert_close(z[i], a[i] @ linear.weight.T + linear.bias)
        if i + 1 < len(linears):
            assert_close(a[i + 1], activation().to(device, dtype)(z[i]))
    assert model(x[0]).shape == (sizes[-1],)
    assert model(x).dtype == dtype and model(x).device.type == device.type


def test_parts_of_a_network_share_its_layers():
    model = MLP([3, 5, 4, 2], nn.Tanh, generator=draw())
    features, last = model[:-1], model[-1]
    x = torch.randn(6, 3)
    assert type(features) is nn.Sequential and len(features) == 4 and features[2] is model[2]
    assert last is list(model)[4] and torch.equal(last(features(x)), model(x))
    assert_close(features(x), model.trace(x)[1][-1])


def test_each_hidden_layer_gets_an_activation_of_its_own():
    model = MLP([2, 3, 3, 1], PReLU, generator=draw())
    assert model[1] is not model[3] and num_parameters(model) == 9 + 12 + 4 + 2


def test_first_weights_fill_torchs_range_and_come_from_the_generator():
    before = torch.random.get_rng_state()
    model = MLP([100, 400, 10], generator=draw())
    assert torch.equal(before, torch.random.get_rng_state())
    for layer, bound in ((model[0], 0.1), (model[2], 0.05)):
        for parameter in (layer.weight, layer.bias):
            assert -bound <= parameter.min() and parameter.max() <= bound
            assert parameter.abs().max() > 0.6 * bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
        assert abs(layer.weight.mean()) < 0.03 * bound
    assert torch.equal(MLP([100, 400, 10], generator=draw())[2].weight, model[2].weight)
    assert not torch.equal(MLP([100, 400, 10], generator=draw(2))[0].weight, model[0].weight)
    assert MLP([2, 2], generator=draw())[0].weight.dtype == torch.get_default_dtype()


@pytest.mark.parametrize(
    "function", [lambda s: MLP(s, generator=draw()), lambda s: initial_parameters(s, np.random.default_rng(0))]
)
def test_errors_of_sizes(function):
    for sizes in ([3], [], [3, 0, 2], [0, 1]):
        with raises(ValueError, f"expected two or more sizes of at least 1, got {sizes}"):
            function(sizes)


# Counting


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5))
def test_counts(sizes):
    model = MLP(sizes, generator=draw())
    assert num_parameters(model) == sum(n * (d + 1) for d, n in itertools.pairwise(sizes))
    assert num_parameters(model) == sum(p.numel() for p in model.parameters())
    assert num_layers(model) == len(sizes) - 1
    model[0].bias.requires_grad_(False)
    assert num_parameters(model) == sum(n * (d + 1) for d, n in itertools.pairwise(sizes)) - sizes[1]


def test_counts_of_other_modules():
    shared = nn.Linear(2, 2)
    assert num_parameters(nn.Sequential(shared, nn.Tanh(), shared)) == 6
    assert num_parameters(nn.ReLU()) == num_layers(nn.ReLU()) == 0
    assert num_layers(nn.Linear(2, 2)) == 1
    assert num_layers(nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Tanh(), nn.Linear(1, 1)))) == 2


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [num_parameters, num_layers])
def test_errors_of_counts(function):
    with raises(TypeError, "expected an nn.Module, got a list"):
        function([nn.Linear(2, 2)])


# Collapse


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6))
def test_affine_layers_collapse_into_one(sizes):
    layers = [layer.double() for layer in MLP(sizes, nn.Identity, generator=draw()) if isinstance(layer, nn.Linear)]
    single = collapse_affine(layers)
    x = torch.randn(10, sizes[0], dtype=F64)
    assert_close(single(x), nn.Sequential(*layers)(x))
    assert single.weight.shape == (sizes[-1], sizes[0]) and single.weight.dtype == F64
    assert single.weight.data_ptr() != layers[0].weight.data_ptr()  # no memory is shared with the layers


def test_collapse_follows_type_and_device(device, dtype):
    layers = [nn.Linear(3, 4, device=device, dtype=dtype), nn.Linear(4, 2, device=device, dtype=dtype)]
    single = collapse_affine(layers)
    assert single.weight.dtype == dtype and single.bias.device.type == device.type
    assert single.in_features == 3 and single.out_features == 2 and single.weight.requires_grad
    x = torch.randn(5, 3, device=device, dtype=dtype)
    assert_close(single(x), layers[1](layers[0](x)))


def test_errors_of_collapse():
    with raises(ValueError, "expected at least one layer, got none"):
        collapse_affine([])
    with raises(ValueError, "expected layer 3 to take 5 inputs, got one that takes 4"):
        collapse_affine([nn.Linear(2, 3), nn.Linear(3, 5), nn.Linear(4, 1)])


# Graphs


@given(st.permutations(list("abcdefg")), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1))
def test_order_respects_every_edge(names, pairs):
    edges = [(names[min(i, j)], names[max(i, j)]) for i, j in pairs if i != j]
    order = feed_forward_order(edges)
    assert sorted(order) == sorted({name for edge in edges for name in edge})
    assert all(order.index(source) < order.index(target) for source, target in edges)


def test_cycles_are_refused():
    with raises(ValueError, "expected a feed-forward network, got the cycle a -> b -> c -> a"):
        feed_forward_order([("x", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "y")])
    with raises(ValueError, "expected a feed-forward network, got the cycle a -> a"):
        feed_forward_order([("a", "a")])


# Plain NumPy


def test_first_parameters_in_numpy():
    parameters = initial_parameters([200, 300, 10], np.random.default_rng(3))
    assert [(W.shape, b.shape) for W, b in parameters] == [((300, 200), (300,)), ((10, 300), (10,))]
    for (W, b), fan_in in zip(parameters, (200, 300), strict=True):
        assert W.dtype == np.float64 and not b.any()
        assert W.std() == pytest.approx(math.sqrt(2 / fan_in), rel=0.03)
        assert abs(W.mean()) < 0.1 * W.std()


@pytest.mark.parametrize("sizes", [[4, 3], [4, 6, 3], [4, 5, 7, 2]])
def test_passes_agree_with_autograd(sizes):
    rng = np.random.default_rng(0)
    parameters = [(W, rng.normal(size=b.shape)) for W, b in initial_parameters(sizes, rng)]
    x, labels = rng.normal(size=(9, 4)), rng.integers(sizes[-1], size=9)
    probabilities, activations = forward_pass(parameters, x)
    assert activations[0] is x and all((a >= 0).all() for a in activations[1:])
    theirs = as_torch(parameters)
    a = torch.from_numpy(x)
    for i, (W, b) in enumerate(theirs):
        assert_close(torch.from_numpy(activations[i]), a.detach())
        z = F.linear(a, W, b)
        a = torch.relu(z)
    assert_close(torch.from_numpy(probabilities), z.softmax(1).detach())
    before = probabilities.copy()
    gradients = backward_pass(parameters, probabilities, activations, labels)
    flat = [p for layer in theirs for p in layer]
    expected = torch.autograd.grad(F.cross_entropy(z, torch.from_numpy(labels)), flat)
    for ours, reference in zip([g for layer in gradients for g in layer], expected, strict=True):
        assert_close(torch.from_numpy(ours), reference)
    assert np.array_equal(probabilities, before)
    moved = gradient_step(parameters, gradients, 0.3)
    for new, old, gradient in zip([p for layer in moved for p in layer], flat, expected, strict=True):
        assert_close(torch.from_numpy(new), old.detach() - 0.3 * gradient)


def test_training_lowers_the_loss_and_leaves_old_parameters_alone():
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(60, 2)), np.repeat([0, 1, 2], 20)
    x[:, 0] += labels
    first = parameters = initial_parameters([2, 8, 3], rng)
    copies = [(W.copy(), b.copy()) for W, b in first]
    losses = []
    for _ in range(50):
        p, activations = forward_pass(parameters, x)
        losses.append(-np.log(p[np.arange(60), labels]).mean())
        parameters = gradient_step(parameters, backward_pass(parameters, p, activations, labels), 0.2)
    assert all(b < a for a, b in itertools.pairwise(losses)) and losses[-1] < 0.8 * losses[0]
    for (W, b), (W_copy, b_copy) in zip(first, copies, strict=True):
        assert np.array_equal(W, W_copy) and np.array_equal(b, b_copy)


def test_huge_scores_do_not_overflow():
    probabilities, _ = forward_pass([(np.array([[1e4], [1e4 - 1], [-1e4]]), np.zeros(3))], np.ones((1, 1)))
    far_apart, _ = forward_pass([(np.eye(2), np.zeros(2))], np.array([[1e4, 1e4], [-1e4, -1e4]]))
    assert (far_apart == 0.5).all()  # each row has a maximum of its own
    assert probabilities[0].tolist() == pytest.approx([math.e / (1 + math.e), 1 / (1 + math.e), 0])


@pytest.mark.usefixtures("unchecked")
def test_errors_of_the_passes():
    parameters = initial_parameters([4, 3], np.random.default_rng(0))
    for shape in ((4,), (2, 3)):
        with raises(ValueError, f"expected x of shape (m, 4), got {shape}"):
            forward_pass(parameters, np.zeros(shape))
    result = forward_pass(parameters, np.zeros((2, 4)))
    for shape in ((3,), (2, 1)):
        with raises(ValueError, f"expected 2 labels, got shape {shape}"):
            backward_pass(parameters, *result, np.zeros(shape, dtype=int))
    for labels in ([0, 3], [-1, 2]):
        with raises(ValueError, f"expected labels in [0, 3), got {labels[0]} to {labels[1]}"):
            backward_pass(parameters, *result, np.array(labels))
    for rate in (0.0, -1.0, math.nan):
        with raises(ValueError, f"expected a learning rate above 0, got {rate}"):
            gradient_step(parameters, parameters, rate)
    with pytest.raises(ValueError, match="shorter"):
        gradient_step(parameters, [], 0.1)
