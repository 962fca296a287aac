"""Fixtures that several tests of the torch library share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_training import small_widths

from padinv.losses.backbones import squeezenet_features


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """A file of SqueezeNet 1.1's layout at random weights."""
    torch.manual_seed(5)
    path = tmp_path / "squeezenet1_1.pth"
    torch.save({f"features.{k}": v for k, v in squeezenet_features().state_dict().items()}, path)
    return path


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A narrow backbone, and one thread: what is tested with it is exact, not fast."""
    monkeypatch.setattr("padinv.models.fast_encoder.widths", small_widths)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
