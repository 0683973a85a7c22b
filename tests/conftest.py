"""What every test shares: annotations checked at run time, devices, types, seeds, and hypothesis made repeatable.

Environment variables:
    CHAINRULE_DEVICES: devices to test on, separated by commas (default: the CPU, and the first GPU if there is one).
    HYPOTHESIS_PROFILE: "fixed" (default: the same examples in every run) or "random" (fresh and more examples).
"""

import os
import random
import sys

import hypothesis
import numpy as np
import pytest
import torch
from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

if "chainrule" in sys.modules:
    raise pytest.UsageError("chainrule was imported before its annotations could be checked; import it in tests only")
# Every call into the library checks the types and shapes that its annotations promise. An int may stand for a float.
install_import_hook("chainrule", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None, max_examples=60)
hypothesis.settings.register_profile("random", deadline=None, max_examples=500)
hypothesis.settings.register_profile(  # for tools/mutants.py, which needs to know only that a test fails
    "mutants", hypothesis.settings.get_profile("fixed"), max_examples=30, phases=[hypothesis.Phase.generate]
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def _devices() -> list[str]:
    available = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    wanted = [name.strip() for name in os.environ.get("CHAINRULE_DEVICES", ",".join(available)).split(",")]
    for name in wanted:
        if name not in available:
            raise pytest.UsageError(f"CHAINRULE_DEVICES names {name!r}; available here: {', '.join(available)}")
    return wanted


@pytest.fixture(params=_devices())
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device to test on, in turn."""
    return torch.device(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Each floating type that the library promises to work with, in turn."""
    return request.param


@pytest.fixture
def generator() -> torch.Generator:
    """A source of randomness on the CPU that starts the same in every test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def unchecked():
    """Switch the run-time check of annotations off, to reach the errors that a user without it sees."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _seeds():
    """Start the global generators the same in every test, so that no result depends on the order of the tests."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
