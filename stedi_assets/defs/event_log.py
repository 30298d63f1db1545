"""Where Dagster keeps the events of runs, see dagster.yaml: as it does by default, but faster."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy.event import listen

_BUSY_SECONDS = 30
"""How long to wait for another process that writes, as Dagster does."""

_INDEX = "index"
"""The file of all runs, as Dagster calls it."""

_KEPT = 2
"""Files kept open: that of all runs, and that of the run which is written or looked at."""


class OpenEventLogStorage(SqliteEventLogStorage):
    """Dagster's SQLite files of events, opened once instead of for every statement.

    To open a file, to compile each statement for it anew and, as nobody else has it open, to copy
    its journal back when it is closed takes ten times as long as to write an event.
    """

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        """Events in the files of a folder."""
        self._engines: dict[str, db.Engine] = {}
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)
        self._engine(_INDEX)  # never let go: `has_table` takes it without the lock

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The folder that Dagster has its history in."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: Any, config_value: Mapping[str, Any]
    ) -> "OpenEventLogStorage":
        """The files that Dagster has in its folder by default."""
        return cls(str(Path(config_value["home"]) / "history" / "runs"), inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[db.Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _engine(self, shard: str) -> db.Engine:
        if shard not in self._engines:
            others = [name for name in self._engines if name != _INDEX]
            if len(self._engines) >= _KEPT:
                self._engines.pop(others[0]).dispose()
            engine = db.create_engine(
                self.conn_string_for_shard(shard),
                pool_size=1,
                connect_args={"timeout": _BUSY_SECONDS},
            )
            listen(engine, "connect", _sync_when_closed)
            self._engines[shard] = engine
        return self._engines[shard]

    def has_table(self, table_name: str) -> bool:
        """Whether the file of all runs has a table; Dagster asks with each check."""
        # Without the lock: Dagster also asks while it writes.
        if table_name not in self._tables:
            with self._engine(_INDEX).connect() as connection:
                if not connection.dialect.has_table(connection, table_name):
                    return False
            self._tables.add(table_name)
        return True

    def store_event(self, event: Any) -> None:
        """Write an event, and touch the file of its run: the UI follows a run by that."""
        super().store_event(event)
        os.utime(self.path_for_shard(event.run_id))

    def dispose(self) -> None:
        """Close the files."""
        super().dispose()
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()
        self._tables.clear()


def _sync_when_closed(connection: Any, _: object) -> None:
    """Wait for the disk at the end of a run, not at each event, as SQLite advises for its journal.

    A file is whole at any time. Events of a run that a power cut ends may be missing.
    """
    connection.execute("PRAGMA synchronous=NORMAL")
