"""Weight files of other projects that losses, metrics and baselines need: their addresses, and where they are kept.

Nothing here is padinv's; each file has its own licence, and none is fetched unasked. No torch is needed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from padinv.runtime.download import cache_folder
from padinv.runtime.errors import UsageError


@dataclass(frozen=True)
class WeightFile:
    """A published file.

    Attributes:
        name: what `padinv fetch` calls it.
        file: its usual file name.
        url: its address.
        size: in megabytes, about.
        what: what it holds, for people.
        sha256: what its SHA-256 begins with; torchvision puts eight digits of it in the file's name. '': its authors
            publish none, so that the file's contents alone are checked when it is read.
        terms: its licence, or the place that states it.
        pattern: what the file has been called over the years; '': always `file`.
    """

    name: str
    file: str
    url: str
    size: int
    what: str
    terms: str
    sha256: str = ""
    pattern: str = ""


def _torchvision(name: str, file: str, size: int, what: str) -> WeightFile:
    stem, _, digest = file.removesuffix(".pth").rpartition("-")
    url = f"https://download.pytorch.org/models/{file}"
    return WeightFile(
        name, file, url, size, what, "torchvision, BSD 3-clause; trained on ImageNet", digest, f"{stem}*.pth"
    )


def _drive(name: str, file: str, key: str, size: int, what: str, terms: str) -> WeightFile:
    url = f"https://drive.usercontent.google.com/download?id={key}&export=download&confirm=t"
    return WeightFile(name, file, url, size, what, terms)


KNOWN = {
    entry.name: entry
    for entry in (
        _torchvision("lpips-alex", "alexnet-owt-7be5be79.pth", 233, "AlexNet, the backbone of LPIPS 'alex'"),
        _torchvision("lpips-vgg", "vgg16-397923af.pth", 528, "VGG-16, the backbone of LPIPS 'vgg'"),
        _torchvision(
            "lpips-squeeze", "squeezenet1_1-b8a52dc0.pth", 5, "SqueezeNet 1.1, the backbone of LPIPS 'squeeze'"
        ),
        _drive(
            "arcface",
            "model_ir_se50.pth",
            "1KW7bjndL3QG3sxBbZxreGHigcCCpsDgn",
            175,
            "IR-SE-50, face recognition for the identity loss",
            "TreB1eN/InsightFace_Pytorch, MIT; trained on MS-Celeb-1M",
        ),
        WeightFile(
            "mobilefacenet",
            "mobilefacenet.pt",
            "https://github.com/foamliu/MobileFaceNet/releases/download/v1.0/mobilefacenet.pt",
            4,
            "MobileFaceNet, a small network of face recognition for eval --identity-weights",
            "foamliu/MobileFaceNet, Apache 2.0; trained on MS-Celeb-1M",
            "90a00ba1d8b0b688af3deb731ed53dca582e6106805d1bc3cfdef55f570493f4",
        ),
        WeightFile(
            "stylegan2-ffhq",
            "ffhq.pkl",
            "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/ffhq.pkl",
            364,
            "StyleGAN2 for FFHQ at 1024 px; turn it into padinv's form with padinv import",
            "NVIDIA, for research only",
        ),
        _drive(
            "psp-ffhq",
            "psp_ffhq_encode.pt",
            "1bMTNWkh5LArlaWSc_wa8VKyq2V42T2z0",
            1200,
            "pSp's encoder and generator for FFHQ; padinv import --encoder takes the encoder",
            "eladrich/pixel2style2pixel, MIT; its generator is NVIDIA's",
        ),
        _drive(
            "e4e-ffhq",
            "e4e_ffhq_encode.pt",
            "1cUv_reLE6k3604or78EranS7XzuVMWeO",
            1200,
            "e4e's encoder and generator for FFHQ; padinv import --encoder takes the encoder",
            "omertov/encoder4editing, MIT; its generator is NVIDIA's",
        ),
        _drive(
            "restyle-psp-ffhq",
            "restyle_psp_ffhq_encode.pt",
            "1sw6I2lRIB0MpuJkpc8F5BJiSZrc0hjfE",
            800,
            "ReStyle over pSp for FFHQ; padinv import --encoder takes the encoder",
            "yuval-alaluf/restyle-encoder, MIT; its generator is NVIDIA's",
        ),
        _drive(
            "restyle-e4e-ffhq",
            "restyle_e4e_ffhq_encode.pt",
            "1e2oXVeBPXMQoUoC_4TNwAWpOPpSEhE_e",
            800,
            "ReStyle over e4e for FFHQ; padinv import --encoder takes the encoder",
            "yuval-alaluf/restyle-encoder, MIT; its generator is NVIDIA's",
        ),
    )
}


def known(name: str) -> WeightFile:
    """The file that `padinv fetch` calls `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in KNOWN:
        raise UsageError(f"padinv fetch knows {', '.join(KNOWN)}, not {name!r}")
    return KNOWN[name]


def search_folders() -> list[Path]:
    """Where weight files are looked for: padinv's cache, then torch's."""
    if torch := sys.modules.get("torch"):  # a program may have moved its cache
        return [cache_folder(), Path(torch.hub.get_dir()) / "checkpoints"]
    torch_home = os.environ.get("TORCH_HOME")
    if torch_home is None:
        torch_home = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "torch")
    return [cache_folder(), Path(torch_home) / "hub" / "checkpoints"]


def find_in(folder: Path, name: str) -> Path | None:
    """The known file `name` in a folder, whatever its version; None where there is none."""
    entry = known(name)
    found = sorted(path for path in folder.glob(entry.pattern or entry.file) if path.is_file())
    return found[-1] if found else None


def find_cached(name: str) -> Path | None:
    """The file that `padinv fetch NAME` has written, or torch's cache holds; None where neither has it."""
    return next((path for folder in search_folders() if (path := find_in(folder, name))), None)


def how_to_get(name: str) -> str:
    """'fetch it with: padinv fetch NAME, or download URL to PATH'."""
    entry = known(name)
    return f"fetch it with: padinv fetch {name}, or download {entry.url} to {cache_folder() / entry.file}"


@dataclass(frozen=True)
class Wanted:
    """A file that a command needs.

    Attributes:
        name: of the known file.
        purpose: what needs it, as the beginning of a sentence: "LPIPS 'alex'".
        option: the option that names another file.
        given: what the user gave; None: it is looked for in the caches.
    """

    name: str
    purpose: str
    option: str
    given: Path | None = None

    def problem(self) -> str | None:
        """Why it is not there, with the way to get it; None where it is."""
        if self.given is not None:
            if self.given.exists():
                return None
            return f"{self.given} does not exist; {self.purpose} needs {known(self.name).file}: {how_to_get(self.name)}"
        if find_cached(self.name) is not None:
            return None
        return (
            f"{self.purpose} needs {known(self.name).file}: {how_to_get(self.name)}, or give a file with {self.option}"
        )
