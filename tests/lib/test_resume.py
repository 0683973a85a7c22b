"""A training run that is killed by the signal that nobody can catch, and goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time

import torch
from torch.testing import assert_close

PROGRAM = """
import sys, time, torch
from torch import nn
from chainrule.training import fit
torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.randn(60, 5); y = (x[:, 0] > x[:, 1]).long()
model = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
wait = float(sys.argv[2])
history = fit(model, nn.CrossEntropyLoss(), optimizer, (x, y), epochs=12, batch_size=8, seed=3, validation=(x, y),
              scheduler=scheduler, checkpoint=sys.argv[1] + ".pt", after_backward=lambda m: time.sleep(wait))
torch.save((history.train_loss, history.validation_loss, model.state_dict(), optimizer.state_dict()), sys.argv[1])
"""


def start(*arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=environment, stdout=subprocess.DEVNULL)


def epochs_in(file):
    return len(torch.load(file)["others"]["history"]["train_loss"]) if file.exists() else 0


def test_a_run_killed_in_the_middle_ends_with_the_same_bits(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    file, end = tmp_path / "b.pt", time.monotonic() + 300
    with start(program, tmp_path / "a", 0) as untouched, start(program, tmp_path / "b", 0.02) as killed:
        while epochs_in(file) < 3:  # a reader finds a whole file at any moment
            assert killed.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL and not (tmp_path / "b").exists()
        done = epochs_in(file)
        assert 3 <= done < 12
        with start(program, tmp_path / "b", 0) as again:
            assert again.wait(300) == 0 and untouched.wait(300) == 0
    first, second = torch.load(tmp_path / "a"), torch.load(tmp_path / "b")
    assert len(first[0]) == 12
    assert_close(first, second, rtol=0, atol=0)
