"""The files of a table's next state, of those of the last one and what changed."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets.lakehouse.changes.change import Rows
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine, backend_table
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.staging import files_with_change
from stedi_assets.resources import open_lakehouse
from stedi_assets_tests.support import device, publish, under

READINGS = "step_trainer_trusted"


def test_of_rows_that_are_there_several_times_as_many_go_as_are_taken_out(tmp_path: Path) -> None:
    settings = under(tmp_path, landing=None)
    same_time = device("dev", 1, distancefromobject=0.5) + device("dev", 1, distancefromobject=-0.0)
    others = device("dev", 2) + device("another", 1)
    published = publish(settings, READINGS, same_time * 3 + others)
    lakehouse = open_lakehouse(settings)
    engine, state = lakehouse.engine, lakehouse.catalog.state(READINGS)
    assert isinstance(engine, DuckDBEngine)
    gone = pa.Table.from_pylist(same_time[:1] * 2 + same_time[1:] + others[:1])
    engine.backend.con.register("gone", gone)
    removed = engine.hold(Query.of(backend_table("gone", state.types, engine.backend)))
    files = files_with_change(published, Rows(removed=removed), state, engine)
    left = Counter(
        (row["serialnumber"], row["sensorreadingtime"], row["distancefromobject"])
        for file in files
        for row in pq.read_table(file).to_pylist()
    )
    time = same_time[0]["sensorreadingtime"]
    assert left == {("dev", time, 0.5): 1, ("dev", time, 0.0): 2, ("another", time, 1.0): 1}
