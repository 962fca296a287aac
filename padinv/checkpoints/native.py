"""padinv's own files: one safetensors each, with everything needed to rebuild the network in its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors.torch import save_file

from padinv.checkpoints.build import build_module, expected_shapes
from padinv.models.discriminator import Discriminator
from padinv.models.generator import Generator
from padinv.runtime.errors import InputError, MismatchError, UsageError
from padinv.runtime.files import atomic_path, parse_json
from padinv.runtime.safetensors_file import DamagedFileError, SafetensorsFile, open_safetensors
from padinv.runtime.spec import MAX_WIDTH, ModelSpec

if TYPE_CHECKING:
    from padinv.models.encoder import Encoder, EncoderConfig

FORMAT = 1
_DTYPES = {
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64,
    "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


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
    try:
        with SafetensorsFile.open(path) as file:
            text = file.metadata.get("padinv")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, not a checkpoint file") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except DamagedFileError:
        return None
    if text is None:
        return None
    try:
        header = parse_json(text)
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


Module = TypeVar("Module", bound=torch.nn.Module)


def _load(make: Callable[[], Module], path: Path, prefix: str) -> Module:
    """The module that `make` builds, with the file's tensors `prefix`... as its weights, in eval mode.

    Shapes are compared before anything is allocated: a header of a few hundred bytes can describe any network.

    Raises:
        InputError: the header describes no network, or the tensors are not that network's.
    """
    try:
        shapes = expected_shapes(make)
    except (InputError, UsageError, MismatchError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        text = " ".join(str(error).split())[:200]
        raise InputError(f"{path} describes a network that cannot be built: {text}") from error
    with open_safetensors(path, "a network") as file:
        found = {k.removeprefix(prefix): e for k, e in file.entries.items() if k.startswith(prefix)}
        for name in sorted(shapes.keys() | found.keys()):
            if name not in found or name not in shapes or found[name].shape != shapes[name]:
                here = f"it has {list(found[name].shape)}" if name in found else "it has none"
                wanted = f"{list(shapes[name])} belongs there" if name in shapes else "none belongs there"
                raise InputError(f"{path} does not fit its own header: of {prefix}{name}, {here}, and {wanted}")
        try:
            state = {name: _tensor(file, f"{prefix}{name}", path) for name in shapes}
        except DamagedFileError as error:
            raise InputError(f"{path} cannot be read: it {error}") from error
    return build_module(make, state).eval()


def _tensor(file: SafetensorsFile, name: str, path: Path) -> torch.Tensor:
    entry = file.entries[name]
    dtype = _DTYPES.get(entry.dtype)
    if dtype is None:
        raise InputError(f"{path} holds {name} as {entry.dtype}, which padinv does not write")
    data = file.read_bytes(name)
    tensor = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    tensor = tensor.reshape(entry.shape)
    if not tensor.is_floating_point():
        return tensor
    tensor = tensor.float()
    if tensor.numel() and not all(torch.isfinite(extreme) for extreme in torch.aminmax(tensor)):
        raise InputError(f"{path}: {name} holds values that are not finite; the file is of a broken training")
    return tensor


def load_native_generator(path: Path | str) -> Generator:
    """The generator of a file written by `save_generator`, in eval mode.

    Raises:
        InputError: missing, damaged, or of another kind.
    """
    path = Path(path)
    spec = ModelSpec.from_dict(_header_of(path, "generator").get("spec"))
    return _load(lambda: Generator(spec), path, "generator.")


def load_native_discriminator(path: Path | str) -> Discriminator | None:
    """The discriminator beside the generator in a file written by `save_generator`, or None where there is none.

    Raises:
        InputError: missing, damaged, or of another kind.
    """
    path = Path(path)
    config = _header_of(path, "generator").get("discriminator")
    if config is None:
        return None
    if not isinstance(config, dict) or not _is_modest(config):
        raise InputError(f"{path} describes a discriminator that this padinv does not know")
    return _load(lambda: Discriminator(**config), path, "discriminator.")


def _is_modest(config: dict[str, Any]) -> bool:
    """Whether a discriminator's sizes are such that a network can be built of them."""
    channels = config.get("channels")
    sizes = [config.get("resolution"), config.get("fc_channels") or 1]
    sizes += channels if isinstance(channels, list) else []
    return len(sizes) <= 16 and all(type(n) is int and 1 <= n <= MAX_WIDTH for n in sizes)


def load_native_encoder(path: Path | str) -> Encoder:
    """The encoder of a file written by `save_encoder`, in eval mode, complete with `w_avg`.

    Raises:
        InputError: missing, damaged, or of another kind.
    """
    from padinv.models.encoder import Encoder, EncoderConfig

    path = Path(path)
    header = _header_of(path, "encoder")
    spec, config = ModelSpec.from_dict(header.get("spec")), EncoderConfig.from_dict(header.get("config"))
    return _load(lambda: Encoder(spec, config), path, "encoder.")
