"""HF accelerate as the launcher set it up: device, processes, precision, and the arithmetic of the device.

What `accelerate launch` is told reaches a program through environment variables. Each of them is adopted where the
command line says nothing, and refused where it says something else or where padinv does not have it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from padinv.runtime.errors import UsageError

# variable -> what it asks for, none of which padinv has
_REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor or context parallelism",
    "XLA_USE_BF16": "bfloat16 on TPUs",
    "XLA_DOWNCAST_BF16": "bfloat16 on TPUs",
}
# setting -> (variable, the launcher's option)
_ADOPTED = {
    "mixed_precision": ("ACCELERATE_MIXED_PRECISION", "--mixed_precision"),
    "accumulate": ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "--gradient_accumulation_steps"),
    "compile": ("ACCELERATE_DYNAMO_BACKEND", "--dynamo_backend"),
}
_PROCESSES = "_PADINV_LAUNCHER_PROCESSES"  # no variable of accelerate's, which has none for it
_WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
ADOPTED_REASON = "asked of accelerate launch"


def _true(value: str | None) -> bool:
    return (value or "").lower() in ("1", "true", "yes", "on")


def _launcher_arguments() -> dict[str, str]:
    """What accelerate's launcher was told and does not hand on, by variable: it knows accumulation for DeepSpeed only,
    and starts a single process on a CPU, however many it was told to."""
    options = dict([_ADOPTED["accumulate"], (_PROCESSES, "--num_processes")])
    try:
        import psutil

        parents = psutil.Process().parents()[:2]
        commands = [parent.cmdline() for parent in parents]
    except Exception:  # no psutil, or a system that does not tell: nothing can be known
        return {}
    for command in commands:
        words = [part.replace("-", "_") for word in command for part in word.split("=", 1)]
        if any("accelerate" in word for word in words):
            given = {name: option.replace("-", "_") for name, option in options.items()}
            return {name: words[words.index(option) + 1] for name, option in given.items() if option in words[:-1]}
    return {}


def _check_process_count(environment: Mapping[str, str]) -> None:
    """Refuse a launcher that was told of several processes and started one.

    Raises:
        UsageError: see above.
    """
    asked = environment.get(_PROCESSES, "1")
    if asked.isdigit() and int(asked) > 1 and not any(environment.get(name, "1") != "1" for name in _WORLD_SIZES):
        raise UsageError(
            f"accelerate launch was told --num_processes {asked}, but it started one process; with several GPUs add "
            f"--multi_gpu, and on a CPU use: torchrun --nproc-per-node {asked} -m padinv ..."
        )


def launcher_settings(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The settings that `accelerate launch` was told; those at their neutral value are left out.

    Raises:
        UsageError: it was told something that padinv does not have.
    """
    if environment is None:
        environment = {**_launcher_arguments(), **os.environ}
    for variable, what in _REFUSED.items():
        if _true(environment.get(variable)):
            raise UsageError(f"accelerate launch asks for {what}, which padinv does not have; launch without it")
    _check_process_count(environment)
    found: dict[str, Any] = {}
    precision = environment.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if precision not in ("no", ""):
        found["mixed_precision"] = precision
    steps = environment.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if not steps.isdigit():
        raise UsageError(f"accelerate launch asks for {steps!r} gradient accumulation steps; give a number")
    if int(steps) > 1:
        found["accumulate"] = int(steps)
    backend = environment.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if backend not in ("no", ""):
        found["compile"] = backend
    return found


def adopt_launcher_settings(
    overrides: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings from the command line with those of the launcher: (settings, reasons of the adopted ones).

    Raises:
        UsageError: both say something about the same setting, and not the same.
    """
    result, reasons = dict(overrides), {}
    for name, value in launcher_settings(environment).items():
        asked = result.get(name)
        if asked is None:
            result[name], reasons[name] = value, ADOPTED_REASON
        elif asked != value:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} {asked} contradicts accelerate launch's {_ADOPTED[name][1]} {value}; give one of them"
            )
    return result, reasons


def check_launcher_settings(config: Any, environment: Mapping[str, str] | None = None) -> None:
    """Make sure that nothing the launcher was told is ignored.

    Raises:
        UsageError: a configuration made without `adopt_launcher_settings` says something else.
    """
    for name, value in launcher_settings(environment).items():
        if getattr(config, name) != value:
            raise UsageError(
                f"accelerate launch was told {_ADOPTED[name][1]} {value}, but the configuration has {name} = "
                f"{getattr(config, name)!r}; set it in the configuration, or launch without it"
            )


def on_cpu(device: str | None = None) -> bool:
    """Whether to train on the CPU: it was asked for, there is no accelerator, or `accelerate launch --cpu` was used.

    Without this, accelerate treats processes on a machine without a GPU as independent single-process runs.
    """
    if device is not None:
        return device == "cpu"
    return _true(os.environ.get("ACCELERATE_USE_CPU")) or not torch.accelerator.is_available()


def process_count(device: str | None = None) -> int:
    """How many processes a launcher started; 1 without one."""
    result: int = PartialState(cpu=on_cpu(device)).num_processes
    return result


def make_accelerator(mixed_precision: str = "no", device: str | None = None) -> Accelerator:
    """HF accelerate for this process.

    Args:
        mixed_precision: 'no', 'bf16' or 'fp16'.
        device: 'cpu', 'cuda', 'cuda:1', 'mps', ...; None: what the launcher chose, else the first accelerator.

    Raises:
        UsageError: the precision or the device does not exist here.
    """
    AcceleratorState._reset_state()  # a second training in one process may use another precision
    if device is not None:
        _choose(device)
    try:
        # One step is one step here: the trainer accumulates gradients itself, whatever the launcher's environment says.
        accelerator = Accelerator(cpu=on_cpu(device), mixed_precision=mixed_precision, gradient_accumulation_steps=1)
    except ValueError as error:
        raise UsageError(f"mixed precision {mixed_precision!r} is not possible here: {error}") from error
    if mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UsageError("mixed precision 'fp16' is not possible here: it needs a GPU; processors have 'bf16'")
    return accelerator


def _choose(device: str) -> None:
    try:
        chosen = torch.device(device)
        if chosen.type != "cpu":
            torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UsageError(f"there is no device {device!r} here ({reason})") from error
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("a launcher gives each process its device; leave out --device")
    PartialState._reset_state()
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    else:
        os.environ.pop("ACCELERATE_TORCH_DEVICE", None)


def check_compile(backend: str, device: torch.device) -> None:
    """Make sure that a backend of torch.compile works, by compiling something small: that takes a few seconds, once.

    Raises:
        UsageError: it does not, mostly for want of a compiler.
    """
    if backend == "no":
        return
    needed = "a C++ compiler such as g++" if device.type == "cpu" else "Triton and a C compiler"
    if backend == "cudagraphs" and device.type != "cuda":
        raise UsageError("--compile cudagraphs needs a CUDA GPU; use --compile inductor, or leave it out")
    try:
        torch.compile(_probe, backend=backend)(torch.ones(3, device=device))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"--compile {backend} does not work here ({reason}); install {needed}, or leave out --compile"
        ) from error


def _probe(x: torch.Tensor) -> torch.Tensor:
    return (x + 1).sin().sum()


def set_arithmetic(*, tf32: bool, deterministic: bool) -> None:
    """Set what float32 means on a GPU, and whether kernels may sum in another order each time.

    TF32 is off unless asked for: torch leaves convolutions in TF32 by default, where inputs have 10 bits of mantissa.
    Deterministic kernels do not exist for every operation (bicubic resizing of the `reference` encoder is one without);
    torch then warns, and only what it did not warn about repeats bit by bit. On the CPU everything does.
    """
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def set_threads(threads: int | None) -> None:
    """Let torch use so many processor threads; None: as many as it likes.

    Raises:
        UsageError: more than four for each core, which only slows everything down.
    """
    if threads is None:
        return
    most = 4 * (os.cpu_count() or 1)
    if threads > most:
        raise UsageError(f"--threads {threads} is more than four for each processor core; take at most {most}")
    torch.set_num_threads(threads)
