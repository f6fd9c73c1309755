"""Shared test set-up."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _denormal_numbers():
    """A command switches them off for its process; the next test must not notice."""
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(False)
