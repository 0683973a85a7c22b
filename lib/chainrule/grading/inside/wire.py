"""What travels into the sandbox and out: framed JSON whose arrays are dtype, shape and bytes. Never a pickle.

A message is four bytes of length and a JSON object. Both sides of the wall use this module; the trusted side believes
nothing of what :func:`unpack` gives it until :mod:`chainrule.grading.judge` has read it.
"""

import base64
import json
import socket
import struct

__all__ = ["decode", "encode", "frame", "read_exactly", "receive", "send", "unpack"]

LONGEST_TEXT = 100_000
MOST_ITEMS = 100_000
LARGEST_ARRAY = 32_000_000  # bytes
MOST_MESSAGES = 20_000  # in one submission; an honest one has a few for each exercise


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """Read `size` bytes, or fewer where the other side has hung up."""
    parts = []
    while size:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def receive(sock: socket.socket, most: int = 1 << 28) -> dict | None:
    """Read one message, or None where the other side has hung up.

    Raises:
        ValueError: where the message claims more than `most` bytes, or is no JSON object.
    """
    head = read_exactly(sock, 4)
    if len(head) < 4:
        return None
    (size,) = struct.unpack(">I", head)
    if size > most:
        raise ValueError(f"expected a message of at most {most} bytes, got one that claims {size}")
    message = json.loads(read_exactly(sock, size))
    if type(message) is not dict:
        raise ValueError(f"expected a JSON object, got {type(message).__name__}")
    return message


def send(sock: socket.socket, message: dict) -> None:
    """Send one message: four bytes of length, then JSON."""
    body = json.dumps(message).encode()
    sock.sendall(frame(body))


def frame(body: bytes) -> bytes:
    """One message as it goes over the wire."""
    return struct.pack(">I", len(body)) + body


def unpack(stream: bytes) -> list[dict]:
    """Split what a student's process wrote into its messages; stops at the first that is broken or no JSON object."""
    messages, start = [], 0
    while len(stream) - start >= 4 and len(messages) < MOST_MESSAGES:
        (size,) = struct.unpack_from(">I", stream, start)
        if len(stream) - start - 4 < size:
            break
        try:
            message = json.loads(stream[start + 4 : start + 4 + size])
        except (ValueError, RecursionError):
            break
        if type(message) is not dict:
            break
        messages.append(message)
        start += 4 + size
    return messages


def encode(value):
    """Turn an answer into plain data; what is not plain is named, not sent.

    Arrays and tensors go as dtype, shape and bytes. Only exact built-in types count as numbers, strings and lists: a
    subclass could lie about its value.
    """
    import numpy
    import torch

    kind = type(value)
    if value is None or kind in (bool, str):
        return value if kind is not str else {"text": value[:LONGEST_TEXT]}
    if kind in (int, float):
        return {"number": repr(value)[:400], "type": kind.__name__}
    if kind in (torch.Tensor, torch.nn.Parameter):
        value = value.detach().cpu()
        if value.dtype is torch.bfloat16:
            value = value.float()  # numpy has no such type, and this one holds each of its numbers
        value, container = value.contiguous().numpy(), "tensor"
        kind = numpy.ndarray
    else:
        container = "array"
    if kind is numpy.ndarray or issubclass(kind, numpy.generic):
        array = numpy.ascontiguousarray(value)
        if array.dtype.kind not in "biuf" or array.nbytes > LARGEST_ARRAY:
            return {"other": f"{container} of {array.dtype} with {array.size} numbers"}
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        shape = [] if issubclass(kind, numpy.generic) else list(numpy.shape(value))
        data = base64.b64encode(array.tobytes()).decode()
        return {"array": data, "dtype": array.dtype.str, "shape": shape, "container": container}
    if kind in (list, tuple):
        if len(value) > MOST_ITEMS:
            return {"other": f"{kind.__name__} of {len(value)} things"}
        return {kind.__name__: [encode(item) for item in value]}
    return {"other": str(kind.__name__)[:100]}


def decode(value):
    """Turn the plain data of a case's input back into numbers, arrays and tensors. The inverse of `encode`."""
    import numpy
    import torch

    if not isinstance(value, dict):
        return value
    if "number" in value:
        return {"int": int, "float": float}[value["type"]](value["number"])
    if "text" in value:
        return value["text"]
    if "array" in value:
        flat = numpy.frombuffer(base64.b64decode(value["array"]), dtype=value["dtype"])
        array = flat.reshape(value["shape"]).copy()
        return torch.from_numpy(array) if value["container"] == "tensor" else array
    for kind in (list, tuple):
        if kind.__name__ in value:
            return kind(decode(item) for item in value[kind.__name__])
    raise ValueError(f"expected encoded data, got the keys {sorted(value)}")
