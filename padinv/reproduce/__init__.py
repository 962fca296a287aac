"""The paper's tables, made again for any generator and photographs."""

from padinv.reproduce.make import TABLES, make_table
from padinv.reproduce.options import TableOptions
from padinv.reproduce.table import Table

__all__ = ["TABLES", "Table", "TableOptions", "make_table"]
