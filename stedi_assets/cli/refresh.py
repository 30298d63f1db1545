"""Looks whether there is anything to do, and only then runs the refresh."""

from collections.abc import Collection, Sequence

from rich.console import Console

from stedi_assets.cli.progress import shown_progress
from stedi_assets.cli.terminal import beside_dagster, tell
from stedi_assets.lakehouse.landing.ledger import Entry
from stedi_assets.lakehouse.names import display_name
from stedi_assets.privacy.policy import policy_of
from stedi_assets.refresh.findings import MOST_NAMED, files_are
from stedi_assets.refresh.plan import look_ahead
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets.tables import TABLES

ALL = tuple(table.name for table in TABLES)
"""Names of the tables."""


def refresh(
    settings: Settings,
    console: Console,
    tables: Collection[str] = ALL,
    rebuild: Collection[str] = (),
    *,
    full: bool = False,
) -> bool:
    """Bring tables up to date; if there is nothing to do, there is no run.

    Args:
        settings: Which lakehouse.
        console: Where to print how it goes.
        tables: Tables to bring up to date, with those they are made from.
        rebuild: Sources whose landing files are all taken in anew.
        full: Whether each table is compared with a full computation, also where nothing is new.

    Returns:
        Whether every table was refreshed and every check passed.
    """
    with beside_dagster(console), shown_progress(console) as progress:
        lakehouse = open_lakehouse(settings)
        outlook = look_ahead(lakehouse, settings, policy_of(settings))
        _print_ignored(outlook.ignored, console)
        for anomaly in outlook.anomalies:
            tell(console, anomaly.sentence, "yellow")
        if outlook.is_up_to_date and not (rebuild or full):
            return _nothing_new(outlook.held_back, console)
        # Dagster, which a look needs not
        from stedi_assets.cli.run import run  # noqa: PLC0415
        from stedi_assets.defs.landing import FULL, REBUILD  # noqa: PLC0415

        tags = {REBUILD: ",".join(rebuild), FULL: "true" if full else ""}
        asked = {name: value for name, value in tags.items() if value}
        # The run locks it, too. Whoever is tired of waiting leaves no run behind.
        with lakehouse.locked(lambda sentence: tell(console, sentence, "yellow")):
            return run(settings, console, progress, tables, asked)


def _nothing_new(held_back: Sequence[Entry], console: Console) -> bool:
    if not held_back:
        console.print("Nothing new: all landing files are taken in, every table is up to date.")
        return True
    tell(
        console,
        f"Nothing new. {files_are(len(held_back))} held back and in no table: mend or remove what "
        "is held back, or raise STEDI_MAX_QUARANTINE_SHARE, and refresh again.",
        "red",
    )
    for entry in held_back:
        tell(console, f"Held back: {display_name(entry.path)}, {entry.reason}.", "red")
    return False


def _print_ignored(paths: Sequence[str], console: Console) -> None:
    if paths:
        more = f" and {len(paths) - MOST_NAMED:,} more" if len(paths) > MOST_NAMED else ""
        names = f"{', '.join(map(display_name, paths[:MOST_NAMED]))}{more}"
        tell(console, f"Ignored, as they are not landing files: {len(paths):,} ({names}).", "dim")
