"""What tests against recorded iterations share."""

import pytest
import torch
from official import matrix_convolution


@pytest.fixture
def float64(monkeypatch):
    """The precision of the recording, with a convolution that is fast in it."""
    monkeypatch.setattr(torch.nn.Conv2d, "forward", matrix_convolution)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
