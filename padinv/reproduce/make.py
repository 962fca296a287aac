"""Make one of the tables in a folder that nobody else works in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from padinv.reproduce.edges import edges
from padinv.reproduce.options import TableOptions
from padinv.reproduce.result import Result
from padinv.reproduce.table1 import table1
from padinv.reproduce.table2 import table2
from padinv.reproduce.table3 import table3
from padinv.runtime.errors import OutputError, UsageError
from padinv.runtime.locks import FolderInUseError, folder_lock
from padinv.training.reporter import Reporter

TABLES: dict[str, Callable[[TableOptions, Reporter | None], Result]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "edges": edges,
}


def make_table(name: str, options: TableOptions, reporter: Reporter | None = None) -> Result:
    """Make the table `name`, training and measuring what is missing in `options.out`; nothing else is written.

    Raises:
        KeyboardInterrupt: a stop signal; everything finished so far is kept.
        UsageError: no such table, or another process makes one in the same folder.
        OutputError: the folder cannot be made.
        PadInvError: see `table1`, `table2`, `table3` and `edges`.

    Example:
        options = TableOptions(generator, "train.zip", "val.zip", Path("tables"), TrainConfig(images=20_000))
        make_table("table2", options).write(options.out)
    """
    if name not in TABLES:
        raise UsageError(f"the tables are {', '.join(TABLES)}, not {name!r}")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"{options.out} is a file, so no table can be kept there; choose another --out") from error
    except OSError as error:
        raise OutputError(f"cannot make {options.out}: {error.strerror or error}; choose another --out") from error
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(options.out))
        except FolderInUseError as error:
            raise UsageError(f"another process makes a table in {options.out}; nothing was changed") from error
        except OSError as error:
            raise OutputError(
                f"cannot write into {options.out}: {error.strerror or error}; choose another --out"
            ) from error
        return TABLES[name](options, reporter)
