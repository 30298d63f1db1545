"""The commands for people's rights: what is held about somebody."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from stedi_assets.cli.show import write_whole
from stedi_assets.cli.terminal import load_settings, out, say, stop, warn
from stedi_assets.lakehouse.names import display_name, printable

Email = Annotated[
    str,
    typer.Argument(
        metavar="EMAIL",
        help="Address in any spelling; - reads it from standard input, where no shell keeps it.",
    ),
]

NOBODY = "No table has anything about this address: see how it is spelled."

MOST_SHOWN = 20
"""Lines of a kind that are shown; `--json` has all."""


def person(
    email: Email,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts: all of it.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a copy of their data to a JSON file, with all readings, to hand to them.",
        ),
    ] = None,
) -> None:
    """Show what is held about a person, in every table and state of it. Writes nothing to a log."""
    settings = load_settings()
    from stedi_assets.privacy.access import (  # noqa: PLC0415
        copy_of_data,
        is_nothing,
        what_is_held,
    )
    from stedi_assets.privacy.known import unknown_people  # noqa: PLC0415

    address = read_address(email)
    if unknown_people([address], settings):
        raise stop(NOBODY)
    if export:
        held = copy_of_data(address, settings)
        write_whole(export, json.dumps(held, indent=2, ensure_ascii=False) + "\n")
        say(f"Written to {export.resolve()}, which is personal data: {_counts(held)}.")
        return
    held = what_is_held(address, settings)
    if as_json:
        typer.echo(json.dumps(held, indent=2))
    elif is_nothing(held):
        say("No table holds anything about this person.")
    else:
        _print(held)
    if held["forgotten_at"] and not as_json:
        say(
            f"They were forgotten on {held['forgotten_at'][:10]}. Landing files may hold them "
            "still: stedi forget --landing-files takes them out of these."
        )


def hold(email: Email) -> None:
    """Keep a person's data and use it nowhere, until they are released, whatever they say."""
    settings = load_settings()
    from stedi_assets.privacy.holds import hold as hold_person  # noqa: PLC0415
    from stedi_assets.privacy.known import unknown_people  # noqa: PLC0415
    from stedi_assets.resources import open_lakehouse  # noqa: PLC0415

    address = read_address(email)
    is_unknown = bool(unknown_people([address], settings))
    if not hold_person(address, open_lakehouse(settings), settings, warn):
        say("This person is held already.")
    elif is_unknown:
        raise stop(
            "Nobody has this address here. It is held all the same, for what may land; if it is "
            "misspelled, take that back with stedi release."
        )
    else:
        say("Held. The next refresh takes them out of every table that is used: stedi refresh.")


def release(email: Email) -> None:
    """Let the records of a person who was held decide again whether their data is used."""
    settings = load_settings()
    from stedi_assets.privacy.holds import release as release_person  # noqa: PLC0415
    from stedi_assets.resources import open_lakehouse  # noqa: PLC0415

    address = read_address(email)
    if not release_person(address, open_lakehouse(settings), settings, warn):
        raise stop("This person is not held.")
    say("Released. The next refresh uses their data again, if they consent: stedi refresh.")


def withdrawals(
    as_json: Annotated[bool, typer.Option("--json", help="For scripts: all of them.")] = False,
) -> None:
    """List withdrawals: when each landed, took effect, and was gone for good. Names nobody."""
    settings = load_settings()
    from stedi_assets.privacy.withdrawal_ledger import as_plain_data  # noqa: PLC0415
    from stedi_assets.privacy.withdrawal_ledger import withdrawals as find  # noqa: PLC0415
    from stedi_assets.resources import open_lakehouse  # noqa: PLC0415

    lakehouse = open_lakehouse(settings.model_copy(update={"engine": "duckdb"}))
    found = list(map(as_plain_data, find(lakehouse, settings)))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    waiting = sum(each["took_effect_at"] is None for each in found)
    gone = sum(each["vacuumed_at"] is not None for each in found)
    say(
        f"{len(found):,} withdrawals: {waiting:,} wait for the next refresh, {gone:,} are gone "
        "from every older state."
    )
    _table(
        "Withdrawals, the newest first",
        ("landed (UTC)", "took effect (UTC)", "gone (UTC)", "why", "training sets", "id"),
        (
            (
                _minute(each["landed_at"]),
                _minute(each["took_effect_at"]),
                _minute(each["vacuumed_at"]),
                each["why"],
                ", ".join(each["training_sets"]),
                each["id"][:8],
            )
            for each in reversed(found)
        ),
    )


def read_address(email: str) -> str:
    """The address that was given, or that standard input gives; ends the command if it is empty."""
    try:
        address = sys.stdin.readline() if email == "-" else email
        address.encode()
    except UnicodeError:
        raise stop("The e-mail address has bytes that are not UTF-8.") from None
    from stedi_assets.lakehouse.landing.person import person as spelled  # noqa: PLC0415

    if spelled(address) is None:
        raise stop("The e-mail address is empty.")
    return address


def _counts(held: dict[str, Any]) -> str:
    readings = sum(row["readings"] for row in held["readings"])
    return (
        f"{len(held['records']):,} customer records, {readings:,} readings, "
        f"{len(held['devices']):,} serial numbers, {len(held['quarantine']):,} unreadable objects"
    )


def _print(held: dict[str, Any]) -> None:
    say(f"{printable(held['person'])}, {_use(held)}: {held['why']}.")
    say(f"subject_id {held['subject_id']}; in {held['landing_files']:,} landing files.")
    for kind in ("emails", "names", "phones"):
        if held[kind]:
            say(f"{kind.capitalize()} as delivered: {printable(', '.join(held[kind]))}.")
    _table(
        "Withdrawals, the oldest first",
        ("landed (UTC)", "took effect (UTC)", "gone (UTC)", "why", "training sets"),
        (
            (
                _minute(each["landed_at"]),
                _minute(each["took_effect_at"]),
                _minute(each["vacuumed_at"]),
                each["why"],
                ", ".join(each["training_sets"]),
            )
            for each in held["withdrawals"]
        ),
    )
    _table(
        "Customer records",
        ("landed (UTC)", "updated (UTC)", "research consent since", "latest", "file"),
        (
            (
                _minute(row["landed_at"]),
                _minute(row["updated"]),
                _minute(row["research"]),
                "yes" if row["is_latest"] else "",
                display_name(row["source_file"]),
            )
            for row in held["records"]
        ),
    )
    _table(
        "Devices",
        ("serial number", "theirs, proven by", "on their records", "others have it"),
        (
            (
                row["serialnumber"],
                row["proof"] or "not theirs",
                "yes" if row["is_on_their_records"] else "no",
                f"{row['others_with_it_on_records']:,}",
            )
            for row in held["devices"]
        ),
    )
    _table(
        "Readings",
        ("source", "rows", "from (UTC)", "to (UTC)", "file"),
        (
            (
                row["table"].removesuffix("_landing"),
                f"{row['readings']:,}",
                _minute(row["earliest"]),
                _minute(row["latest"]),
                display_name(row["source_file"]),
            )
            for row in held["readings"]
        ),
    )
    _table(
        "Quarantine",
        ("source", "landed (UTC)", "reason", "byte", "file"),
        (
            (
                row["source"],
                _minute(row["landed_at"]),
                row["reason"],
                f"{row['position']:,}",
                display_name(row["source_file"]),
            )
            for row in held["quarantine"]
        ),
    )
    _table(
        "Tables, in every state that is kept",
        ("table", "rows", "state", "made (UTC)", "tags"),
        (
            (
                row["table"],
                "unknown, another key" if row["rows"] is None else f"{row['rows']:,}",
                row["state"],
                _minute(row["at"]),
                ", ".join(row["tags"]),
            )
            for row in held["tables"]
        ),
    )


def _use(held: dict[str, Any]) -> str:
    """Whether their data is used, as far as it is published, and what the next refresh changes."""
    match held["is_used"], held["will_be_used"]:
        case True, True:
            return "used"
        case True, False:
            return "used until the next refresh, then not"
        case False, True:
            return "not used until the next refresh, then used"
        case _:
            return "not used"


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = list(rows)
    if not lines:
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(
            column,
            overflow="fold",
            justify="right" if column == "rows" else "left",
            no_wrap=column in {"table", "source"} or column.endswith("(UTC)"),
        )
    for line in lines[:MOST_SHOWN]:
        table.add_row(*(escape(printable(cell)) for cell in line))
    out.print(table)
    if len(lines) > MOST_SHOWN:
        say(f"And {len(lines) - MOST_SHOWN:,} more, which --json shows.")


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "-"
