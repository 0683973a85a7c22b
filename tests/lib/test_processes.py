"""Several processes: together they make the steps of one, started for real by torchrun over a free local port."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from torch.utils.data import Dataset, TensorDataset

from chainrule import _processes
from chainrule._processes import as_dataset, batches, join_processes, own_device, shares, sum_over_processes

CPU = torch.device("cpu")

PROGRAM = """
import sys, torch
from torch import nn
from torch.utils.data import Dataset
from chainrule.training import accuracy, evaluate, fit

class Pairs(Dataset):
    def __len__(self):
        return len(x)

    def __getitem__(self, i):
        return x[i], y[i]

torch.set_num_threads(1)
target, batch_size = sys.argv[1], int(sys.argv[2])
results = []
for m, pairs in ((32, False), (37, False), (33, True)):  # whole batches of 16; then 5 are left, then 1
    g = torch.Generator().manual_seed(m)
    x = torch.randn(m, 4, generator=g, dtype=torch.float64)
    y = (x[:, 0] * x[:, 1] > 0).long()
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    data = Pairs() if pairs else (x, y)
    for epochs in (2, 3):  # stopped once, and continued from the checkpoint
        history = fit(model, nn.CrossEntropyLoss(), optimizer, data, epochs=epochs, batch_size=batch_size, seed=2,
                      validation=(x, y), metrics={"accuracy": accuracy}, checkpoint=f"{target}-{m}")
    measured = evaluate(model, nn.CrossEntropyLoss(), (x, y), batch_size=5)
    results.append((model.state_dict(), history.train_loss, history.validation_loss, history.metrics, measured))
from torch import distributed as dist
rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
assert world == 16 // batch_size
torch.save(results, f"{target}.{rank}")
"""


def test_two_processes_give_the_result_of_one_with_the_doubled_batch(tmp_path, device):
    """With gloo on CPUs; with NCCL on GPUs, where a machine that has a single one joins one process."""
    world = 2 if device.type == "cpu" else min(2, torch.cuda.device_count())
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TORCHELASTIC", "MASTER_"))}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment |= {"CUDA_VISIBLE_DEVICES": ""} if device.type == "cpu" else {}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={world}"]
    commands = [[program, tmp_path / "one", 16], [*torchrun, program, tmp_path / "all", 16 // world]]
    options = {"env": environment, "cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, *map(str, words)], **options) for words in commands]
    for process in started:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert out == ""
    one, *each = (torch.load(tmp_path / name) for name in ("one.0", *(f"all.{rank}" for rank in range(world))))
    for results in each:  # every process holds the same model and measures the same
        assert {value.device.type for state, *_ in results for value in state.values()} == {device.type}
        assert_close(results, each[0], rtol=0, atol=0)
        assert_close(results, one, rtol=1e-10, atol=1e-12, check_device=False)
    assert one[0][1][2] < one[0][1][0]  # and something was learned


# A process alone


def test_alone_there_is_nothing_to_join():
    assert join_processes(CPU) == (0, 1)
    assert sum_over_processes([1.5, 2.0], CPU) == [1.5, 2.0]


def test_the_device_is_the_one_asked_for_or_the_models_own(monkeypatch):
    assert own_device(None, torch.device("meta")) == torch.device("meta")
    assert own_device("meta", CPU) == torch.device("meta")
    assert own_device("cuda", CPU) == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert own_device(None, CPU) == CPU  # a GPU that nobody asked for is left alone
    monkeypatch.setattr(_processes.dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device(None, CPU) == own_device("cuda", CPU) == torch.device("cuda", 3)
    assert own_device("cuda:1", CPU) == torch.device("cuda", 1)
    assert own_device("cpu", torch.device("meta")) == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert own_device(None, CPU) == CPU


def test_the_processes_meet_by_the_library_of_their_device(monkeypatch):
    calls = []
    group = {"ready": False}
    monkeypatch.setattr(_processes.dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(_processes.dist, "is_initialized", lambda: group["ready"])
    monkeypatch.setattr(_processes.dist, "get_rank", lambda: 2)
    monkeypatch.setattr(_processes.dist, "get_world_size", lambda: 4)
    monkeypatch.setattr(
        _processes.dist, "init_process_group", lambda name: calls.append(name) or group.update(ready=True)
    )
    monkeypatch.setattr(_processes.atexit, "register", lambda function: calls.append(function.__name__))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(device))
    assert join_processes(CPU) == join_processes(CPU) == (2, 4)  # once for a program, however often it trains
    assert calls == ["gloo", "destroy_process_group"]
    calls.clear()
    group["ready"] = False
    join_processes(torch.device("cuda", 1))
    assert calls == [torch.device("cuda", 1), "nccl", "destroy_process_group"]


# Batches


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5))
def test_shares_are_disjoint_even_and_together_all(samples, batch_size, world):
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(samples))
    each = [shares(order, batch_size, rank, world) for rank in range(world)]
    assert len({len(parts) for parts in each}) == 1
    for step, whole in enumerate(order.split(batch_size * world)):
        counts = [parts[step][1] for parts in each]
        assert sum(counts) == len(whole) and max(counts) - min(counts) <= 1
        assert {parts[step][2] for parts in each} == {len(whole)}
        counted = torch.cat([parts[step][0][: parts[step][1]] for parts in each])
        assert torch.equal(counted.sort().values, whole.sort().values)
        assert all(len(parts[step][0]) == max(parts[step][1], 1) for parts in each)


def test_batches_of_tensors_and_of_a_data_set_are_the_same(device):
    class Pairs(Dataset):
        def __len__(self):
            return 7

        def __getitem__(self, i):
            return x[i], 2 * x[i], int(y[i])

    x, y = torch.randn(7, 3), torch.arange(7)
    order = torch.randperm(7)
    tensors = list(batches(TensorDataset(x, 2 * x, y), order, 3, 0, device))
    one_by_one = list(batches(Pairs(), order, 3, 0, device))
    assert [batch[2:] for batch in tensors] == [(3, 3), (3, 3), (1, 1)]
    for (inputs, target, *_), other in zip(tensors, one_by_one, strict=True):
        assert target.device.type == inputs[1].device.type == device.type
        assert_close((inputs, target), other[:2], rtol=0, atol=0)
    assert torch.equal(torch.cat([batch[1] for batch in tensors]).cpu(), order)


def test_tensors_become_a_data_set():
    data = as_dataset((torch.ones(3), torch.zeros(3)))
    assert type(data) is TensorDataset and len(data) == 3 and as_dataset(data) is data
    assert type(as_dataset([torch.ones(3), torch.zeros(3)])) is TensorDataset
    pairs = [(torch.ones(1), torch.ones(1))] * 4
    assert as_dataset(pairs) is pairs  # a list of samples is a data set already
    with pytest.raises(ValueError, match=r"same length, got \[3, 2\]"):
        as_dataset((torch.ones(3), torch.ones(2)))
    with pytest.raises(ValueError, match=r"^expected inputs and targets of the same length, got \[3\]$"):
        as_dataset((torch.ones(3),))
    with pytest.raises(ValueError, match="^expected at least one sample, got none$"):
        as_dataset(TensorDataset(torch.ones(0)))


def test_arrays_are_no_tensors(unchecked):
    with pytest.raises(ValueError, match="^expected tensors, got Tensor, ndarray$"):
        as_dataset((torch.ones(3), np.ones(3)))
