"""The data sets: shape, range and what makes each of them useful; and that importing a method does not load them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from chainrule import data


def test_photograph_is_grey_and_on_the_grid_of_eight_bits():
    photograph = data.sample_photograph()
    assert photograph.shape == (300, 256) and photograph.dtype == torch.float32
    levels = photograph * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert photograph.min() >= 0 and photograph.max() <= 1
    assert levels.round().unique().numel() > 150  # a photograph uses most of the 256 grey values


def test_photograph_is_the_mean_of_the_picture_that_matplotlib_decodes():
    from matplotlib import cbook, image

    with cbook.get_sample_data("grace_hopper.jpg") as stream:
        colours = image.imread(stream, format="jpg").astype(np.float64)  # (600, 512, 3)
    grey = colours @ np.array([0.299, 0.587, 0.114])  # the luma weights of ITU-R BT.601
    expected = sum(grey[i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4 / 255
    assert np.abs(data.sample_photograph().double().numpy() - expected).max() < 1.5 / 255


def test_neighbouring_pixels_are_alike():
    photograph = data.sample_photograph()
    pairs = torch.stack([photograph[:, :-1].flatten(), photograph[:, 1:].flatten()])
    assert torch.corrcoef(pairs)[0, 1] > 0.9
    shuffled = photograph.flatten()[torch.randperm(photograph.numel(), generator=torch.Generator().manual_seed(0))]
    assert abs(torch.corrcoef(torch.stack([shuffled[:-1], shuffled[1:]]))[0, 1]) < 0.05


def test_two_calls_share_no_memory():
    first = data.sample_photograph()
    before = first.clone()
    first.zero_()
    assert torch.equal(data.sample_photograph(), before)


def test_missing_photograph_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "files", lambda package: tmp_path)
    with pytest.raises(FileNotFoundError, match="sample data"):
        data.sample_photograph()


def test_methods_do_not_load_data_sets():
    program = "import sys, chainrule.information, chainrule.coding; sys.exit('chainrule.data' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0
