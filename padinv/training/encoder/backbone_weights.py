"""Pretrained weights for the backbone of a new encoder: ArcFace's IR-SE-50 for `reference`, timm's for `timm:NAME`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from padinv.models.encoder import Encoder
from padinv.models.face_recognition import IRSE50, load_face_network
from padinv.models.reference_encoder import ReferenceBody
from padinv.models.timm_encoder import TimmBody, backbone_name, import_timm
from padinv.runtime.errors import InputError, MismatchError, UsageError

CACHE = "cache"


def find_backbone_weights(architecture: str, place: str) -> Path:
    """The file that `--backbone-weights` names.

    Args:
        architecture: of the encoder.
        place: a file, or 'cache' for the file that timm downloaded earlier. Nothing is fetched.

    Raises:
        UsageError: encoders of this architecture begin with no pretrained backbone.
        InputError: there is no such file.
    """
    name = backbone_name(architecture)
    if name is None and architecture != "reference":
        raise UsageError("--backbone-weights is for --arch reference and timm:NAME; use --init for a 'fast' encoder")
    if place == CACHE:
        if name is None:
            raise UsageError("timm's cache holds no weights for --arch reference; name the file model_ir_se50.pth")
        return _cached(name)
    if not Path(place).is_file():
        raise InputError(f"{place} does not exist (--backbone-weights)")
    return Path(place)


def _cached(name: str) -> Path:
    """Where timm keeps the weights of a backbone: in the hub's cache, or in torch's."""
    from huggingface_hub import try_to_load_from_cache  # comes with timm
    from torch.hub import get_dir

    timm = import_timm()
    if not timm.is_model(name):
        raise UsageError(f"timm has no backbone {name!r}")
    facts: Any = timm.models.get_pretrained_cfg(name)
    if repository := getattr(facts, "hf_hub_id", None):
        files = [getattr(facts, "hf_hub_filename", None), "model.safetensors", "pytorch_model.bin"]
        for file in filter(None, files):
            found = try_to_load_from_cache(repository, file)
            if isinstance(found, str):
                return Path(found)
    if url := getattr(facts, "url", None):
        path: Path = Path(get_dir()) / "checkpoints" / str(url).rpartition("/")[2]
        if path.is_file():
            return path
    raise InputError(
        f"timm's cache holds no weights of {name}; fetch them once, where there is a network, with: "
        f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\""
    )


def load_backbone_weights(encoder: Encoder, path: Path) -> None:
    """Give an encoder's backbone the weights of a file; the rest of the encoder stays as it is.

    Raises:
        InputError: the file cannot be read, or holds another network.
        MismatchError: it holds a network that this encoder does not have.
    """
    body = encoder.body
    if isinstance(body, TimmBody):
        body.load_pretrained(path)
        return
    assert isinstance(body, ReferenceBody), "find_backbone_weights comes first"
    network = load_face_network(path)
    if not isinstance(network, IRSE50) or encoder.config.backbone != "irse50" or encoder.config.refinements:
        raise MismatchError(f"{path} is not an IR-SE-50 for images, which this encoder's backbone is")
    body.input_layer.load_state_dict(network.input_layer.state_dict())
    blocks = [block for stage in body.backbone_stages for block in stage.children()]
    for ours, theirs in zip(blocks, network.body, strict=True):
        ours.load_state_dict(theirs.state_dict())
