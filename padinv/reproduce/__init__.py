"""The paper's tables, made again for any generator and photographs: see `padinv.reproduce.make`."""
