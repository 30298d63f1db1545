"""What the Dagster UI shows of a table: its rule, where it comes from, what became of its rows.

Whoever sees the UI sees all of this, and Dagster keeps it outside of the lakehouse. So no personal
data is in it, and nothing of a single row of the landing zone.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from inspect import getdoc, getsourcefile, getsourcelines, unwrap
from typing import Any
from warnings import catch_warnings, simplefilter

import dagster as dg

from stedi_assets.defs.checks import check_results
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.ingest import Ingest, Ingested
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.lakehouse.table import Column, Table, Zone
from stedi_assets.privacy.policy import policy_of
from stedi_assets.refresh.findings import Verdict
from stedi_assets.settings import Settings
from stedi_assets.tables import definition as table_named
from stedi_assets.tables import version_of
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.lineage import Lineage
from stedi_assets.tables.policy import Policy

PREVIEW_ROWS = 5
MASK = "•••"

_EVENTS_LINK = "[Pictures, and what became of its rows](?view=events)"
"""Leads from a table's page to the events of the table, where `published_observations` appear."""

Metadata = dict[str, Any]


# Before the first run


def table_spec(
    definition: TableDefinition, settings: Settings, sources: Iterable[dg.AssetKey] = ()
) -> dg.AssetSpec:
    """What the UI shows of a table, even before it is made.

    Args:
        definition: The table.
        settings: The settings it is made under.
        sources: What it is made from, if it has no rule.
    """
    policy = policy_of(settings)
    table, contract = definition.table(policy), definition.contract_under(policy)
    rule = definition.rule or (Ingest.stage if definition.source else Ingest.stage_quarantine)
    return dg.AssetSpec(
        table.name,
        deps=sources,
        group_name=str(table.zone),
        description=f"{table.description}\n\nRule: `{rule.__qualname__}` in `{rule.__module__}`. "
        f"Columns: `{contract.__name__}` in `{contract.__module__}`.\n\n{_EVENTS_LINK}",
        owners=[table.owner],
        code_version=version_of(definition, policy),
        kinds={"iceberg", settings.engine},
        tags={"zone": str(table.zone), "personal-data": "yes" if table.personal_columns else "no"},
        metadata={
            "dagster/column_schema": column_schema(table),
            "dagster/uri": table.location(settings.lakehouse),
            "dagster/code_references": code_references(rule, contract),
        },
    )


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns, with their meaning and unit."""
    return dg.TableSchema(columns=[_column(column) for column in table.columns])


def _column(column: Column) -> dg.TableColumn:
    return dg.TableColumn(
        column.name,
        column.type,
        description=column.description,
        constraints=dg.TableColumnConstraints(nullable=column.nullable),
        tags={"personal-data": ""} if column.personal else {},
    )


@cache  # to find a class, Python parses its whole file
def code_references(rule: Callable[..., object], contract: type) -> dg.CodeReferencesMetadataValue:
    """Where the UI finds the rule, and the contract."""
    places = {"rule": unwrap(rule), "contract": contract}
    with catch_warnings():
        simplefilter("ignore", dg.BetaWarning)  # nobody who refreshes can do anything about it
        return dg.CodeReferencesMetadataValue(
            code_references=[
                dg.LocalFileCodeReference(
                    file_path=str(getsourcefile(code)),
                    line_number=getsourcelines(code)[1],
                    label=label,
                )
                for label, code in places.items()
            ]
        )


# Once it has been made

_DETAILS = (
    "audit_seconds",
    "publish_seconds",
    "where_rows_went",
    "rows_withheld",
    "preview",
)
"""What is found out of a state of a table when it is published."""


class Recorder:
    """Records published tables for Dagster."""

    def __init__(
        self,
        settings: Settings,
        lakehouse: Lakehouse,
        lineage: Lineage,
        instance: dg.DagsterInstance,
    ) -> None:
        """Record tables of a lakehouse in the history of an instance."""
        self._policy = policy_of(settings)
        self._lakehouse = lakehouse
        self._lineage = lineage
        self._instance = instance

    def materialized(
        self, verdict: Verdict, seconds: float, metadata: Mapping[str, Any] | None = None
    ) -> dg.MaterializeResult[None]:
        """What the UI shows of a table once it is checked: what is published, and the checks.

        Args:
            verdict: What the gate decided.
            seconds: How long it took to make the candidate.
            metadata: What else to show.
        """
        published = verdict.published
        return dg.MaterializeResult(
            asset_key=verdict.table,
            metadata={
                **_state(verdict, seconds),
                **(metadata or {}),
                **(self._details(verdict) if published else {}),
                **lineage_metadata(self._lineage, verdict.table),
            },
            check_results=list(check_results(verdict, self._instance)),
            data_version=dg.DataVersion(published.rows_id) if published else None,
        )

    def _details(self, verdict: Verdict) -> Metadata:
        """The details; the table is published already, so a failure here is only a warning."""
        assert verdict.published
        table = table_named(verdict.table)
        try:
            recorded = {}
            if verdict.audit_seconds is None:
                recorded = _recorded_before(table.name, verdict.published, self._instance)
            return recorded or _details(verdict, table, self._policy, self._lakehouse)
        except Exception as error:
            dg.get_dagster_logger().warning(
                f"{table.name} is published; what became of its rows is not shown "
                f"({type(error).__name__})."
            )
            return {}


def _state(verdict: Verdict, seconds: float) -> Metadata:
    """What is published, and how many rows the candidate has if it is held back."""
    published, candidate = verdict.published, verdict.held_back
    rows = {"dagster/row_count": dg.MetadataValue.int(published.rows if published else 0)}
    if candidate:
        rows["candidate_rows"] = dg.MetadataValue.int(candidate.rows)
    if published is None:
        return rows
    return {
        **rows,
        **_snapshot_id(published),
        "bytes": dg.MetadataValue.int(published.size),
        "made_by_run": dg.MetadataValue.dagster_run(published.properties["run-id"]),
        "seconds": dg.MetadataValue.float(round(seconds, 3)),
    }


def files_metadata(ingested: Ingested) -> Metadata:
    """How many landing files were taken in, and how many not."""
    return {
        "new_files": len(ingested.taken),
        "duplicate_files": sum(1 for entry in ingested.new if entry.duplicate_of),
        "changed_files": len(ingested.changed),
        "held_back_files": len(ingested.held_back),
        "ignored_files": len(ingested.listing.ignored),
    }


def lineage_metadata(lineage: Lineage, table: str) -> Metadata:
    """Where the table's columns come from: for Dagster, and to be read.

    The table is right without it, so a failure here is only a warning.
    """
    try:
        return {
            "dagster/column_lineage": column_lineage(lineage, table),
            "lineage": dg.MetadataValue.md(lineage.markdown(table)),
        }
    except Exception as error:
        dg.get_dagster_logger().warning(
            f"{table}: where its columns come from is not shown, its rule cannot be read "
            f"({type(error).__name__})."
        )
        return {}


def column_lineage(lineage: Lineage, table: str) -> dg.TableColumnLineage:
    """Where each column comes from, one step back."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(dg.AssetKey(table), name) for table, name in sources]
            for column, sources in lineage.of(table).columns.items()
        }
    )


def _details(
    verdict: Verdict, table: TableDefinition, policy: Policy, lakehouse: Lakehouse
) -> Metadata:
    """What became of a table's rows, and some of them."""
    assert verdict.published
    counted = getdoc(table.account) if table.account else None
    return {
        **verdict.seconds,
        **(where_rows_went(verdict.account, counted) if counted else {}),
        **preview(table.table(policy), verdict.published, lakehouse),
    }


def _recorded_before(table: str, published: Snapshot, instance: dg.DagsterInstance) -> Metadata:
    """The details that Dagster recorded when a table was published, if it still remembers."""
    snapshot = _snapshot_id(published).items()
    for record in instance.fetch_materializations(dg.AssetKey(table), limit=5).records:
        made = record.asset_materialization
        if made and snapshot <= made.metadata.items():
            return {name: made.metadata[name] for name in _DETAILS if name in made.metadata}
    return {}


def _snapshot_id(published: Snapshot) -> Metadata:
    return {"snapshot": dg.MetadataValue.text(str(published.id))}


def preview(table: Table, published: Snapshot, lakehouse: Lakehouse) -> Metadata:
    """Some rows of a table, personal data masked.

    Of the landing zone there are none: people without consent are among them.
    """
    if table.zone == Zone.LANDING:
        sentence = (
            "No rows are shown: people who did not consent are among them. "
            f"`stedi show {table.name}` shows some where the landing zone may be read."
        )
        return {"preview": dg.MetadataValue.md(sentence)}
    hidden = dict.fromkeys(_hidden(table), MASK)
    names = [name for name in table.types if name not in hidden]
    if not names:
        sentence = f"All its columns tell of a person; `stedi show {table.name}` shows some rows."
        return {"preview": dg.MetadataValue.md(sentence)}
    rows = lakehouse.open(published).select(names).limit(PREVIEW_ROWS).to_pyarrow().to_pylist()
    cells = [[_cell((row | hidden)[name]) for name in table.types] for row in rows]
    return {"preview": dg.MetadataValue.md(_markdown(list(table.types), cells))}


def _hidden(table: Table) -> list[str]:
    """Columns whose values lead to a person; all whole numbers here are times.

    Dagster keeps a preview even when the people in it withdraw.
    """
    return [
        column.name
        for column in table.columns
        if column.personal or column.name == "subject_id" or column.type == "int64"
    ]


def where_rows_went(account: Mapping[str, Any], counted: str = "") -> Metadata:
    """Rows in, kept and withheld by reason.

    Args:
        account: What the check `completeness` found: `rows_in`, `kept`, `withheld`.
        counted: What is counted, in a sentence.
    """
    if not account:
        return {}
    withheld = account.get("withheld", {})
    counts = {"in": account["rows_in"], "kept": account["kept"]} | {
        f"withheld: {reason}": rows for reason, rows in withheld.items()
    }
    table = _markdown(["", "rows"], [[name, f"{rows:,}"] for name, rows in counts.items()])
    return {
        "where_rows_went": dg.MetadataValue.md(f"{table}\n\n{counted}".strip()),
        "rows_withheld": sum(withheld.values()),
    }


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
