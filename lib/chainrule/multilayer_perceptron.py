r"""Multilayer perceptrons: as modules of torch, as graphs, and trained by hand in plain NumPy arrays.

A multilayer perceptron alternates affine maps and activations,

.. math:: a^{(0)} = x, \qquad z^{(l)} = W^{(l)} a^{(l-1)} + b^{(l)}, \qquad a^{(l)} = \sigma(z^{(l)}), \qquad
    l = 1, \dots, L,

and the last layer gives scores :math:`z^{(L)}`, without an activation. In code the vectors of a batch are rows, so a
layer computes ``x @ W.T + b``, as ``nn.Linear`` does. The functions ``initial_parameters``, ``forward_pass``,
``backward_pass`` and ``gradient_step`` use nothing but NumPy: a classifier with ReLU layers and the softmax
cross-entropy loss, its gradients derived by hand.

Reference: I. Goodfellow, Y. Bengio and A. Courville, *Deep Learning*, MIT Press 2016, sections 6.1 and 6.5.
The book's chapter ``neural-networks`` teaches this module.
"""

import graphlib
import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

__all__ = [
    "MLP",
    "backward_pass",
    "collapse_affine",
    "feed_forward_order",
    "forward_pass",
    "gradient_step",
    "initial_parameters",
    "num_layers",
    "num_parameters",
]

Parameters = list[tuple[np.ndarray, np.ndarray]]  # weight (n_out, n_in) and bias (n_out,) of each layer


class MLP(nn.Sequential):
    r"""A multilayer perceptron: affine layers with an activation between each two.

    .. math:: h_\theta = A^{(L)} \circ \sigma \circ A^{(L-1)} \circ \dots \circ \sigma \circ A^{(1)}, \qquad
        A^{(l)}(a) = W^{(l)} a + b^{(l)}

    Args:
        sizes: the numbers of units N_0, ..., N_L, inputs first and outputs last.
        activation: called once for each hidden layer; returns a module (a class such as ``nn.ReLU`` will do).
        generator: the source of the first weights and biases, uniform within :math:`\pm 1 / \sqrt{N_{l-1}}`, as torch
            chooses them.
        dtype: the type of the parameters, torch's default unless given.

    Returns:
        A module that maps ``"*batch N_0"`` to ``"*batch N_L"``; its layers can be indexed.

    Raises:
        ValueError: if there are fewer than two sizes, or one below 1.

    Source: Goodfellow, Bengio and Courville, section 6.1.

    >>> MLP([64, 32, 10], generator=torch.Generator().manual_seed(0))(torch.ones(5, 64)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Callable[[], nn.Module] = nn.ReLU,
        *,
        generator: torch.Generator,
        dtype: torch.dtype | None = None,
    ):
        _check_sizes(sizes)
        modules = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            # nn.Linear draws its parameters from torch's global generator; skip_init leaves them to us.
            layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out, dtype=dtype, device=generator.device)
            for parameter in (layer.weight, layer.bias):
                nn.init.uniform_(parameter, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
            modules += [layer, activation()]
        super().__init__(*modules[:-1])  # no activation after the last layer

    def __getitem__(self, index: int | slice) -> nn.Module:
        """One of the modules, or some of them as an ``nn.Sequential``: ``model[:-1]`` gives the last features."""
        return nn.Sequential(*list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)

    def trace(self, x: Float[Tensor, "*batch d"]) -> tuple[list[Tensor], list[Tensor]]:
        """The pre-activations z of layers 1 to L, and the activations a of layers 0 (the input) to L - 1."""
        pre_activations, activations = [], [x]
        for module in self:
            if isinstance(module, nn.Linear):
                pre_activations.append(module(activations[-1]))
            else:
                activations.append(module(pre_activations[-1]))
        return pre_activations, activations


def num_parameters(module: nn.Module) -> int:
    r"""The number of trainable numbers in a module.

    .. math:: \sum_{l=1}^{L} N_l \, (N_{l-1} + 1) \quad \text{for an MLP}

    Args:
        module: any module; parameters that are frozen (``requires_grad=False``) do not count.

    Returns:
        The count; a tensor that is used twice counts once.

    Raises:
        TypeError: if ``module`` is no module of torch.

    Source: Goodfellow, Bengio and Courville, section 6.4.

    >>> num_parameters(nn.Linear(64, 10))
    650
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"expected an nn.Module, got a {type(module).__name__}")
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def num_layers(module: nn.Module) -> int:
    r"""The number of layers with weights: the input counts as none, the output layer as one.

    .. math:: L = \#\{W^{(1)}, \dots, W^{(L)}\}

    Args:
        module: any module made of ``nn.Linear`` layers and others without weights.

    Returns:
        The number of ``nn.Linear`` layers inside.

    Raises:
        TypeError: if ``module`` is no module of torch.

    Source: C. Bishop, *Pattern Recognition and Machine Learning*, Springer 2006, section 5.1.

    >>> num_layers(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)))
    2
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"expected an nn.Module, got a {type(module).__name__}")
    return sum(isinstance(part, nn.Linear) for part in module.modules())


def collapse_affine(layers: Sequence[nn.Linear]) -> nn.Linear:
    r"""The one affine layer that a stack of affine layers without activations amounts to.

    .. math:: W = W^{(L)} \cdots W^{(1)}, \qquad b = \sum_{l=1}^{L} W^{(L)} \cdots W^{(l+1)} b^{(l)}

    Args:
        layers: affine layers with biases, the first to be applied first.

    Returns:
        A layer with the same outputs, whose parameters are not connected to those of ``layers``.

    Raises:
        ValueError: if there is no layer, or a layer does not take what the one before gives.

    Source: Goodfellow, Bengio and Courville, section 6.1.

    >>> stack = nn.Linear(3, 5), nn.Linear(5, 2)
    >>> collapse_affine(stack)
    Linear(in_features=3, out_features=2, bias=True)
    """
    if not layers:
        raise ValueError("expected at least one layer, got none")
    weight, bias = layers[0].weight.detach(), layers[0].bias.detach()
    for i, layer in enumerate(layers[1:], 2):
        if layer.in_features != len(weight):
            raise ValueError(f"expected layer {i} to take {len(weight)} inputs, got one that takes {layer.in_features}")
        weight, bias = layer.weight.detach() @ weight, layer.weight.detach() @ bias + layer.bias.detach()
    single = nn.utils.skip_init(nn.Linear, weight.shape[1], len(weight), dtype=weight.dtype, device=weight.device)
    single.load_state_dict({"weight": weight, "bias": bias})
    return single


def feed_forward_order(edges: Iterable[tuple[str, str]]) -> list[str]:
    r"""An order in which the neurons of a network can be computed, each after all that it takes as inputs.

    .. math:: (i, j) \in \text{edges} \implies i \text{ stands before } j

    Args:
        edges: pairs (from, to) of neurons, by name.

    Returns:
        All names that occur, in such an order.

    Raises:
        ValueError: if the edges close a cycle, so that the network is not feed-forward.

    Source: Goodfellow, Bengio and Courville, chapter 6.

    >>> feed_forward_order([("hidden", "output"), ("input", "hidden")])
    ['input', 'hidden', 'output']
    """
    graph: dict[str, set[str]] = {}
    for source, target in edges:
        graph.setdefault(target, set()).add(source)
    try:
        return list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        cycle = " -> ".join(error.args[1])
        raise ValueError(f"expected a feed-forward network, got the cycle {cycle}") from None


def initial_parameters(sizes: Sequence[int], rng: np.random.Generator) -> Parameters:
    r"""First weights and biases of a network in NumPy: small random weights, no biases.

    .. math:: W^{(l)}_{ji} \sim \mathcal N(0, 2 / N_{l-1}), \qquad b^{(l)} = 0

    Args:
        sizes: the numbers of units N_0, ..., N_L, inputs first and outputs last.
        rng: the source of the weights.

    Returns:
        For each layer its weight of shape (N_l, N_{l-1}) and its bias of shape (N_l,), in float64.

    Raises:
        ValueError: if there are fewer than two sizes, or one below 1.

    Source: K. He et al., Delving deep into rectifiers, ICCV 2015.

    >>> [(W.shape, b.shape) for W, b in initial_parameters([64, 32, 10], np.random.default_rng(0))]
    [((32, 64), (32,)), ((10, 32), (10,))]
    """
    _check_sizes(sizes)
    return [
        (rng.normal(0, math.sqrt(2 / fan_in), (fan_out, fan_in)), np.zeros(fan_out))
        for fan_in, fan_out in itertools.pairwise(sizes)
    ]


def forward_pass(
    parameters: Parameters, x: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, "m k"], list[np.ndarray]]:
    r"""Class probabilities of a network with ReLU layers and a softmax at the end, in NumPy.

    .. math:: a^{(l)} = \max(0, W^{(l)} a^{(l-1)} + b^{(l)}), \qquad p = \mathrm{softmax}(W^{(L)} a^{(L-1)} + b^{(L)})

    Args:
        parameters: weight and bias of each layer.
        x: the inputs, one in a row.

    Returns:
        The probabilities p, and the activations of layers 0 (``x`` itself) to L - 1, which the backward pass needs.

    Raises:
        ValueError: if the inputs have another number of features than the first weight.

    Source: Goodfellow, Bengio and Courville, algorithm 6.3.

    >>> parameters = initial_parameters([64, 32, 10], np.random.default_rng(0))
    >>> p, activations = forward_pass(parameters, np.ones((5, 64)))
    >>> p.shape, [a.shape for a in activations]
    ((5, 10), [(5, 64), (5, 32)])
    """
    if x.ndim != 2 or x.shape[1] != parameters[0][0].shape[1]:
        raise ValueError(f"expected x of shape (m, {parameters[0][0].shape[1]}), got {x.shape}")
    activations = [x]
    for W, b in parameters[:-1]:
        activations.append(np.maximum(0, activations[-1] @ W.T + b))  # (m, N_l)
    W, b = parameters[-1]
    scores = activations[-1] @ W.T + b  # (m, k)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))  # exp(scores) alone overflows from 710 on
    return exponentials / exponentials.sum(axis=1, keepdims=True), activations


def backward_pass(
    parameters: Parameters,
    probabilities: Float[np.ndarray, "m k"],
    activations: list[np.ndarray],
    labels: Integer[np.ndarray, "m"],
) -> Parameters:
    r"""Gradients of the mean cross entropy by the chain rule, from the last layer to the first.

    .. math:: \delta^{(L)} = \tfrac1m (p - y), \qquad
        \delta^{(l)} = (\delta^{(l+1)} W^{(l+1)}) \odot [a^{(l)} > 0], \qquad
        \frac{\partial L}{\partial W^{(l)}} = \delta^{(l)\top} a^{(l-1)}, \qquad
        \frac{\partial L}{\partial b^{(l)}} = \sum_{i=1}^{m} \delta^{(l)}_i

    Args:
        parameters: weight and bias of each layer, as given to the forward pass.
        probabilities: what the forward pass returned.
        activations: what it returned besides.
        labels: the right classes, integers in [0, k).

    Returns:
        For each layer the gradients of weight and bias, of their shapes.

    Raises:
        ValueError: if the number of labels is not m, or a label lies outside [0, k).

    Source: Goodfellow, Bengio and Courville, algorithm 6.4.

    >>> parameters = initial_parameters([64, 32, 10], np.random.default_rng(0))
    >>> gradients = backward_pass(parameters, *forward_pass(parameters, np.ones((5, 64))), np.array([0, 1, 2, 3, 4]))
    >>> [(W.shape, b.shape) for W, b in gradients]
    [((32, 64), (32,)), ((10, 32), (10,))]
    """
    m, num_classes = probabilities.shape
    if labels.shape != (m,):
        raise ValueError(f"expected {m} labels, got shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"expected labels in [0, {num_classes}), got {labels.min()} to {labels.max()}")
    delta = probabilities.copy()  # (m, k)
    delta[np.arange(m), labels] -= 1
    delta /= m
    gradients = []
    for layer in reversed(range(len(parameters))):
        gradients.append((delta.T @ activations[layer], delta.sum(axis=0)))
        if layer > 0:
            delta = (delta @ parameters[layer][0]) * (activations[layer] > 0)  # (m, N_{l-1})
    return gradients[::-1]


def gradient_step(parameters: Parameters, gradients: Parameters, learning_rate: float) -> Parameters:
    r"""New parameters, a small step against the gradient away from the old ones.

    .. math:: \theta \leftarrow \theta - \eta \, \nabla_\theta L

    Args:
        parameters: weight and bias of each layer.
        gradients: theirs.
        learning_rate: the length :math:`\eta > 0` of the step.

    Returns:
        Weight and bias of each layer after the step; the old ones stay as they are.

    Raises:
        ValueError: if the learning rate is not above 0.

    Source: Goodfellow, Bengio and Courville, section 4.3.

    >>> gradient_step([(np.ones((1, 1)), np.ones(1))], [(np.ones((1, 1)), np.zeros(1))], 0.5)
    [(array([[0.5]]), array([1.]))]
    """
    if not learning_rate > 0:
        raise ValueError(f"expected a learning rate above 0, got {learning_rate}")
    return [
        (W - learning_rate * W_grad, b - learning_rate * b_grad)
        for (W, b), (W_grad, b_grad) in zip(parameters, gradients, strict=True)
    ]


def _check_sizes(sizes: Sequence[int]) -> None:
    """Raise ValueError unless there are an input and an output size, all of them at least 1."""
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"expected two or more sizes of at least 1, got {list(sizes)}")
