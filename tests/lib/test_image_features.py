"""Image features against slow loops over pixels, by hand, and by what must leave them unchanged."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from chainrule.clustering import nearest_center
from chainrule.image_features import (
    bag_of_visual_words,
    colour_histogram,
    grey,
    hog,
    image_gradients,
    orientation_histogram,
    patches,
)

from .reference import raises

F64 = torch.float64


def photo(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def slow_hog(image, cell, bins, block):
    """Dalal and Triggs' descriptor pixel by pixel, in plain Python."""
    height, width = len(image), len(image[0])

    def at(r, c):
        return image[min(max(r, 0), height - 1)][min(max(c, 0), width - 1)]

    cells = {}
    for r in range(height):
        for c in range(width):
            right, down = (at(r, c + 1) - at(r, c - 1)) / 2, (at(r + 1, c) - at(r - 1, c)) / 2
            strength, angle = math.hypot(right, down), math.degrees(math.atan2(down, right)) % 180
            votes = cells.setdefault((r // cell, c // cell), [0.0] * bins)
            step = 180 / bins
            for j in range(bins):  # a triangle of width two steps around each bin, on a circle
                away = abs(angle - j * step)
                away = min(away, 180 - away)
                votes[j] += strength * max(0.0, 1 - away / step)
    rows, columns = height // cell, width // cell
    result = []
    for r in range(rows - block + 1):
        line = []
        for c in range(columns - block + 1):
            v = [x for i in range(block) for j in range(block) for x in cells[r + i, c + j]]
            norm = math.sqrt(sum(x * x for x in v) + 1e-6)
            line.append([x / norm for x in v])
        result.append(line)
    return torch.tensor(result, dtype=F64)


@pytest.mark.parametrize(
    ("shape", "cell", "bins", "block"), [((16, 24), 8, 9, 2), ((12, 9), 3, 6, 1), ((8, 8), 2, 4, 3)]
)
def test_hog_agrees_with_the_slow_one(shape, cell, bins, block):
    image = photo(0, *shape)
    assert_close(hog(image, cell=cell, bins=bins, block=block), slow_hog(image.tolist(), cell, bins, block))


def test_hog_of_batches_and_types(device, dtype):
    images = photo(1, 2, 3, 24, 16).to(device, dtype)
    result = hog(images)
    assert result.shape == (2, 3, 2, 1, 36) and result.dtype == dtype and result.device.type == device.type
    assert_close(result[1, 2], hog(images[1, 2]))


@given(st.integers(0, 10**6))
def test_hog_hardly_sees_light(seed):
    """More light changes nothing; more contrast only as far as the small number in the norm matters."""
    image = photo(seed, 16, 16)
    assert_close(hog(image + 0.3), hog(image))
    assert (hog(0.5 * image) - hog(image)).abs().max() < 1e-5
    assert_close(hog(1 - image), hog(image))  # a negative has the same directions


def test_hog_turns_and_mirrors_with_the_image():
    image = photo(3, 16, 16)
    mirrored = hog(image.flip(1), block=1, bins=6)
    index = [0, 5, 4, 3, 2, 1]  # the angle a becomes 180 - a
    assert_close(mirrored, hog(image, block=1, bins=6).flip(1)[..., index])
    turned = hog(image.rot90(), block=1, bins=6)
    assert_close(turned, hog(image, block=1, bins=6).rot90().roll(3, dims=-1))


def test_hog_of_a_flat_image_is_zero():
    assert (hog(torch.full((16, 16), 0.7)) == 0).all()


def test_norm_of_blocks():
    norms = hog(photo(2, 32, 32)).norm(dim=-1)
    assert (norms < 1).all() and (norms > 0.999).all()
    slope = 1e-5
    weak = slope * torch.ones(16, 16, dtype=F64).cumsum(1)  # in each of the four cells 56 whole and 8 halved gradients
    norm = 60 * slope * 2
    assert hog(weak).norm().item() == pytest.approx(norm / math.sqrt(norm**2 + 1e-6))


def test_gradients_of_ramps(device, dtype):
    row, column = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    for slope_down, slope_right, expected in (
        (0, 1, 0),
        (1, 0, 90),
        (1, 1, 45),
        (-1, 1, 135),
        (-1, -1, 45),
        (0, -2, 0),
    ):
        ramp = (slope_down * row + slope_right * column).to(device, dtype)
        magnitude, angle = image_gradients(ramp)
        assert magnitude.dtype == dtype and angle.device.type == device.type
        assert_close(angle[1:-1, 1:-1], torch.full_like(angle[1:-1, 1:-1], expected))
        assert_close(magnitude[1:-1, 1:-1], torch.full_like(angle[1:-1, 1:-1], math.hypot(slope_down, slope_right)))
        assert_close(magnitude[0, 1:-1], torch.full_like(magnitude[0, 1:-1], math.hypot(slope_down / 2, slope_right)))
    assert image_gradients(photo(0, 2, 1, 5, 4))[0].shape == (2, 1, 5, 4)


def test_angles_stay_below_180():
    tiny = torch.tensor([[0.0, 1.0], [-1e-45, 1.0]])
    assert (image_gradients(tiny)[1] < 180).all()


def test_split_between_two_bins(device, dtype):
    def bins(angle, magnitude=10.0):
        m, a = (torch.tensor([value], device=device, dtype=dtype) for value in (magnitude, angle))
        return orientation_histogram(m, a).cpu()

    assert_close(bins(50.0), torch.tensor([0, 0, 5, 5, 0, 0, 0, 0, 0], dtype=dtype))
    assert_close(bins(165.0), torch.tensor([2.5, 0, 0, 0, 0, 0, 0, 0, 7.5], dtype=dtype))
    assert_close(bins(40.0), torch.tensor([0, 0, 10, 0, 0, 0, 0, 0, 0], dtype=dtype))
    both = orientation_histogram(*torch.tensor([[1.0], [20.0]], device=device, dtype=dtype))
    assert both.dtype == dtype and both.device.type == device.type
    last = torch.nextafter(torch.tensor(180.0, dtype=dtype), torch.tensor(0.0, dtype=dtype)).item()
    assert bins(last)[0].item() == pytest.approx(10, abs=1e-3)
    one = orientation_histogram(torch.tensor([1.0, 2.0]), torch.tensor([10.0, 100.0]), bins=1)
    assert_close(one, torch.tensor([3.0]))


@given(st.integers(0, 10**6), st.integers(1, 12))
def test_votes_sum_to_the_magnitudes(seed, bins):
    magnitude, angle = photo(seed, 2, 5), 180 * photo(seed + 1, 2, 5)
    votes = orientation_histogram(magnitude, angle, bins)
    assert votes.shape == (2, bins) and (votes >= 0).all()
    assert_close(votes.sum(-1), magnitude.sum(-1))


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_colour_histogram_agrees_with_numpy(seed, bins):
    image = photo(seed, 3, 7, 5)
    pixels = image.flatten(1).T.numpy()
    expected = np.histogramdd(pixels, bins=bins, range=[(0, 1)] * 3)[0] / 35
    assert_close(colour_histogram(image, bins), torch.from_numpy(expected))


def test_colour_histogram_ignores_places(device, dtype):
    images = photo(0, 4, 3, 6, 6).to(device, dtype)
    histogram = colour_histogram(images)
    assert histogram.shape == (4, 4, 4, 4) and histogram.dtype == dtype and histogram.device.type == device.type
    assert_close(histogram.sum((1, 2, 3)), torch.ones(4, device=device, dtype=dtype))
    shuffled = images.flatten(2)[..., torch.randperm(36, device=device)].unflatten(2, (6, 6))
    assert_close(colour_histogram(shuffled), histogram)
    assert_close(colour_histogram(images[2]), histogram[2])
    assert colour_histogram(torch.ones(3, 1, 1), 5)[4, 4, 4] == 1


def test_grey(device, dtype):
    image = torch.tensor([1.0, 0.5, 0.25], device=device, dtype=dtype).reshape(3, 1, 1)
    assert grey(image).item() == pytest.approx(0.299 + 0.2935 + 0.0285)
    assert grey(image).dtype == dtype and grey(photo(0, 2, 3, 4, 5)).shape == (2, 4, 5)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 2), (2, 5), (5, 1)])
def test_patches_agree_with_slices(size, stride):
    images = photo(0, 2, 5, 8)
    expected = [
        images[1, r : r + size, c : c + size].flatten()
        for r in range(0, 5 - size + 1, stride)
        for c in range(0, 8 - size + 1, stride)
    ]
    result = patches(images, size, stride)
    assert result.shape == (2, len(expected), size * size)
    assert_close(result[1], torch.stack(expected))


def test_visual_words(device, dtype):
    words, codebook = photo(0, 3, 50, 4).to(device, dtype), photo(1, 6, 4).to(device, dtype)
    histogram = bag_of_visual_words(words, codebook)
    assert histogram.shape == (3, 6) and histogram.dtype == dtype and histogram.device.type == device.type
    for row, image in zip(histogram, words, strict=True):
        counts = torch.bincount(nearest_center(image, codebook), minlength=6)
        assert_close(row, counts.to(dtype) / 50)
    assert_close(bag_of_visual_words(words[0].flip(0), codebook), histogram[0])


def test_errors(unchecked):
    image, bad = torch.zeros(3, 8, 8), torch.zeros(2, 8, 8)
    for function in (grey, colour_histogram):
        for wrong in (bad, torch.zeros(3, 8)):
            with raises(ValueError, f"expected images of shape (..., 3, height, width), got {tuple(wrong.shape)}"):
                function(wrong)
        with raises(ValueError, "expected images to be finite, got nan"):
            function(image * math.nan)
        with raises(TypeError, "expected images to be of floating type, got torch.int64"):
            function(image.long())
    for empty in ((3, 0, 4), (3, 4, 0)):
        with raises(ValueError, f"expected at least one pixel, got shape {empty}"):
            colour_histogram(torch.zeros(empty))
    with raises(ValueError, "expected bins of at least 1, got 0"):
        colour_histogram(image, 0)
    with raises(ValueError, "expected colours in [0, 1], got 0.0 to 255.0"):
        colour_histogram(torch.tensor([0.0, 1.0, 255.0]).reshape(3, 1, 1))
    with raises(ValueError, "expected colours in [0, 1], got -0.5 to 1.0"):
        colour_histogram(torch.tensor([-0.5, 0.0, 1.0]).reshape(3, 1, 1))
    for function in (image_gradients, hog, lambda x: patches(x, 1, 1)):
        for wrong in (torch.zeros(8), torch.zeros(0, 8), torch.zeros(8, 0)):
            with raises(
                ValueError, f"expected images of shape (..., height, width), none of them 0, got {tuple(wrong.shape)}"
            ):
                function(wrong)
        with raises(ValueError, "expected images to be finite, got inf"):
            function(bad + math.inf)
        with raises(TypeError, "expected images to be of floating type, got torch.int64"):
            function(bad.long())
    zeros = torch.zeros(3)
    for magnitude, angle in ((zeros, torch.zeros(2)), (torch.tensor(0.0), torch.tensor(0.0))):
        with raises(
            ValueError,
            "expected magnitude and angle of one shape (..., n), got "
            f"{tuple(magnitude.shape)} and {tuple(angle.shape)}",
        ):
            orientation_histogram(magnitude, angle)
    with raises(TypeError, "expected magnitude to be of floating type, got torch.int64"):
        orientation_histogram(zeros.long(), zeros)
    with raises(TypeError, "expected angle to be of floating type, got torch.int64"):
        orientation_histogram(zeros, zeros.long())
    with raises(ValueError, "expected bins of at least 1, got 0"):
        orientation_histogram(zeros, zeros, 0)
    with raises(ValueError, "expected magnitudes of at least 0, got -1.0"):
        orientation_histogram(zeros - 1, zeros)
    with raises(ValueError, "expected angles in [0, 180), got 0.0 to 180.0"):
        orientation_histogram(zeros, torch.tensor([0.0, 10.0, 180.0]))
    with raises(ValueError, "expected angles in [0, 180), got -1.0 to 10.0"):
        orientation_histogram(zeros, torch.tensor([0.0, 10.0, -1.0]))
    for name in ("cell", "bins", "block"):
        with raises(ValueError, f"expected {name} of at least 1, got 0"):
            hog(bad, **{name: 0})
    for shape in ((16, 20), (20, 16), (8, 16), (16, 8)):
        with raises(
            ValueError,
            "expected images of whole cells of 8 pixels and at least one block of 16, got "
            f"{shape[0]} x {shape[1]} pixels",
        ):
            hog(torch.zeros(shape))
    for size in (0, 9):
        with raises(ValueError, f"expected a size of patches that fits 8 x 9 pixels, got {size}"):
            patches(torch.zeros(8, 9), size, 1)
    with raises(ValueError, "expected a stride of at least 1, got 0"):
        patches(bad, 2, 0)
    for wrong in (torch.zeros(3), torch.zeros(2, 0, 3)):
        with raises(ValueError, f"expected words of shape (..., n, d), n at least 1, got {tuple(wrong.shape)}"):
            bag_of_visual_words(wrong, torch.zeros(2, 3))
    with raises(ValueError, "expected centers of 4 features like x, got 3"):
        bag_of_visual_words(torch.zeros(2, 4), torch.zeros(2, 3))
    with raises(TypeError, "expected words to be of floating type, got torch.int64"):
        bag_of_visual_words(torch.zeros(2, 3).long(), torch.zeros(2, 3))
