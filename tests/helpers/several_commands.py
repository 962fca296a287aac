"""Run several padinv commands one after the other in this process: python several_commands.py CODES.json COMMANDS.json

A launcher starts it in every process, so that torch is imported once for all of them. Process 0 writes the
exit codes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    from padinv.cli.main import app

    codes = []
    for arguments in json.loads(Path(sys.argv[2]).read_text()):
        try:
            app(args=arguments, prog_name="padinv")
            codes.append(0)
        except SystemExit as stop:
            codes.append(stop.code)
    if os.environ.get("RANK", "0") == "0":
        Path(sys.argv[1]).write_text(json.dumps(codes))


if __name__ == "__main__":
    main()
