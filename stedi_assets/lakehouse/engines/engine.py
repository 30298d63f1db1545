"""What an engine has to offer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import ibis.expr.types as ir
import pyarrow as pa

from stedi_assets.lakehouse.dialect import Dialect
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.query import Query, Statement

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Opens Parquet files as ibis tables and writes expressions to Parquet files."""

    @property
    def immediate(self) -> "Engine":
        """The engine for small work: it does not need a job that has to start."""

    @property
    def dialect(self) -> Dialect:
        """The SQL of what is held and fetched."""

    def open(self, name: str, files: Sequence[str], types: Mapping[str, str]) -> ir.Table:
        """Open Parquet files as the table `name`, with columns of these types."""

    def open_located(self, name: str, files: Sequence[str], types: Mapping[str, str]) -> ir.Table:
        """Open Parquet files with the path of each row's file in the column `FILE`.

        Engines write the path each in its own way; folder and name at its end are the same.
        """

    def hold(self, rows: Statement) -> ir.Table | None:
        """Compute rows now and keep them until `let_go`; None if there are none."""

    @property
    def holder(self) -> object:
        """Stands for what holds rows: another object once that has ended, and they are lost.

        Only of a server that this project started it is noticed.
        """

    def held_rows(self, held: ir.Table | None) -> int:
        """How many rows are held there."""

    def let_go(self) -> None:
        """Forget all rows that are held."""

    def fetch(self, query: Statement) -> pa.Table:
        """The rows of a query, which are few."""

    def fetch_all(self, queries: Sequence[Query]) -> list[pa.Table]:
        """The rows of several queries, side by side where one alone leaves the engine idle."""

    def write(self, query: Query, folder: str, field_ids: Mapping[str, int]) -> list[str]:
        """Write the rows of a query as Parquet files below `folder`.

        Args:
            query: The rows.
            folder: Where they go.
            field_ids: Iceberg's id of each column: some readers find columns by nothing else.

        Returns:
            The files with rows; none if there are no rows.
        """

    def spread(
        self,
        work: Callable[[DuckDBEngine, Sequence[Item]], Result],
        items: Sequence[Item],
        sizes: Sequence[int],
    ) -> list[Result]:
        """Have work done wherever the engine computes, in shares of about the same size.

        Args:
            work: Deals with a share of the items, by means of a DuckDB of that process.
            items: What there is to do.
            sizes: Size of each item, in bytes.

        Returns:
            The result of each share.
        """
