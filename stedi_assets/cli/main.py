"""The `stedi` command: a thin layer over the same Dagster job that the UI runs.

Heavy modules are imported by the commands that use them.
"""

import contextlib
import gc
import json
import os
import shlex
import signal
import sys
from collections.abc import Collection
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stedi_assets.lakehouse.names import display_name, printable
from stedi_assets.settings import Settings, SettingsError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="The STEDI lakehouse.")


class Source(StrEnum):
    """The sources, as options name them."""

    CUSTOMER = "customer"
    ACCELEROMETER = "accelerometer"
    STEP_TRAINER = "step_trainer"


class _Terminal(Console):
    """Stays silent once nobody reads its output, so that the work still ends well."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


_out = _Terminal()
_errors = _Terminal(stderr=True)
_DEVELOPING = sys.flags.dev_mode
_INTERRUPTED = 130
"""Exit code of what Ctrl-C ended, as of a shell."""


def _settings() -> Settings:
    try:
        return Settings.load()
    except SettingsError as error:
        raise _stop(str(error)) from None


def _stop(sentence: str) -> typer.Exit:
    lines = "\n".join(map(printable, sentence.splitlines()))
    _errors.print(lines, style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(1)


@app.command()
def refresh() -> None:
    """Take in new landing files and bring every table up to date."""
    settings = _settings()
    from stedi_assets.cli.refresh import refresh as run  # noqa: PLC0415

    if not run(settings, _out):
        raise typer.Exit(1)


@app.command()
def rebuild(
    source: Annotated[
        list[Source] | None,
        typer.Option(help="Only take in this source's files anew; may be given several times."),
    ] = None,
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key",
            help="Also begin with a new key of subject_id, where the old one is lost or known.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make tables anew from the landing files: after damage, or when a file was corrected."""
    settings = _settings()
    from stedi_assets.cli.refresh import refresh as run  # noqa: PLC0415
    from stedi_assets.privacy.training_sets import begin_with_new_key  # noqa: PLC0415
    from stedi_assets.refresh.rebuild import (  # noqa: PLC0415
        damaged_tables,
        drop_damaged,
        lost_files,
    )
    from stedi_assets.resources import open_lakehouse  # noqa: PLC0415

    lakehouse = open_lakehouse(settings)
    sources = [found.value for found in source or Source]
    damaged = damaged_tables(lakehouse)
    if damaged != []:
        what = "the catalog" if damaged is None else ", ".join(damaged)
        _tell(f"Cannot be read, and will be made anew: {what}.")
    for name, entries in lost_files(lakehouse, settings, sources).items():
        rows = sum(entry.rows for entry in entries)
        _tell(
            f"{name}: {len(entries):,} files with {rows:,} rows are not in the landing folder any "
            "more. These rows will be gone"
            + (", and with them withdrawals and suspensions." if name == "customer" else ".")
        )
    if not yes and not typer.confirm(f"Make the tables anew from {settings.landing_root}?"):
        raise typer.Exit(1)
    with lakehouse.locked(_tell):
        drop_damaged(lakehouse, damaged)
        if new_key:
            released = begin_with_new_key(lakehouse, settings)
            _tell(
                f"A new key is in use; {len(released):,} training sets of the old one are released."
            )
    if not run(settings, _out, rebuild=sources):
        raise typer.Exit(1)


def _print_left_out(found: dict[str, Any]) -> None:
    """What is in the landing folders and in no table, and who is suspended."""
    for entry in found["held_back"]:
        _tell(f"Held back: {entry['file']}, {entry['reason']}.")
    if found["ignored"]:
        _tell(f"Ignored, as they are not landing files: {', '.join(found['ignored'])}.")
    if found["suspended"]:
        _tell(
            f"Suspended: {found['suspended']:,} people, for their newest record could not be read."
        )


def _tell(sentence: str) -> None:
    _errors.print(
        printable(sentence), style="yellow", markup=False, highlight=False, soft_wrap=True
    )


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show the tables, what waits on audit, training sets, quarantine, who owns devices."""
    settings = _settings()
    from stedi_assets.report.status import status as look  # noqa: PLC0415

    found = look(settings)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _print_status(found)


def _no_tables(found: dict[str, Any]) -> str:
    return f"No tables yet in {found['lakehouse']}: refresh the lakehouse first (stedi refresh)."


def _print_status(found: dict[str, Any]) -> None:
    if not found["tables"]:
        _out.print(_no_tables(found), markup=False, highlight=False, soft_wrap=True)
        return
    tables = Table(title="Tables", title_justify="left", box=box.SIMPLE)
    for column in ("table", "rows", "published (UTC)", "snapshot"):
        tables.add_column(column, justify="right" if column == "rows" else "left", no_wrap=True)
    zones = [entry["zone"] for entry in found["tables"]]
    for entry, next_zone in zip(found["tables"], [*zones[1:], None], strict=True):
        state = entry["published"]
        tables.add_row(
            entry["table"],
            f"{state['rows']:,}" if state else "-",
            state["at"][:16].replace("T", " ") if state else "not yet",
            str(state["snapshot"]) if state else "-",
            end_section=entry["zone"] != next_zone,
        )
    _out.print(tables)
    for entry in found["tables"]:
        if candidate := entry["candidate"]:
            _out.print(
                f"Waiting on audit: {entry['table']}, {candidate['rows']:,} rows, "
                f"snapshot {candidate['snapshot']}.",
                style="yellow",
            )
    _print_left_out(found)
    if found["training_sets"]:
        sets = Table(title="Training sets", title_justify="left", box=box.SIMPLE)
        for column in ("tag", "rows", "snapshot"):
            sets.add_column(column, justify="right" if column == "rows" else "left", no_wrap=True)
        for entry in found["training_sets"]:
            sets.add_row(entry["tag"], f"{entry['rows']:,}", str(entry["snapshot"]))
        _out.print(sets)
    if found["quarantine"]:
        quarantine = Table(title="Quarantine", title_justify="left", box=box.SIMPLE)
        for column in ("source", "reason", "rows"):
            quarantine.add_column(column)
        for row in found["quarantine"]:
            quarantine.add_row(row["source"], row["reason"], f"{row['rows']:,}")
        _out.print(quarantine)
    if found["devices"]:
        devices = ", ".join(f"{number:,} {kind}" for kind, number in found["devices"].items())
        _out.print(f"Devices: {devices}. Consent scope: {found['consent_scope']}.")


@app.command()
def vacuum(
    older_than: Annotated[
        str, typer.Option(help="Safety age: files younger than that are left alone.")
    ] = "1d",
    dry_run: Annotated[bool, typer.Option(help="Only tell what would be removed.")] = False,
) -> None:
    """Let snapshots past STEDI_RETENTION go, and files that no snapshot refers to."""
    settings = _settings()
    from stedi_assets.privacy.training_sets import vacuum as clean  # noqa: PLC0415
    from stedi_assets.resources import open_lakehouse  # noqa: PLC0415
    from stedi_assets.settings import duration  # noqa: PLC0415

    try:
        age = duration(older_than)
    except ValueError as error:
        raise _stop(f"--older-than is wrong: {error}.") from None
    lakehouse = open_lakehouse(settings)
    if not lakehouse.storage.exists():
        _out.print("No tables yet: there is nothing to remove.")
        return
    with lakehouse.locked(lambda said: _errors.print(said, style="yellow")):
        found = clean(lakehouse, settings, age, dry_run)
    _out.print(f"{'Would remove' if dry_run else 'Removed'} {found}.", highlight=False)


@app.command()
def show(
    table: Annotated[str, typer.Argument(help="Name of a table.")],
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rows to show.")] = 10,
    reveal: Annotated[bool, typer.Option(help="Show personal data instead of masking it.")] = False,
    snapshot: Annotated[
        str | None, typer.Option(help="Id or tag of an older state of the table.")
    ] = None,
) -> None:
    """Show rows of a published table."""
    settings = _settings()
    from stedi_assets.read import UnknownTableError, find_snapshot, read_table  # noqa: PLC0415

    try:
        found = find_snapshot(table, settings, snapshot)
        rows = read_table(table, found.id, settings=settings).limit(limit).to_pyarrow().to_pylist()
    except UnknownTableError as error:
        raise _stop(str(error)) from None
    masked = set() if reveal else found.personal_columns
    for number, row in enumerate(rows, start=1):
        shown = Table(title=f"Row {number}", title_justify="left", box=None, show_header=False)
        for name, value in row.items():
            shown.add_row(f"[dim]{name}", _cell(name, value, masked, reveal=reveal))
        _out.print(shown)
    if not rows:
        _out.print(f"{table} has no rows.")


def _cell(column: str, value: object, masked: Collection[str], *, reveal: bool) -> str:
    if value is None:
        return ""
    if column in masked:
        return "•••"
    # The column is a name of a landing file, in which a source may have put a person's.
    is_name = column == "source_file" and not reveal
    return escape(display_name(str(value)) if is_name else printable(str(value)))


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="HTML page to write.")] = Path("report.html"),
) -> None:
    """Write a page with pictures of what the lakehouse holds."""
    settings = _settings()
    from stedi_assets.report.charts import draw  # noqa: PLC0415
    from stedi_assets.report.page import page  # noqa: PLC0415
    from stedi_assets.report.pictures import pictures  # noqa: PLC0415
    from stedi_assets.report.status import status as look  # noqa: PLC0415
    from stedi_assets.resources import open_lakehouse  # noqa: PLC0415

    state = look(settings)
    if not state["tables"]:
        raise _stop(_no_tables(state))
    made, absent = pictures(open_lakehouse(settings))
    _write(file, page(state, [draw(picture) for picture in made], absent))
    _out.print(
        f"{len(made)} pictures in {file.resolve()}", markup=False, highlight=False, soft_wrap=True
    )


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    written = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        written.write_text(text, encoding="utf-8")
        written.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            written.unlink()
        error.filename = str(file)
        raise


@app.command()
def sample(  # noqa: PLR0913  (these are its options)
    landing: Annotated[
        str | None,
        typer.Argument(help="Folder or s3:// prefix; that of the settings where absent."),
    ] = None,
    *,
    customers: Annotated[int, typer.Option(min=1)] = 1_000,
    consent_share: Annotated[float, typer.Option(min=0, max=1)] = 0.5,
    files: Annotated[int, typer.Option(min=1, max=1_000_000, help="Files per source.")] = 4,
    seed: Annotated[
        int, typer.Option(min=0, max=2**53, help="The same seed gives the same files.")
    ] = 2023,
    shared_serials: Annotated[
        bool, typer.Option(help="30 serial numbers on all customer records.")
    ] = False,
    changing_consent: Annotated[
        bool, typer.Option(help="Several records per customer, consent given and withdrawn.")
    ] = False,
    malformed: Annotated[bool, typer.Option(help="Files in every known bad shape.")] = False,
    late_readings: Annotated[
        bool, typer.Option(help="Readings that land in a later file than their time says.")
    ] = False,
) -> None:
    """Write synthetic landing files."""
    from stedi_assets.sample.landing_files import (  # noqa: PLC0415
        Sample,
        upload_sample,
        write_sample,
    )

    settings = _settings()
    target = (landing or settings.landing_root).rstrip("/")
    if target.startswith("s3://") and settings.deployment != "aws":
        raise _stop(f"{target} is on S3, which takes STEDI_DEPLOYMENT=aws.")
    try:
        wanted = Sample(
            customers=customers,
            consent_share=consent_share,
            files=files,
            seed=seed,
            shared_serials=shared_serials,
            changing_consent=changing_consent,
            malformed=malformed,
            late_readings=late_readings,
        )
        if target.startswith("s3://"):
            from stedi_assets.resources import open_storage  # noqa: PLC0415

            written = upload_sample(target, wanted, open_storage(settings).io)
        else:
            written = write_sample(Path(target), wanted)
    except (ValueError, FileExistsError) as error:
        raise _stop(str(error)) from None
    objects = ", ".join(f"{number:,} {source}" for source, number in written.objects.items())
    _out.print(
        f"{written.files} files, {written.bytes_written / 1e6:,.1f} MB in {target}: {objects}."
    )


def main() -> None:
    """Run the command; errors are told in a sentence, never as a traceback."""
    # The libraries bring many objects that stay. As often as Python does by itself, looking for
    # garbage among them takes a good part of the start-up.
    gc.set_threshold(50_000, 20, 50)
    os.umask(0o077)  # what it writes tells of people, and so does the history of runs
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may know few characters
            stream.reconfigure(errors="backslashreplace")
    code = _run()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is nothing left to interrupt
    if code == _INTERRUPTED:
        _stop("Interrupted; nothing is lost: refresh again.")
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    sys.exit(code)


def _run() -> int:
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else bool(ended.code)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # who reads has seen enough
        return 1
    except Exception as error:
        if _is_interrupted(error):
            return _INTERRUPTED
        if (said := _sentence(error)) is None:
            if _DEVELOPING:
                raise
            said = _not_foreseen(error)
        _stop(said)
        return 1
    return 0


def _is_interrupted(error: Exception) -> bool:
    from stedi_assets.lakehouse.engines.duckdb_faults import is_interrupted  # noqa: PLC0415

    return is_interrupted(error)


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except BrokenPipeError:  # Python would try again, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except OSError as error:
        if stream is not sys.stderr:
            _stop(f"The output could not be written: {error.strerror}.")


def _sentence(error: Exception) -> str | None:
    from stedi_assets.lakehouse.faults import sentence  # noqa: PLC0415

    return sentence(error)


def _not_foreseen(error: Exception) -> str:
    from stedi_assets.lakehouse.faults import unforeseen  # noqa: PLC0415

    command = shlex.join(["python", "-X", "dev", "-m", "stedi_assets", *sys.argv[1:]])
    return (
        f"{unforeseen(error)} What is published stays. Its message may quote data and is not shown "
        f"here; {command} shows all of it."
    )


if __name__ == "__main__":
    main()
