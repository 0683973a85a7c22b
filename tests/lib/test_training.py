"""The training loop: the same numbers as a loop written by hand, and clear words where something is wrong."""

import copy
import inspect
import math
import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from torch.utils.data import Dataset, TensorDataset

from chainrule.training import History, accuracy, evaluate, fit

F64 = torch.float64


def classes(m=50, k=3, noise=1.0, dtype=F64, device="cpu"):
    """Points around k centres, and their labels."""
    centres = 2 * torch.randn(k, 4, generator=torch.Generator().manual_seed(1), dtype=dtype)
    g = torch.Generator().manual_seed(m)
    labels = torch.randint(k, (m,), generator=g)
    x = centres[labels] + noise * torch.randn(m, 4, generator=g, dtype=dtype)
    return x.to(device), labels.to(device)


def network(k=3, dropout=0.0, dtype=F64):
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, k)).to(dtype)


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


class Shifted(Dataset):
    """A data set that draws from torch's global randomness for each sample, as augmentation does."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i] + 0.1 * torch.randn(4, dtype=self.x.dtype), self.y[i]


# The steps


def test_one_full_batch_is_one_step_of_gradient_descent(device, dtype):
    x, y = classes(dtype=dtype)
    model = network(dtype=dtype)
    by_hand = copy.deepcopy(model)
    gradients = torch.autograd.grad(F.cross_entropy(by_hand(x), y), list(by_hand.parameters()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    history = fit(model, F.cross_entropy, optimizer, (x, y), epochs=1, batch_size=50, device=device)
    for p, old, g in zip(model.parameters(), by_hand.parameters(), gradients, strict=True):
        assert p.device.type == device.type and p.dtype == dtype
        assert_close(p.cpu(), old - 0.3 * g)
    assert math.isclose(history.train_loss[0], F.cross_entropy(by_hand(x), y).item(), rel_tol=1e-6)
    assert history.validation_loss == [] and history.metrics == {} and not model.training


def test_epochs_are_those_of_a_loop_written_by_hand():
    x, y = classes()
    model, seen = network(), []
    data = (x, y, torch.arange(50))

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x, y_again):
            seen.append(x)
            return self.inner(x)

    watched = Watched()
    by_hand = copy.deepcopy(model)
    history = fit(watched, lambda s, i: F.cross_entropy(s, y[i]), sgd(watched), data, epochs=3, batch_size=16, seed=5)
    optimizer, losses = sgd(by_hand), []
    for batch in seen:  # the order is fit's own; all else is written again
        rows = (batch.unsqueeze(1) == x).all(dim=2).int().argmax(dim=1)
        optimizer.zero_grad()
        loss = F.cross_entropy(by_hand(batch), y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item() * len(batch))
    assert [len(batch) for batch in seen] == [16, 16, 16, 2] * 3
    assert_close(list(by_hand.parameters()), list(model.parameters()), rtol=0, atol=0)
    assert_close(history.train_loss, [sum(losses[i : i + 4]) / 50 for i in (0, 4, 8)])


def test_every_epoch_visits_each_sample_once_in_an_order_of_its_own():
    x = torch.arange(10.0).unsqueeze(1)
    orders = {}
    for seed in (0, 1):
        seen = []

        def watch(scores, y, seen=seen):
            seen.append(y)
            return (scores - y).square().mean()

        model = nn.Linear(1, 1)
        fit(model, watch, sgd(model, 1e-3), (x, x), epochs=3, batch_size=4, seed=seed)
        orders[seed] = torch.cat(seen).reshape(3, 10)
        assert (orders[seed].sort(dim=1).values == torch.arange(10.0)).all()
    every = torch.cat([orders[0], orders[1]])
    assert len(every.unique(dim=0)) == 6  # no two epochs alike, and seed 1 does not begin where seed 0 went on


@pytest.mark.parametrize("data", [classes(), Shifted(*classes())], ids=["tensors", "data set"])
def test_the_seed_decides_everything_and_the_readers_randomness_stays(data):
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(7 + len(states))
        before = torch.get_rng_state()
        model = network(dropout=0.5)
        torch.set_rng_state(before)
        fit(model, F.cross_entropy, sgd(model), data, epochs=2, batch_size=8, seed=seed, validation=data)
        assert torch.equal(torch.get_rng_state(), before)
        states.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_a_data_set_gives_the_steps_of_its_tensors():
    class Plain(Shifted):
        def __getitem__(self, i):
            return self.x[i], self.y[i]

    models = [network(), network()]
    for model, data in zip(models, (Plain(*classes()), TensorDataset(*classes())), strict=True):
        fit(model, F.cross_entropy, sgd(model), data, epochs=2, batch_size=8)
    assert_close(list(models[0].parameters()), list(models[1].parameters()), rtol=0, atol=0)


def test_workers_prepare_the_same_samples():
    class Plain(Shifted):
        def __getitem__(self, i):
            return self.x[i], self.y[i]

    data = Plain(*classes(m=12))
    models = [network(), network()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process that has threads
        for model, workers in zip(models, (0, 1), strict=True):
            fit(model, F.cross_entropy, sgd(model), data, epochs=1, batch_size=8, num_workers=workers)
    assert_close(list(models[0].parameters()), list(models[1].parameters()), rtol=0, atol=0)


def test_scheduler_and_hook_have_their_turn():
    model, rates, norms = network(), [], []
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)

    def clip(m):
        rates.append(optimizer.param_groups[0]["lr"])
        nn.utils.clip_grad_norm_(m.parameters(), 1e-3)
        norms.append(torch.cat([p.grad.flatten() for p in m.parameters()]).norm().item())

    start = [p.detach().clone() for p in model.parameters()]
    fit(model, F.cross_entropy, optimizer, classes(), epochs=2, batch_size=25, scheduler=scheduler, after_backward=clip)
    assert rates == [0.1, 0.1, 0.05, 0.05]
    assert max(norms) <= 1.01e-3  # not more: gradients do not pile up from step to step
    moved = torch.cat([(a - b).flatten() for a, b in zip(model.parameters(), start, strict=True)]).norm()
    assert 0 < moved < 4 * 0.1 * 1e-3 * 4


# Measuring


def test_evaluation_is_the_mean_over_samples_not_over_batches(device):
    x, y = classes(m=10)
    model = network(dropout=0.9).train()
    result = evaluate(model, F.cross_entropy, (x, y), metrics={"accuracy": accuracy}, batch_size=7, device=device)
    assert model.training  # left as it was
    model.cpu().eval()
    assert math.isclose(result["loss"], F.cross_entropy(model(x), y).item(), rel_tol=1e-9)
    assert math.isclose(result["accuracy"], (model(x).argmax(1) == y).double().mean().item(), rel_tol=1e-9)
    assert list(result) == ["loss", "accuracy"]
    assert not evaluate(model, F.cross_entropy, (x, y)).keys() - {"loss"} and not model.training


def test_validation_is_measured_after_each_epoch_and_the_best_is_kept():
    train, held_out = classes(), classes(m=30)
    model = network()
    states = []

    def keep(scores, y):
        if not model.training and len(y) == 30:
            states.append([p.detach().clone() for p in model.parameters()])
        return F.cross_entropy(scores, y)

    history = fit(
        model, keep, sgd(model, lr=1.5), train, epochs=6, batch_size=50, validation=held_out,
        metrics={"accuracy": accuracy}, keep_best=True,
    )  # fmt: skip
    assert len(history.train_loss) == len(history.validation_loss) == len(history.metrics["accuracy"]) == 6
    best = history.best_epoch
    assert best == min(range(6), key=lambda e: history.validation_loss[e]) and best < 5  # lr 1.5 throws it out again
    assert_close(states[best], list(model.parameters()), rtol=0, atol=0)
    last = network()
    fit(
        last, keep, sgd(last, lr=1.5), train, epochs=6, batch_size=50, validation=held_out
    )  # the last ones unless asked
    other = evaluate(last, F.cross_entropy, held_out)
    assert math.isclose(other["loss"], history.validation_loss[-1], rel_tol=1e-12)
    again = evaluate(model, F.cross_entropy, held_out, metrics={"accuracy": accuracy})
    assert math.isclose(again["loss"], history.validation_loss[best], rel_tol=1e-12)
    assert again["accuracy"] == history.metrics["accuracy"][best]


def test_samples_come_alone_unless_workers_are_asked_for():
    assert {inspect.signature(f).parameters["num_workers"].default for f in (fit, evaluate)} == {0}
    assert inspect.signature(fit).parameters["batch_size"].default == 32


def test_best_epoch_is_the_first_of_equals():
    assert History([3.0, 1.0, 1.0, 2.0]).best_epoch == 1
    assert History([3.0, 1.0], [0.5, 0.7]).best_epoch == 0


def test_accuracy_counts_the_largest_score(dtype):
    scores = torch.tensor([[0, 1], [2, 1], [5, 6], [9, 8]], dtype=dtype)
    assert_close(accuracy(scores, torch.tensor([1, 0, 0, 0])), torch.tensor(0.75, dtype=dtype))


def test_training_learns_the_digits():
    from chainrule.data import digits

    images, labels = digits()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = ((images[i], labels[i]) for i in (order[:1400], order[1400:]))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    history = fit(
        model, F.cross_entropy, sgd(model), train, epochs=10, batch_size=32, validation=test,
        metrics={"accuracy": accuracy},
    )  # fmt: skip
    assert history.metrics["accuracy"][-1] > 0.94 and history.train_loss[-1] < 0.1 < 1 < history.train_loss[0]


# What is said when something is wrong


def test_nothing_is_printed_unless_asked(capsys):
    model = network()
    fit(model, F.cross_entropy, sgd(model), classes(), epochs=2)
    assert capsys.readouterr() == ("", "")
    fit(model, F.cross_entropy, sgd(model), classes(), epochs=2, batch_size=25, progress=True)
    shown = capsys.readouterr()
    assert (
        shown.out == "" and "4/4" in shown.err and "step" in shown.err and re.search(r"epoch=1, loss=\d\.", shown.err)
    )


def test_a_loss_that_is_not_finite_stops_at_its_step():
    x, y = classes(m=20)
    x[13] = math.nan
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(FloatingPointError, match=r"finite loss, got nan in epoch 0, step \d; usual causes are a large"):
        fit(model, F.cross_entropy, optimizer, (x, y), epochs=1, batch_size=4)
    assert all(p.isfinite().all() for p in model.parameters())
    line = nn.Linear(1, 1).double()
    wild = torch.optim.SGD(line.parameters(), lr=1e3)
    x = torch.ones(4, 1, dtype=F64)
    with pytest.raises(FloatingPointError, match=r"got (inf|nan) in epoch \d+, step [01];"):
        fit(line, nn.MSELoss(), wild, (x, 2 * x), epochs=500, batch_size=2)


@pytest.mark.parametrize("columns, shape", [((1,), ()), ((), (1,)), ((1,), (3,)), ((2, 1), ())])
def test_predictions_and_targets_that_only_broadcast_are_refused(columns, shape):
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(columns))

        def forward(self, x):
            return self.weight.expand(len(x), *columns)

    model = Constant()
    x, y = torch.ones(6, 1), torch.ones(6, *shape)
    names = re.escape(f"predictions' shape {(6, *columns)}, got {(6, *shape)}")
    together = re.escape(str(tuple(torch.broadcast_shapes((6, *columns), (6, *shape)))))
    with pytest.raises(ValueError, match=f"{names}: a loss may compare each with each, in the shape {together};"):
        fit(model, nn.L1Loss(), sgd(model), (x, y), epochs=1, batch_size=8)
    with pytest.raises(ValueError, match=names):
        evaluate(model, nn.L1Loss(), (x, y))


def test_shapes_that_a_loss_knows_are_let_through():
    x, y = classes(m=3)  # three samples of three classes: (3, 3) and (3,) would broadcast to (3, 3)
    model = network()
    fit(model, F.cross_entropy, sgd(model), (x, y), epochs=1)
    maps = nn.Conv2d(4, 3, 1).double()
    images, labels = x.reshape(3, 4, 1, 1).expand(3, 4, 2, 2), y.reshape(3, 1, 1).expand(3, 2, 2)
    fit(maps, F.cross_entropy, sgd(maps), (images, labels), epochs=1)
    one = nn.Linear(4, 1).double()
    fit(one, nn.MSELoss(), sgd(one), (x, x[:, :1]), epochs=1, batch_size=2)


def test_wrong_arguments_are_named():
    x, y = classes()
    model = network()
    optimizer = sgd(model)
    good = {"epochs": 1}
    for change, said in [
        ({"epochs": 0}, "epochs, batch_size >= 1 and seed >= 0, got 0, 32 and 0"),
        ({"batch_size": 0}, "got 1, 0 and 0"),
        ({"seed": -1}, "got 1, 32 and -1"),
    ]:
        with pytest.raises(ValueError, match=said):
            fit(model, F.cross_entropy, optimizer, (x, y), **{**good, **change})
    with pytest.raises(ValueError, match=r"the same length, got \[50, 49\]"):
        fit(model, F.cross_entropy, optimizer, (x, y[1:]), epochs=1)
    with pytest.raises(ValueError, match=r"inputs and targets .*got \[50\]"):
        fit(model, F.cross_entropy, optimizer, (x,), epochs=1)
    with pytest.raises(ValueError, match="at least one sample, got none"):
        evaluate(model, F.cross_entropy, (x[:0], y[:0]))
    with pytest.raises(ValueError, match="^expected an optimizer of the model's .* got one that holds none of them$"):
        fit(network(), F.cross_entropy, optimizer, (x, y), epochs=1)
    frozen = network().requires_grad_(False)
    with pytest.raises(ValueError, match="holds none of them"):
        fit(frozen, F.cross_entropy, sgd(frozen), (x, y), epochs=1)
    with pytest.raises(ValueError, match=r"expected loss to give one number, .*got shape \(32,\)"):
        fit(model, nn.CrossEntropyLoss(reduction="none"), optimizer, (x, y), epochs=1)
    with pytest.raises(ValueError, match=r"expected hits to give one number"):
        evaluate(model, F.cross_entropy, (x, y), metrics={"hits": lambda s, y: s.argmax(1) == y})
    with pytest.raises(RuntimeError, match="mat1 and mat2") as caught:
        fit(model, F.cross_entropy, optimizer, (x[:, :3], y), epochs=1)
    assert caught.value.__notes__ == ["The inputs of this batch have the shapes [(32, 3)]."]


# Going on


def run(folder, epochs, checkpoint="run.pt", seed=0, scheduler=True, **changes):
    torch.manual_seed(0)
    model = changes.pop("model", None) or network(dropout=0.3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    options = {"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)} if scheduler else {}
    options |= {"checkpoint": folder / checkpoint} if checkpoint else {}
    options |= {
        "batch_size": 8,
        "seed": seed,
        "validation": classes(m=20, noise=2.0),
        "metrics": {"accuracy": accuracy},
    }
    history = fit(model, F.cross_entropy, optimizer, classes(noise=2.0), epochs=epochs, **options, **changes)
    return model, history


def test_a_run_in_parts_is_the_run_in_one_go(tmp_path):
    whole, history = run(tmp_path, 6, checkpoint=None)
    for epochs in (2, 3, 6):
        parts, others = run(tmp_path, epochs)
        assert len(others.train_loss) == epochs
    assert others == history
    assert_close(parts.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
    finished, once_more = run(tmp_path, 6)  # nothing left to do
    assert once_more == history
    assert_close(finished.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_the_best_parameters_survive_an_interruption(tmp_path):
    whole, history = run(tmp_path, 12, checkpoint=None, keep_best=True)
    assert 0 < history.best_epoch < 11
    run(tmp_path, history.best_epoch + 1)
    parts, _ = run(tmp_path, 12, keep_best=True)  # the best epoch lies in the first part
    assert_close(parts.state_dict(), whole.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"seed": 1}, "'seed': 0.*got .*'seed': 1, 'whole batch': 8, 'samples': 50} and model, optimizer, scheduler"),
        ({"scheduler": False}, "and model, optimizer, scheduler, got .* and model, optimizer$"),
        ({"model": nn.Sequential(nn.Linear(4, 3)).double()}, "expected the model that wrote .*run.pt, got another: "),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, said):
    run(tmp_path, 1)
    with pytest.raises(ValueError, match=said):
        run(tmp_path, 2, **change)
