"""One process of several: which pictures of an epoch it gets. torchrun ... epoch_of_process.py SOURCE BATCH OUT.json"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def main() -> None:
    import torch
    import torch.distributed as dist

    from padinv.picture_sources import open_pictures
    from padinv.training.pictures import Pictures, StepBatches, batches

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world, batch = dist.get_rank(), dist.get_world_size(), int(sys.argv[2])
    pictures = Pictures(open_pictures(sys.argv[1]), 16, cache_bytes=0)
    steps = len(pictures) // (batch * world)
    order = StepBatches(len(pictures), batch, seed=4, rank=rank, world=world)
    loader = iter(batches(pictures, order, workers=1))
    mine = [hashlib.sha256(image.numpy()).hexdigest() for _ in range(2 * steps) for image in next(loader).images]
    everyone: list[list[str]] = [[] for _ in range(world)]
    dist.all_gather_object(everyone, mine)
    if rank == 0:
        Path(sys.argv[3]).write_text(json.dumps(everyone))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
