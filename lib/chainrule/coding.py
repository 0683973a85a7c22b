r"""Prefix codes: codewords of bits that can be told apart without separators, and the best one for a distribution.

A code gives symbol :math:`x` a codeword of length :math:`\ell(x)`. Kraft's inequality

.. math:: \sum_{x=1}^{k} 2^{-\ell(x)} \le 1

holds for every code that can be decoded, and with it the expected length is at least the entropy in bits. Huffman's
code attains the smallest expected length :math:`L` of all, and :math:`H_2(p) \le L < H_2(p) + 1` unless one symbol is
certain (it takes a bit all the same).

A code is a list of strings of "0" and "1", one codeword a symbol; a message is a sequence of symbols 0, ..., k-1.

Reference: D. A. Huffman, A method for the construction of minimum-redundancy codes, Proceedings of the IRE 40, 1952;
T. M. Cover and J. A. Thomas, *Elements of Information Theory*, second edition, Wiley 2006, chapter 5.
The book's chapter ``information-theory`` teaches this module.
"""

import heapq
import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from chainrule._validate import check_distribution
from chainrule.information import surprisal

__all__ = [
    "block_distribution",
    "decode",
    "encode",
    "expected_code_length",
    "huffman_code",
    "ideal_code_lengths",
    "kraft_sum",
]

_MAX_BLOCKS = 2**24


def ideal_code_lengths(q: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch k"]:
    r"""Lengths in bits that a code made for ``q`` would ideally give to the outcomes; whole numbers only by luck.

    .. math:: \ell(x) = -\log_2 q(x)

    Args:
        q: distributions over k outcomes in the last dimension.

    Returns:
        The lengths in bits, of the shape of ``q``; ``inf`` for an impossible outcome.

    Raises:
        ValueError: if ``q`` is no distribution.

    Source: Cover and Thomas, section 5.3.

    >>> ideal_code_lengths(torch.tensor([0.5, 0.25, 0.25]))
    tensor([1., 2., 2.])
    """
    check_distribution("q", q)
    return surprisal(q.clamp(max=1), base=2)  # a distribution may exceed 1 by rounding


def huffman_code(p: Float[Tensor, "k"] | Sequence[float]) -> list[str]:
    r"""Huffman's code, a prefix code of smallest expected length.

    The two least likely nodes become the children of a new node until one is left. Of two children the likelier gets
    "0", in a tie the one that holds the earlier symbol. Equal probabilities merge in order of age, symbols first, which
    makes the longest codeword as short as possible.

    Args:
        p: probabilities of the k symbols; zeros are allowed and get codewords too.

    Returns:
        One codeword a symbol; a lone symbol gets "0", because an empty codeword cannot be told from no message.

    Raises:
        ValueError: if ``p`` is no distribution over at least one symbol.

    Source: Huffman 1952; Cover and Thomas, section 5.6.

    >>> huffman_code([0.5, 0.25, 0.125, 0.125])
    ['0', '10', '110', '111']
    """
    weights = _probabilities(p)
    num_symbols = len(weights)
    if num_symbols == 1:
        return ["0"]
    heap = [(weight, node) for node, weight in enumerate(weights)]
    heapq.heapify(heap)
    first_symbol = list(range(num_symbols))
    children: dict[int, tuple[int, int]] = {}
    for parent in range(num_symbols, 2 * num_symbols - 1):
        light, a = heapq.heappop(heap)
        heavy, b = heapq.heappop(heap)
        if light == heavy and first_symbol[a] < first_symbol[b]:
            a, b = b, a
        children[parent] = (b, a)
        first_symbol.append(min(first_symbol[a], first_symbol[b]))
        heapq.heappush(heap, (light + heavy, parent))
    code = {parent: ""}
    for parent in reversed(children):  # from the root down; a loop, because a code can be deeper than the call stack
        zero, one = children[parent]
        code[zero], code[one] = code[parent] + "0", code[parent] + "1"
    return [code[symbol] for symbol in range(num_symbols)]


def encode(symbols: Integer[Tensor, "m"] | Sequence[int], code: Sequence[str]) -> str:
    """Concatenate the codewords of a message.

    Args:
        symbols: m integers in [0, k).
        code: k codewords.

    Returns:
        The bits, a string of "0" and "1".

    Raises:
        ValueError: if a codeword is empty or holds other characters, or a symbol has no codeword.

    Source: Cover and Thomas, section 5.1.

    >>> encode([0, 1, 3], ["0", "10", "110", "111"])
    '010111'
    """
    _check_code(code)
    message = symbols.tolist() if isinstance(symbols, Tensor) else list(symbols)
    for symbol in message:
        if not 0 <= symbol < len(code):
            raise ValueError(f"expected symbols in [0, {len(code)}), got {symbol}")
    return "".join(code[symbol] for symbol in message)


def decode(bits: str, code: Sequence[str]) -> list[int]:
    """Split bits into codewords of a prefix code, each recognized at its last bit.

    Args:
        bits: a string of "0" and "1".
        code: k codewords, none the beginning of another.

    Returns:
        The message, integers in [0, k).

    Raises:
        ValueError: if the code is not prefix-free, or the bits are not a sequence of its codewords.

    Source: Cover and Thomas, section 5.1.

    >>> decode("010111", ["0", "10", "110", "111"])
    [0, 1, 3]
    """
    _check_code(code)
    ordered = sorted(code)
    for shorter, longer in itertools.pairwise(ordered):
        if longer.startswith(shorter):  # in sorted order a prefix stands right before a word that it begins
            raise ValueError(f"expected a prefix-free code, got {shorter!r} and {longer!r}")
    symbol_of = {codeword: symbol for symbol, codeword in enumerate(code)}
    longest = max(map(len, code))
    message, start = [], 0
    for end in range(1, len(bits) + 1):
        symbol = symbol_of.get(bits[start:end])
        if symbol is not None:
            message.append(symbol)
            start = end
        elif end - start >= longest:
            break
    if start < len(bits):
        rest = bits[start : start + longest]
        raise ValueError(f"expected the bits to be a sequence of codewords, got {rest!r} from position {start} on")
    return message


def expected_code_length(p: Float[Tensor, "k"] | Sequence[float], code: Sequence[str]) -> float:
    r"""Mean number of bits a symbol takes.

    .. math:: L(p, C) = \sum_{x=1}^{k} p(x)\,\ell(x)

    Args:
        p: probabilities of the k symbols.
        code: k codewords.

    Returns:
        The expected length in bits a symbol.

    Raises:
        ValueError: if ``p`` is no distribution, a codeword is not a string of bits, or their numbers differ.

    Source: Cover and Thomas, section 5.1.

    >>> expected_code_length([0.5, 0.25, 0.25], ["0", "10", "11"])
    1.5
    """
    weights = _probabilities(p)
    _check_code(code)
    if len(code) != len(weights):
        raise ValueError(f"expected one codeword a symbol, got {len(code)} codewords for {len(weights)} symbols")
    return math.fsum(weight * len(code[symbol]) for symbol, weight in enumerate(weights))


def kraft_sum(code: Sequence[str]) -> float:
    r"""Kraft's sum of a code over the alphabet of two bits.

    .. math:: \sum_{x=1}^{k} 2^{-\ell(x)}

    Args:
        code: codewords, prefix-free or not.

    Returns:
        The sum: at most 1 for every code that can be decoded, exactly 1 for Huffman's with two or more symbols.

    Raises:
        ValueError: if a codeword is empty or holds other characters than "0" and "1".

    Source: Cover and Thomas, theorem 5.2.1.

    >>> kraft_sum(["0", "10", "11"])
    1.0
    """
    _check_code(code)
    return math.fsum(math.ldexp(1, -len(codeword)) for codeword in code)


def block_distribution(p: Float[Tensor, "k"], length: int) -> Float[Tensor, "blocks"]:
    r"""Distribution of blocks of independent symbols, for coding several symbols at a time.

    .. math:: p(x_1, \dots, x_n) = \prod_{i=1}^{n} p(x_i)

    Args:
        p: probabilities of the k symbols.
        length: number n of symbols a block, at least 1.

    Returns:
        The k**n probabilities, blocks in the order of counting: the last symbol changes fastest.

    Raises:
        ValueError: if ``p`` is no distribution, the length is below 1, or there are more than 2**24 blocks.

    Source: Cover and Thomas, section 5.4.

    >>> block_distribution(torch.tensor([0.75, 0.25]), 2)
    tensor([0.5625, 0.1875, 0.1875, 0.0625])
    """
    check_distribution("p", p)
    if p.dim() != 1:
        raise ValueError(f"expected p of shape (k,), got {tuple(p.shape)}")
    if length < 1:
        raise ValueError(f"expected a length of at least 1, got {length}")
    if len(p) ** length > _MAX_BLOCKS:
        raise ValueError(f"expected at most {_MAX_BLOCKS} blocks, got {len(p)}**{length}")
    blocks = p
    for _ in range(length - 1):
        blocks = torch.outer(blocks, p).flatten()  # (k**i,) -> (k**(i+1),)
    return blocks


def _probabilities(p: Tensor | Sequence[float]) -> list[float]:
    p = p if isinstance(p, Tensor) else torch.tensor(p, dtype=torch.float64)
    check_distribution("p", p)
    if p.dim() != 1:
        raise ValueError(f"expected p of shape (k,), got {tuple(p.shape)}")
    return p.tolist()


def _check_code(code: Sequence[str]) -> None:
    if len(code) == 0:
        raise ValueError("expected at least one codeword, got none")
    for codeword in code:
        if not codeword or codeword.strip("01"):
            raise ValueError(f"expected codewords of '0' and '1', got {codeword!r}")
