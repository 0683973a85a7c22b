"""Random features against the kernels they approximate, the width curve against plain fits, the formula simulated."""

import math

import pytest
import torch
from sklearn.linear_model import Ridge
from torch.testing import assert_close

from chainrule.random_features import RandomFeatures, minimum_norm_risk, width_curve

from .reference import raises

F64 = torch.float64


def test_cosines_approximate_the_gaussian_kernel(generator):
    x = torch.randn(6, 3, generator=generator, dtype=F64)
    layer = RandomFeatures(3, 200_000, generator, kind="cosine", bandwidth=1.7, dtype=F64)
    kernel = torch.exp(-torch.cdist(x, x).square() / (2 * 1.7**2))
    assert (layer(x) @ layer(x).T - kernel).abs().max() < 0.015


def test_relu_units_approximate_the_arc_cosine_kernel(generator):
    x = torch.randn(6, 3, generator=generator, dtype=F64)
    features = RandomFeatures(3, 200_000, generator, dtype=F64)(x)
    norms = x.norm(dim=1)
    cosine = ((x @ x.T) / torch.outer(norms, norms)).clamp(-1, 1)
    angle = torch.acos(cosine)
    kernel = torch.outer(norms, norms) * (angle.sin() + (math.pi - angle) * cosine) / math.pi
    assert (features @ features.T - kernel).abs().max() < 0.1
    assert (features >= 0).all()


def test_layer_by_hand(device, dtype):
    g = torch.Generator(device).manual_seed(1)
    relu = RandomFeatures(2, 3, g, dtype=dtype)
    cosine = RandomFeatures(2, 3, g, kind="cosine", bandwidth=0.5, dtype=dtype)
    x = torch.tensor([[1.0, -2.0], [0.5, 3.0]], device=device, dtype=dtype)
    for layer in (relu, cosine):
        assert layer.weight.device.type == device.type and layer.weight.dtype == layer.phase.dtype == dtype
        assert not list(layer.parameters())
        for i in range(2):
            for j in range(3):
                z = sum(layer.weight[j, c].item() * x[i, c].item() for c in range(2))
                unit = max(0.0, z) if layer is relu else math.cos(z / 0.5 + layer.phase[j].item())
                assert layer(x)[i, j].item() == pytest.approx(math.sqrt(2 / 3) * unit, abs=1e-5)
    assert cosine(x[0]).shape == (3,)
    assert_close(cosine(x.unsqueeze(0))[0], cosine(x))
    wide = RandomFeatures(1, 4000, g, kind="cosine").phase
    assert wide.min() >= 0 and wide.max() < 2 * math.pi and abs(wide.mean() - math.pi) < 0.1


def test_same_seed_same_layer_and_nothing_global(generator):
    before = torch.random.get_rng_state()
    first = RandomFeatures(2, 3, torch.Generator().manual_seed(5))
    again = RandomFeatures(2, 3, torch.Generator().manual_seed(5))
    other = RandomFeatures(2, 3, generator)
    assert torch.equal(first.weight, again.weight) and torch.equal(first.phase, again.phase)
    assert not torch.equal(first.weight, other.weight)
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.weight.dtype == torch.float32
    other.load_state_dict(first.state_dict())
    assert torch.equal(first.weight, other.weight)
    assert RandomFeatures(1, 1, generator)(torch.ones(1, 1)).shape == (1, 1)
    plain, explicit = (
        RandomFeatures(2, 3, torch.Generator().manual_seed(5), kind="cosine", **options)(torch.ones(1, 2))
        for options in ({}, {"bandwidth": 1.0})
    )
    assert torch.equal(plain, explicit)


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_curve_agrees_with_separate_fits(k, penalty, generator, device, dtype):
    shape = [] if k is None else [k]
    features, test = (torch.randn(n, 12, generator=generator, dtype=F64) for n in (6, 9))
    y, test_y = (torch.randn(n, *shape, generator=generator, dtype=F64) for n in (6, 9))
    curve = width_curve(*(t.to(device, dtype) for t in (features, y, test, test_y)), [1, 4, 6, 12], penalty=penalty)
    assert curve.shape == (4, 2) and curve.dtype == dtype and curve.device.type == device.type
    for row, width in zip(curve.cpu().double(), (1, 4, 6, 12), strict=True):
        alpha = penalty * width / 12
        if penalty:
            model = Ridge(alpha=alpha, fit_intercept=False, solver="svd").fit(features[:, :width].numpy(), y.numpy())
            w = torch.from_numpy(model.coef_.T.copy()).reshape(width, *shape)
        else:
            w = torch.linalg.pinv(features[:, :width]) @ y
        for value, inputs, labels in ((row[0], features, y), (row[1], test, test_y)):
            expected = (inputs[:, :width] @ w - labels).reshape(len(labels), -1).square().sum(dim=1).mean()
            rel, absolute = (2e-2, 1e-4) if dtype == torch.float32 else (1e-8, 1e-12)
            assert value.item() == pytest.approx(expected.item(), rel=rel, abs=absolute)


def test_curve_of_no_width_is_empty(generator):
    x, y = torch.ones(2, 3), torch.ones(2)
    assert width_curve(x, y, x, y, []).shape == (0, 2)


def test_curve_has_no_penalty_unless_told(generator):
    x, y = torch.randn(4, 6, generator=generator), torch.randn(4, generator=generator)
    assert torch.equal(width_curve(x, y, x, y, [2, 6]), width_curve(x, y, x, y, [2, 6], penalty=0.0))
    assert width_curve(x, y, x, y, [6])[0, 0] < 1e-6


@pytest.mark.parametrize(("size", "width"), [(20, 1), (20, 10), (20, 15), (20, 25), (20, 60), (10, 12)])
def test_expected_risk_agrees_with_simulation(size, width, generator):
    runs, signal, noise = 3000, 2.0, 0.5
    a = torch.randn(width, generator=generator, dtype=F64)
    a *= math.sqrt(signal) / a.norm()
    x = torch.randn(runs, size, width, generator=generator, dtype=F64)
    y = x @ a + math.sqrt(noise) * torch.randn(runs, size, generator=generator, dtype=F64)
    w = (torch.linalg.pinv(x) @ y.unsqueeze(2)).squeeze(2)
    risks = noise + (w - a).square().sum(dim=1)  # exact, given the weights
    expected = minimum_norm_risk(size, width, signal=signal, noise=noise)
    tolerance = 4 * risks.std().item() / math.sqrt(runs) if abs(size - width) > 2 else 0.5 * expected
    assert abs(risks.mean().item() - expected) < tolerance


def test_expected_risk_at_its_edges():
    assert [minimum_norm_risk(20, width) for width in (19, 20, 21)] == [math.inf] * 3
    assert minimum_norm_risk(20, 18) == 1 + 18
    assert minimum_norm_risk(20, 22) == pytest.approx(1 + 1 - 20 / 22 + 20)
    assert minimum_norm_risk(1, 1) == math.inf
    for width in (1, 19, 20):
        assert minimum_norm_risk(20, width, noise=0.0) == 0
    assert minimum_norm_risk(20, 21, noise=0.0) == pytest.approx(1 / 21)
    assert minimum_norm_risk(20, 40, signal=3.0, noise=0.0) == 1.5
    assert minimum_norm_risk(20, 40, signal=0.0, noise=2.0) == pytest.approx(2 + 40 / 19)


@pytest.mark.usefixtures("unchecked")
def test_errors(generator):
    with raises(ValueError, "expected in_features of at least 1, got 0"):
        RandomFeatures(0, 1, generator)
    with raises(ValueError, "expected num_features of at least 1, got 0"):
        RandomFeatures(1, 0, generator)
    with raises(ValueError, "expected kind 'relu' or 'cosine', got 'sine'"):
        RandomFeatures(1, 1, generator, kind="sine")
    for bandwidth in (0.0, math.inf, math.nan):
        with raises(ValueError, f"expected a finite bandwidth above 0, got {bandwidth}"):
            RandomFeatures(1, 1, generator, bandwidth=bandwidth)
    layer = RandomFeatures(2, 3, generator)
    for bad in (torch.ones(4, 3), torch.tensor(1.0)):
        with raises(ValueError, f"expected x of shape (..., 2), got {tuple(bad.shape)}"):
            layer(bad)
    with raises(TypeError, "expected x to be of floating type, got torch.int64"):
        layer(torch.ones(1, 2).long())
    x, y = torch.ones(2, 3), torch.ones(2)
    for features, test in ((x, torch.ones(2, 4)), (y, x), (x, y)):
        got = f"{tuple(features.shape)} and {tuple(test.shape)}"
        with raises(ValueError, f"expected features of shapes (m, p) and (n, p), got {got}"):
            width_curve(features, y, test, y, [1])
    with raises(TypeError, "expected features to be of floating type, got torch.int64"):
        width_curve(x.long(), y, x, y, [1])
    with raises(TypeError, "expected test_features to be of floating type, got torch.int64"):
        width_curve(x, y, x.long(), y, [1])
    for bad, expected in ((torch.ones(3), "(2,)"), (torch.ones(2, 1), "(2,)")):
        with raises(ValueError, f"expected test_y of shape {expected}, got {tuple(bad.shape)}"):
            width_curve(x, y, x, bad, [1])
    with raises(ValueError, "expected test_y of shape (2, 3), got (2,)"):
        width_curve(x, torch.ones(2, 3), x, y, [1])
    for width in (0, 4):
        with raises(ValueError, f"expected widths in [1, 3], got {width}"):
            width_curve(x, y, x, y, [width])
    for name in ("size", "width"):
        with raises(ValueError, f"expected a {name} of at least 1, got 0"):
            minimum_norm_risk(**{"size": 2, "width": 2, name: 0})
    for name in ("signal", "noise"):
        for value in (-1.0, math.inf, math.nan):
            with raises(ValueError, f"expected a finite {name} of at least 0, got {value}"):
                minimum_norm_risk(2, 2, **{name: value})
