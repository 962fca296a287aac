"""padinv's own files: one safetensors each, with everything needed to rebuild the network in its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from padinv.models.discriminator import Discriminator
from padinv.models.generator import Generator
from padinv.runtime.errors import InputError
from padinv.runtime.files import atomic_path
from padinv.runtime.spec import ModelSpec

if TYPE_CHECKING:
    from padinv.models.encoder import Encoder, EncoderConfig

FORMAT = 1


def generator_hash(generator: Generator) -> str:
    """SHA-256 of the generator's canonical weights: the identity that inversions carry.

    Names, shapes and values enter, values rounded to float16, so that a float16 copy of a file is the same generator.
    `w_avg` stays out: re-estimating it changes no picture.
    """
    return state_hash(generator.state_dict())


def state_hash(state: Mapping[str, torch.Tensor]) -> str:
    """`generator_hash` of a generator's state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if name != "w_avg":
            digest.update(f"{name}{list(tensor.shape)}".encode())
            digest.update(tensor.detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _save(path: Path | str, kind: str, header: dict[str, Any], tensors: dict[str, torch.Tensor], half: bool) -> None:
    header = {"format": FORMAT, "kind": kind, **header}
    flat: dict[str, torch.Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        t = (tensor.half() if half and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        # The format refuses tensors that share memory; a copy of everything would double what a large network needs.
        if t.untyped_storage().nbytes() != t.numel() * t.element_size() or t.data_ptr() in places:
            t = t.clone()
        places.add(t.data_ptr())
        flat[name] = t
    with atomic_path(path) as temporary:
        save_file(flat, temporary, metadata={"padinv": json.dumps(header)})


def save_generator(
    path: Path | str,
    generator: Generator,
    discriminator: Discriminator | None = None,
    record: dict[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write a generator, and its discriminator where there is one, to a safetensors file.

    Args:
        record: where the weights come from; any JSON-ready mapping, shown by `padinv info`.
        half: store float16.

    Raises:
        OutputError: the file cannot be written.
    """
    critic = None if discriminator is None else (discriminator.config, discriminator.state_dict())
    save_generator_state(path, generator.spec, generator.state_dict(), critic, record, half)


def save_generator_state(
    path: Path | str,
    spec: ModelSpec,
    state: Mapping[str, torch.Tensor],
    discriminator: tuple[dict[str, Any], Mapping[str, torch.Tensor]] | None = None,
    record: dict[str, Any] | None = None,
    half: bool = False,
) -> None:
    """`save_generator` for networks that are only state dicts; `discriminator` is (config, state dict).

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {f"generator.{k}": v for k, v in state.items()}
    if discriminator is not None:
        tensors |= {f"discriminator.{k}": v for k, v in discriminator[1].items()}
    header = {
        "spec": spec.to_dict(),
        "discriminator": None if discriminator is None else discriminator[0],
        "generator_hash": state_hash(state),
        "record": record or {},
    }
    _save(path, "generator", header, tensors, half)


def save_encoder(
    path: Path | str,
    encoder: Encoder,
    generator_sha256: str,
    record: dict[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write an encoder with its `w_avg` and learned constant, and the hash of the generator that it inverts.

    Raises:
        OutputError: the file cannot be written.
    """
    save_encoder_state(path, encoder.spec, encoder.config, encoder.state_dict(), generator_sha256, record, half)


def save_encoder_state(
    path: Path | str,
    spec: ModelSpec,
    config: EncoderConfig,
    state: Mapping[str, torch.Tensor],
    generator_sha256: str,
    record: dict[str, Any] | None = None,
    half: bool = False,
) -> None:
    """`save_encoder` for an encoder that is only a state dict.

    Raises:
        OutputError: the file cannot be written.
    """
    header = {
        "spec": spec.to_dict(),
        "config": config.to_dict(),
        "generator_hash": generator_sha256,
        "record": record or {},
    }
    _save(path, "encoder", header, {f"encoder.{k}": v for k, v in state.items()}, half)


def save_model(
    path: Path | str,
    generator: Generator,
    encoder: Encoder,
    record: dict[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write a generator and its encoder to one safetensors file, which loads as either.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {f"generator.{k}": v for k, v in generator.state_dict().items()}
    tensors |= {f"encoder.{k}": v for k, v in encoder.state_dict().items()}
    header = {
        "spec": generator.spec.to_dict(),
        "config": encoder.config.to_dict(),
        "discriminator": None,
        "generator_hash": generator_hash(generator),
        "record": record or {},
    }
    _save(path, "model", header, tensors, half)


def read_header(path: Path | str) -> dict[str, Any] | None:
    """The padinv header of a safetensors file; None where the file is not one of padinv's.

    Raises:
        InputError: the file is missing, unreadable, or its header is broken.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a checkpoint file")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("padinv")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    except SafetensorError:
        return None
    if text is None:
        return None
    try:
        header = json.loads(text)
        if not isinstance(header, dict) or not isinstance(header.get("kind"), str):
            raise ValueError("no kind")
    except ValueError as error:
        raise InputError(f"{path} carries a padinv header that cannot be read ({error}); it was damaged") from error
    if header.get("format") != FORMAT:
        raise InputError(f"{path} has format {header.get('format')!r}, this padinv reads {FORMAT}; update padinv")
    return header


def _header_of(path: Path, kind: str) -> dict[str, Any]:
    header = read_header(path)
    if header is None:
        raise InputError(f"{path} is not a padinv file; convert it with: padinv import {path} --out {kind}.safetensors")
    if header["kind"] not in (kind, "model"):
        raise InputError(f"{path} holds a padinv {header['kind']}, not a padinv {kind}")
    return header


def _fill(module: torch.nn.Module, path: Path, prefix: str) -> None:
    with safe_open(path, framework="pt") as file:
        state = {k.removeprefix(prefix): file.get_tensor(k).float() for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118
    target = module.state_dict()
    for name, tensor in state.items():
        if name in target and not target[name].is_floating_point():
            state[name] = tensor.to(target[name].dtype)
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"{path}: {prefix}{name} holds values that are not finite; the file is of a broken training"
            )
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{path} does not fit its own header: {first}") from error


def load_native_generator(path: Path | str) -> Generator:
    """The generator of a file written by `save_generator`, in eval mode.

    Raises:
        InputError: missing, damaged, or of another kind.
    """
    path = Path(path)
    header = _header_of(path, "generator")
    generator = Generator(ModelSpec.from_dict(header.get("spec")))
    _fill(generator, path, "generator.")
    return generator.eval()


def load_native_discriminator(path: Path | str) -> Discriminator | None:
    """The discriminator beside the generator in a file written by `save_generator`, or None where there is none.

    Raises:
        InputError: missing, damaged, or of another kind.
    """
    path = Path(path)
    header = _header_of(path, "generator")
    config = header.get("discriminator")
    if config is None:
        return None
    try:
        discriminator = Discriminator(**config)
    except TypeError as error:
        raise InputError(f"{path} describes a discriminator that this padinv does not know: {error}") from error
    _fill(discriminator, path, "discriminator.")
    return discriminator.eval()


def load_native_encoder(path: Path | str) -> Encoder:
    """The encoder of a file written by `save_encoder`, in eval mode, complete with `w_avg`.

    Raises:
        InputError: missing, damaged, or of another kind.
    """
    from padinv.models.encoder import Encoder, EncoderConfig

    path = Path(path)
    header = _header_of(path, "encoder")
    encoder = Encoder(ModelSpec.from_dict(header.get("spec")), EncoderConfig.from_dict(header.get("config")))
    _fill(encoder, path, "encoder.")
    return encoder.eval()
