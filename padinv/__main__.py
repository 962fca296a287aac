"""`python -m padinv`: the same as the `padinv` command."""

from __future__ import annotations

from padinv.cli.main import main

if __name__ == "__main__":
    main()
