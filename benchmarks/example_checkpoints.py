"""Write one checkpoint of every format that `padinv import` reads, with random weights: stand-ins for real ones.

    python benchmarks/example_checkpoints.py FOLDER

256 px, 128 channels at most, in the layouts of the sources' own code (restated in tests/helpers). The encoder of the
paper's format belongs to a generator of 512 channels, which its file holds, too. Their pictures are noise; what they
show is that every step runs on every format.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))
from source_genforce import GenForceDiscriminator, GenForceGenerator, hammer_file
from source_nvidia import NvidiaDiscriminator, NvidiaGenerator, dump
from source_paper_encoder import PaperEncoder
from source_rosinality import RosinalityDiscriminator, RosinalityGenerator, psp_file, training_file

SLIM = (128, 128, 128, 128, 64, 32, 16)  # channels at 4, 8, ... 256 px
PAPER = (512, 512, 512, 512, 64, 32, 16)
W_DIM, DEPTH = 256, 4


def main(folder: Path) -> None:
    """Write the files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    nvidia = NvidiaGenerator(SLIM, W_DIM, W_DIM, DEPTH, clamp=256.0)
    networks = {"G": nvidia.pickled(), "D": NvidiaDiscriminator(SLIM, clamp=256.0).pickled(), "G_ema": nvidia.pickled()}
    dump(folder / "nvidia.pkl", networks)
    rosinality = RosinalityGenerator(SLIM, W_DIM, DEPTH)
    torch.save(training_file(rosinality, RosinalityDiscriminator(SLIM)), folder / "rosinality.pt")
    torch.save(psp_file(rosinality, torch.zeros(14, W_DIM)), folder / "psp.pt")
    genforce = GenForceGenerator(SLIM, W_DIM, W_DIM, DEPTH, hammer=False)
    critic = GenForceDiscriminator(SLIM, hammer=False)
    torch.save({"generator": genforce.state_dict(), "discriminator": critic.state_dict()}, folder / "genforce.pth")
    hammer = GenForceGenerator(SLIM, W_DIM, W_DIM, DEPTH, hammer=True)
    torch.save(hammer_file(hammer, GenForceDiscriminator(SLIM, hammer=True), {}), folder / "hammer.pth")
    paper = GenForceGenerator(PAPER, W_DIM, W_DIM, DEPTH, hammer=True)
    models = {"encoder": PaperEncoder(W_DIM).state, "generator": paper.state_dict()}
    torch.save({"models": models, "model_kwargs_init": {"encoder": {"pad_layer_num": 4}}}, folder / "paper-encoder.pth")
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size / 2**20:.0f} MiB")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/example_checkpoints.py FOLDER")
    main(Path(sys.argv[1]))
