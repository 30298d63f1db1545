"""The commands that show the lakehouse and leave it as it is."""

import contextlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from stedi_assets.cli.progress import shown_progress
from stedi_assets.cli.terminal import load_settings, out, say, stop
from stedi_assets.lakehouse.names import display_name, printable

_WIDE = 80
"""Columns that the tables of `status` take."""

_DIGITS = 11
"""Characters that a number of rows takes, so that it is never cut off."""

MOST_NAMED = 10
"""Ignored files that are named."""


def status(
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show the tables, what waits on audit, training sets, quarantine, who owns devices."""
    settings = load_settings()
    from stedi_assets.report.status import status as lakehouse_status  # noqa: PLC0415

    overview = lakehouse_status(settings)
    if as_json:
        typer.echo(json.dumps(overview, indent=2))
    elif not overview["tables"]:
        say(_no_tables(overview))
    else:
        _print_status(overview)


def _no_tables(overview: dict[str, Any]) -> str:
    return f"No tables yet in {overview['lakehouse']}: refresh the lakehouse first (stedi refresh)."


def _print_status(overview: dict[str, Any]) -> None:
    _print_tables(overview["tables"])
    _print_left_out(overview)
    _print_training_sets(overview["training_sets"])
    if overview["repeats"] is not None:
        out.print(f"Training rows that repeat another one exactly: {overview['repeats']:,}.")
    if overview["quarantine"]:
        quarantine = Table(title="Quarantine", title_justify="left", box=box.SIMPLE)
        for column in ("source", "reason", "rows"):
            quarantine.add_column(column, overflow="fold")
        for row in overview["quarantine"]:
            quarantine.add_row(row["source"], row["reason"], f"{row['rows']:,}")
        out.print(quarantine)
    if overview["devices"]:
        devices = ", ".join(f"{number:,} {kind}" for kind, number in overview["devices"].items())
        out.print(f"Devices: {devices}. Consent scope: {overview['consent_scope']}.")


def _print_tables(entries: list[dict[str, Any]]) -> None:
    """The published tables, and what waits on audit."""
    tables = _table("Tables", "table", "rows", "published (UTC)", "snapshot")
    zones = [entry["zone"] for entry in entries]
    for entry, next_zone in zip(entries, [*zones[1:], None], strict=True):
        published = entry["published"]
        cells = (
            entry["table"],
            f"{published['rows']:,}" if published else "-",
            _minute(published["at"]) if published else "not yet",
            str(published["snapshot"]) if published else "-",
        )
        tables.add_row(*cells[: len(tables.columns)], end_section=entry["zone"] != next_zone)
    out.print(tables)
    for entry in entries:
        if candidate := entry["candidate"]:
            _emphasize(
                f"Waiting on audit: {entry['table']}, {candidate['rows']:,} rows, "
                f"snapshot {candidate['snapshot']}."
            )
            reasons = [f"{check}: {words}" for check, words in entry["held_back_by"].items()]
            for reason in reasons or ["Its refresh was cut short; the next one goes on."]:
                _emphasize(f"  {reason}")


def _print_training_sets(entries: list[dict[str, Any]]) -> None:
    if not entries:
        return
    sets = _table("Training sets", "tag", "rows", "made (UTC)", "goes (UTC)")
    for entry in entries:
        goes = _minute(entry["due"]) if entry["due"] else "kept"
        cells = (entry["tag"], f"{entry['rows']:,}", _minute(entry["at"]), goes)
        sets.add_row(*cells[: len(sets.columns)])
    out.print(sets)


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _table(title: str, *columns: str) -> Table:
    """A table; on a narrow terminal, of its first two columns."""
    is_wide = out.width >= _WIDE
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for column in columns if is_wide else columns[:2]:
        is_number = column == "rows"
        table.add_column(
            column,
            justify="right" if is_number else "left",
            no_wrap=True,
            min_width=_DIGITS if is_number else None,
        )
    return table


def _print_left_out(overview: dict[str, Any]) -> None:
    """What is in the landing folders and in no table, what is unusual, who is suspended."""
    for entry in overview["held_back"]:
        counts = f"{entry['unreadable']:,} of {entry['objects']:,} objects unreadable"
        _emphasize(f"Held back: {entry['file']}, {counts}, mostly “{entry['reason']}”.")
        for reason in entry["reasons"]:
            _emphasize(
                f"  {reason['objects']:,} of them: {reason['reason']}, first at byte "
                f"{reason['first']:,}"
            )
    if ignored := overview["ignored"]:
        more = f" and {len(ignored) - MOST_NAMED:,} more" if len(ignored) > MOST_NAMED else ""
        names = ", ".join(ignored[:MOST_NAMED])
        _emphasize(f"Ignored, as they are not landing files: {len(ignored):,} ({names}{more}).")
    for anomaly in overview["anomalies"]:
        _emphasize(f"Unusual: {anomaly['sentence']}")
    if overview["suspended"]:
        _emphasize(
            f"Suspended: {overview['suspended']:,} people, because their newest record could not "
            "be read."
        )
    if overview["held"]:
        _emphasize(f"Held: {overview['held']:,} people, whose data is kept and used nowhere.")


def _emphasize(sentence: str) -> None:
    out.print(printable(sentence), style="yellow", markup=False, highlight=False, soft_wrap=True)


def show(
    table: Annotated[str, typer.Argument(help="Name of a table.")],
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rows to show.")] = 10,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show personal data instead of masking it.")
    ] = False,
    snapshot: Annotated[
        str | None, typer.Option(help="Id or tag of an older state of the table.")
    ] = None,
) -> None:
    """Show rows of a published table."""
    settings = load_settings()
    from stedi_assets.read import UnknownTableError, find_snapshot, read_table  # noqa: PLC0415

    try:
        found = find_snapshot(table, settings, snapshot)
        rows = read_table(table, found.id, settings=settings).limit(limit).to_pyarrow().to_pylist()
    except UnknownTableError as error:
        raise stop(str(error)) from None
    masked = set() if reveal else found.personal_columns
    for number, row in enumerate(rows, start=1):
        grid = Table(title=f"Row {number}", title_justify="left", box=None, show_header=False)
        for name, value in row.items():
            grid.add_row(f"[dim]{name}", _cell(name, value, masked, reveal=reveal))
        out.print(grid)
    if not rows:
        out.print(f"{table} has no rows.")


def _cell(column: str, value: object, masked: Collection[str], *, reveal: bool) -> str:
    if value is None:
        return ""
    if column in masked:
        return "•••"
    # It names a landing file, and a source may have named that after a person.
    is_name = column == "source_file" and not reveal
    return escape(display_name(str(value)) if is_name else printable(str(value)))


def report(
    file: Annotated[Path, typer.Argument(help="HTML page to write.")] = Path("report.html"),
) -> None:
    """Write a page with pictures of what the lakehouse holds."""
    settings = load_settings()
    from stedi_assets.privacy.risk import attacks_on_published  # noqa: PLC0415
    from stedi_assets.report.charts import draw  # noqa: PLC0415
    from stedi_assets.report.page import page  # noqa: PLC0415
    from stedi_assets.report.pictures import pictures  # noqa: PLC0415
    from stedi_assets.report.status import status as lakehouse_status  # noqa: PLC0415
    from stedi_assets.resources import open_lakehouse  # noqa: PLC0415

    overview = lakehouse_status(settings)
    if not overview["tables"]:
        raise stop(_no_tables(overview))
    lakehouse = open_lakehouse(settings)
    with shown_progress(out) as lakehouse.progress:
        available, missing = pictures(lakehouse)
        attacks, _ = attacks_on_published(lakehouse, settings)
        drawn = [draw(picture) for picture in available]
        write_whole(file, page(overview, drawn, missing, attacks))
    say(f"{len(available)} pictures in {file.resolve()}")


def write_whole(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        error.filename = str(file)
        raise
