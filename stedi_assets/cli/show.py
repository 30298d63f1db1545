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
from stedi_assets.cli.terminal import load_settings, out, say, stop, warn
from stedi_assets.lakehouse.names import display_name, printable


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
    if overview["training_sets"]:
        sets = _table("Training sets", "tag", "rows", "snapshot")
        for entry in overview["training_sets"]:
            sets.add_row(entry["tag"], f"{entry['rows']:,}", str(entry["snapshot"]))
        out.print(sets)
    if overview["quarantine"]:
        quarantine = Table(title="Quarantine", title_justify="left", box=box.SIMPLE)
        for column in ("source", "reason", "rows"):
            quarantine.add_column(column)
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
        tables.add_row(
            entry["table"],
            f"{published['rows']:,}" if published else "-",
            published["at"][:16].replace("T", " ") if published else "not yet",
            str(published["snapshot"]) if published else "-",
            end_section=entry["zone"] != next_zone,
        )
    out.print(tables)
    for entry in entries:
        if candidate := entry["candidate"]:
            out.print(
                f"Waiting on audit: {entry['table']}, {candidate['rows']:,} rows, "
                f"snapshot {candidate['snapshot']}.",
                style="yellow",
            )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in columns:
        table.add_column(column, justify="right" if column == "rows" else "left", no_wrap=True)
    return table


def _print_left_out(overview: dict[str, Any]) -> None:
    """What is in the landing folders and in no table, and who is suspended."""
    for entry in overview["held_back"]:
        warn(f"Held back: {entry['file']}, {entry['reason']}.")
    if overview["ignored"]:
        warn(f"Ignored, as they are not landing files: {', '.join(overview['ignored'])}.")
    if overview["suspended"]:
        warn(
            f"Suspended: {overview['suspended']:,} people, because their newest record could not "
            "be read."
        )


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
        _write(file, page(overview, [draw(picture) for picture in available], missing))
    say(f"{len(available)} pictures in {file.resolve()}")


def _write(file: Path, text: str) -> None:
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
