"""Prefix codes against exhaustive search, Kraft, Shannon's bounds and their own round trip."""

import heapq
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from chainrule.coding import (
    block_distribution,
    decode,
    encode,
    expected_code_length,
    huffman_code,
    ideal_code_lengths,
    kraft_sum,
)
from chainrule.information import cross_entropy, entropy

from .reference import distributions, normalized, raises

CODE = ["0", "10", "110", "111"]


def shortest_expected_length(p):
    """Least expected length over all prefix codes, by trying every list of lengths that Kraft's inequality allows."""
    k = len(p)
    if k == 1:
        return 1.0
    lengths = itertools.product(range(1, k), repeat=k)
    return min(
        math.fsum(w * n for w, n in zip(p, ls, strict=True)) for ls in lengths if math.fsum(2.0**-n for n in ls) <= 1
    )


def is_prefix_free(code):
    return not any(b.startswith(a) for a, b in itertools.permutations(code, 2))


# Huffman's code


@given(distributions(max_size=5))
def test_huffman_code_is_as_short_as_any_prefix_code(p):
    code = huffman_code(p)
    assert expected_code_length(p, code) == pytest.approx(shortest_expected_length(p.tolist()), abs=1e-12)


@given(distributions(max_size=40))
def test_huffman_code_is_prefix_free_complete_and_within_a_bit_of_the_entropy(p):
    code = huffman_code(p)
    length = expected_code_length(p, code)
    assert len(code) == len(p) and is_prefix_free(code)
    assert kraft_sum(code) == (1 if len(p) > 1 else 0.5)
    assert entropy(p, base=2) - 1e-12 <= length
    if p.max() < 1:
        assert length < entropy(p, base=2) + 1
    else:
        assert length == 1


@given(distributions(min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_order_of_symbols_does_not_change_the_expected_length(p, random):
    order = list(range(len(p)))
    random.shuffle(order)
    expected = expected_code_length(p, huffman_code(p))
    assert expected_code_length(p[order], huffman_code(p[order])) == pytest.approx(expected, abs=1e-12)


@given(distributions(min_size=2, max_size=30))
def test_expected_length_is_the_sum_of_the_merged_weights(p):
    heap = p.tolist()
    heapq.heapify(heap)
    total = 0.0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    assert expected_code_length(p, huffman_code(p)) == pytest.approx(total, abs=1e-12)


def test_huffman_code_of_known_distributions():
    assert huffman_code([0.5, 0.25, 0.125, 0.125]) == CODE
    assert huffman_code([0.125, 0.125, 0.25, 0.5]) == ["000", "001", "01", "1"]
    assert huffman_code([0.1, 0.1, 0.25, 0.55]) == ["110", "111", "10", "0"]
    assert huffman_code([0.25, 0.75]) == ["1", "0"]
    assert huffman_code([0.5, 0.5]) == ["0", "1"]
    assert huffman_code([1.0]) == ["0"]
    assert huffman_code([1.0, 0.0]) == ["0", "1"]
    assert huffman_code((0.25,) * 4) == ["00", "01", "10", "11"]
    lengths = [len(word) for word in huffman_code([0.25, 0.25, 0.2, 0.15, 0.15])]  # Cover and Thomas, example 5.6.1
    assert lengths == [2, 2, 2, 3, 3]
    assert max(len(word) for word in huffman_code([0.4, 0.2, 0.2, 0.1, 0.1])) == 3  # merging otherwise gives 4


def test_huffman_code_can_be_deeper_than_the_call_stack():
    k = 1500
    p = normalized([2.0 ** -min(i, 1000) for i in range(k)])
    code = huffman_code(p)
    assert max(map(len, code)) > 1000 and kraft_sum(code) == 1
    assert decode(encode([k - 1, 0, k - 2], code), code) == [k - 1, 0, k - 2]


def test_tensors_and_sequences_give_the_same_code(device, dtype):
    p = [0.375, 0.25, 0.25, 0.125]
    tensor = torch.tensor(p, dtype=dtype, device=device)
    assert huffman_code(tensor) == huffman_code(p)
    assert expected_code_length(tensor, CODE) == expected_code_length(p, CODE) == 2.0


# Messages


@given(distributions(max_size=20), st.data())
def test_decode_undoes_encode(p, data):
    code = huffman_code(p)
    message = data.draw(st.lists(st.integers(0, len(p) - 1), max_size=50))
    bits = encode(message, code)
    assert len(bits) == sum(len(code[symbol]) for symbol in message)
    assert decode(bits, code) == message
    assert encode(torch.tensor(message, dtype=torch.long), code) == bits


def test_messages_by_hand():
    assert encode([3, 0, 1], CODE) == "111010"
    assert decode("111010", CODE) == [3, 0, 1]
    assert encode([], CODE) == "" and decode("", CODE) == []
    assert decode("0001", ["1", "000"]) == [1, 0]
    assert encode([0, 1], ["0", "01"]) == "001"  # encoding asks for no prefix-free code


def test_average_cost_of_a_message_approaches_the_expected_length(generator):
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    message = torch.multinomial(p, 20_000, replacement=True, generator=generator)
    code = huffman_code(p)
    assert len(encode(message, code)) / len(message) == pytest.approx(expected_code_length(p, code), abs=0.01)


def test_decoding_costs_no_more_than_reading():
    # Bits that can never become a codeword are refused at once, not after a search through the rest.
    with raises(ValueError, "expected the bits to be a sequence of codewords, got '11' from position 0 on"):
        decode("1" * 1_000_000, ["0", "10"])


# Lengths


def test_ideal_lengths_average_to_the_cross_entropy(generator):
    p, q = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64).softmax(-1)
    assert_close((p * ideal_code_lengths(q)).sum(-1), cross_entropy(p, q, base=2))
    assert ideal_code_lengths(torch.tensor([1.0, 0.0])).tolist() == [0, math.inf]
    assert ideal_code_lengths(torch.tensor([1.0001, 0.0]))[0] == 0  # a sum within the tolerance
    assert (torch.tensor([2.0]) ** -ideal_code_lengths(q)).sum(-1).tolist() == pytest.approx([1, 1, 1])


def test_expected_length_and_kraft_sum_by_hand():
    assert expected_code_length([0.5, 0.25, 0.25], ["0", "100", "11"]) == 1.75
    assert expected_code_length([1 / 3] * 3, ["0", "10", "11"]) == pytest.approx(5 / 3, rel=1e-15)  # no float32 inside
    assert kraft_sum(["0", "100", "11"]) == 0.875
    assert kraft_sum(["0", "1", "00"]) == 1.25  # no code that can be decoded


@given(distributions(max_size=4), st.integers(1, 5))
def test_blocks_are_products_in_order_of_counting(p, length):
    blocks = block_distribution(p, length)
    expected = [math.prod(p[list(block)].tolist()) for block in itertools.product(range(len(p)), repeat=length)]
    assert blocks.tolist() == pytest.approx(expected, rel=1e-12)
    assert entropy(blocks).item() == pytest.approx(length * entropy(p).item(), abs=1e-9)


def test_longer_blocks_bring_the_cost_of_a_symbol_to_the_entropy():
    p = torch.tensor([0.9, 0.1], dtype=torch.float64)
    blocks = [block_distribution(p, n) for n in (1, 2, 4, 8)]
    costs = [expected_code_length(b, huffman_code(b)) / n for n, b in zip((1, 2, 4, 8), blocks, strict=True)]
    assert costs[0] == 1 and sorted(costs, reverse=True) == costs
    for n, cost in zip((1, 2, 4, 8), costs, strict=True):
        assert entropy(p, base=2) <= cost < entropy(p, base=2) + 1 / n


def test_results_follow_type_and_device_of_the_inputs(device, dtype):
    p = torch.tensor([0.5, 0.5], dtype=dtype, device=device)
    for result in (ideal_code_lengths(p), block_distribution(p, 3)):
        assert result.dtype == dtype and result.device.type == device.type


def test_block_distribution_is_differentiable(generator):
    scores = torch.randn(3, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: block_distribution(s.softmax(0), 3), scores)


# Errors


@pytest.mark.parametrize("function", [huffman_code, lambda p: expected_code_length(p, ["0", "1"])])
def test_arguments_that_are_no_distribution(function):
    with raises(ValueError, "expected p to sum to 1, got a sum of 0.75"):
        function([0.5, 0.25])
    with raises(ValueError, "expected p to be non-negative, got -0.5"):
        function([1.5, -0.5])
    with raises(ValueError, "expected p to sum to 1, got a sum of 0.0"):
        function([])


def test_distributions_of_tensors():
    with raises(ValueError, "expected q to sum to 1, got a sum of 0.5"):
        ideal_code_lengths(torch.tensor([0.5]))
    with raises(ValueError, "expected p to sum to 1, got a sum of 0.5"):
        block_distribution(torch.tensor([0.5]), 2)
    with raises(ValueError, "expected a length of at least 1, got 0"):
        block_distribution(torch.tensor([1.0]), 0)
    half = torch.tensor([0.5, 0.5])
    with raises(ValueError, "expected at most 16777216 blocks, got 2**25"):
        block_distribution(half, 25)
    assert len(block_distribution(half, 24)) == 2**24


@pytest.mark.usefixtures("unchecked")
def test_shapes_and_types():
    batch = torch.tensor([[0.5, 0.5]])
    for function in (huffman_code, lambda p: expected_code_length(p, CODE), lambda p: block_distribution(p, 2)):
        with raises(ValueError, "expected p of shape (k,), got (1, 2)"):
            function(batch)
        with raises(TypeError, "expected p to be of floating type, got torch.int64"):
            function(torch.tensor([1]))
    with raises(TypeError, "expected q to be a torch.Tensor of floating type, got a list"):
        ideal_code_lengths([0.5, 0.5])


@pytest.mark.parametrize(
    "function",
    [kraft_sum, lambda c: encode([0], c), lambda c: decode("0", c), lambda c: expected_code_length([1.0], c)],
)
def test_codewords_that_are_none(function):
    with raises(ValueError, "expected codewords of '0' and '1', got ''"):
        function(["0", ""])
    for bad in ("0a1", "X01", "01X", "2"):
        with raises(ValueError, f"expected codewords of '0' and '1', got '{bad}'"):
            function(["0", bad])
    with raises(ValueError, "expected at least one codeword, got none"):
        function([])


def test_codes_and_messages_that_do_not_fit():
    with raises(ValueError, "expected one codeword a symbol, got 4 codewords for 2 symbols"):
        expected_code_length([0.5, 0.5], CODE)
    with raises(ValueError, "expected symbols in [0, 4), got 4"):
        encode([0, 4], CODE)
    with raises(ValueError, "expected symbols in [0, 4), got -1"):
        encode(torch.tensor([-1]), CODE)
    with raises(ValueError, "expected a prefix-free code, got '1' and '10'"):
        decode("1", ["10", "0", "1"])
    with raises(ValueError, "expected a prefix-free code, got '0' and '0'"):
        decode("", ["0", "0"])
    with raises(ValueError, "expected the bits to be a sequence of codewords, got '11' from position 1 on"):
        decode("011", CODE)
    with raises(ValueError, "expected the bits to be a sequence of codewords, got 'x10' from position 2 on"):
        decode("10x101", CODE)
