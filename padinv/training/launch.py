"""HF accelerate as the launcher set it up: device, processes, precision."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from padinv.runtime.errors import UsageError


def on_cpu() -> bool:
    """Whether to train on the CPU: there is no accelerator, or `accelerate launch --cpu` asked for it.

    Without this, accelerate treats processes on a machine without a GPU as independent single-process runs.
    """
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true") or not torch.accelerator.is_available()


def process_count() -> int:
    """How many processes a launcher started; 1 without one."""
    return PartialState(cpu=on_cpu()).num_processes


def make_accelerator(mixed_precision: str) -> Accelerator:
    """HF accelerate for this process.

    Raises:
        UsageError: the precision does not exist on this device.
    """
    AcceleratorState._reset_state()  # a second training in one process may use another precision
    try:
        # One step is one step here: the trainer accumulates gradients itself, whatever the launcher's environment says.
        accelerator = Accelerator(cpu=on_cpu(), mixed_precision=mixed_precision, gradient_accumulation_steps=1)
    except ValueError as error:
        raise UsageError(f"mixed precision {mixed_precision!r} is not possible here: {error}") from error
    if mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UsageError("mixed precision 'fp16' is not possible here: it needs a GPU; processors have 'bf16'")
    return accelerator
