"""Fixtures that several tests of the torch library share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from padinv.losses.backbones import squeezenet_features


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """A file of SqueezeNet 1.1's layout at random weights."""
    torch.manual_seed(5)
    path = tmp_path / "squeezenet1_1.pth"
    torch.save({f"features.{k}": v for k, v in squeezenet_features().state_dict().items()}, path)
    return path
