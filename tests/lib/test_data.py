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


@pytest.mark.parametrize(
    "load", [data.sample_photograph, data.sample_photographs, lambda: data.digits()[0], lambda: data.digits()[1]]
)
def test_two_calls_share_no_memory(load):
    first = load()
    before = first.clone()
    first.zero_()
    assert torch.equal(load(), before)


def test_missing_photograph_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "files", lambda package: tmp_path)
    with pytest.raises(FileNotFoundError, match="sample data"):
        data.sample_photograph()


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    images, labels = data.digits()
    assert images.shape == (1797, 8, 8) and images.dtype == torch.float32 and labels.dtype == torch.int64
    pixels, targets = load_digits(return_X_y=True)
    assert np.array_equal(16 * images.flatten(1).numpy(), pixels)
    assert np.array_equal(labels.numpy(), targets)
    assert images.min() == 0 and images.max() == 1


def test_digits_look_like_digits():
    images, labels = data.digits()
    assert labels.bincount().min() >= 174 and labels.unique().tolist() == list(range(10))
    means = torch.stack([images[labels == label].mean(dim=0) for label in range(10)])  # (10, 8, 8)
    assert means[0, 3:5, 3:5].max() < 0.2 < 0.6 < means[1, 3:5, 3:5].min()  # a zero is hollow, a one is not
    assert (torch.cdist(images.flatten(1), means.flatten(1)).argmin(dim=1) == labels).float().mean() > 0.88


def test_photographs_are_in_colour_and_the_right_way_up():
    photographs = data.sample_photographs()
    assert photographs.shape == (2, 3, 427, 640) and photographs.dtype == torch.float32
    assert photographs.is_contiguous() and photographs.min() == 0 and photographs.max() == 1
    china, flower = photographs
    sky, ground = china[:, :40].mean(dim=(1, 2)), china[:, -40:].mean(dim=(1, 2))
    assert sky[2] > sky[0] and sky.mean() > 2 * ground.mean()  # blue and bright above, dark below
    petals = flower[:, 180:240, 280:360].mean(dim=(1, 2))
    assert petals[0] > petals[2]  # no blue there


def test_photographs_are_what_the_files_hold():
    from sklearn.datasets import load_sample_images

    for ours, theirs in zip(data.sample_photographs(), load_sample_images().images, strict=True):
        assert torch.allclose(255 * ours, torch.from_numpy(theirs.copy()).permute(2, 0, 1).float(), atol=1e-3)


def test_methods_do_not_load_data_sets():
    program = "import sys, chainrule.information, chainrule.coding; sys.exit('chainrule.data' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0
