"""The commands that change something: tables, files, the landing folders."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stedi_assets.cli.progress import shown_progress
from stedi_assets.cli.terminal import confirm, load_settings, out, say, stop, warn


class Source(StrEnum):
    """The sources, as options name them."""

    CUSTOMER = "customer"
    ACCELEROMETER = "accelerometer"
    STEP_TRAINER = "step_trainer"


def refresh(
    table: Annotated[
        list[str] | None,
        typer.Argument(help="Tables to bring up to date, with those they are made from."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Also compute each table in full, and compare; the full result counts.",
        ),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Only say what would be done, and why.")
    ] = False,
) -> None:
    """Take in new landing files and bring the tables up to date, all unless some are named."""
    settings = load_settings()
    with shown_progress(out):
        from stedi_assets.cli.refresh import ALL  # noqa: PLC0415
        from stedi_assets.cli.refresh import refresh as run  # noqa: PLC0415

    for name in table or ():
        if name not in ALL:
            raise stop(f"There is no table {name}; there are: {', '.join(ALL)}.")
    if explain:
        from stedi_assets.cli.explain import explain as tell  # noqa: PLC0415

        tell(settings, out, table or ALL, full=full)
    elif not run(settings, out, tables=table or ALL, full=full):
        raise typer.Exit(1)


def dev(
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port of the UI; the first free one from 3000 on where absent."
        ),
    ] = None,
) -> None:
    """Serve the Dagster UI on this machine: it shows and refreshes the tables."""
    settings = load_settings()
    if settings.deployment == "local" and settings.landing is None:
        for source in Source:
            (Path(settings.landing_root) / source / "landing").mkdir(parents=True, exist_ok=True)
        say(f"Drop landing files into {settings.landing_root}/{{{','.join(Source)}}}/landing.")
    from stedi_assets.cli.dev import serve  # noqa: PLC0415

    if serve(settings, port, say):
        raise typer.Exit(1)


def rebuild(
    source: Annotated[
        list[Source] | None,
        typer.Option(help="Only take in this source's files anew; may be given several times."),
    ] = None,
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key",
            help="Also begin with a new key of subject_id, where the old one is lost or known to "
            "others.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make tables anew from the landing files: after damage, or when a file was corrected."""
    settings = load_settings()
    with shown_progress(out):
        from stedi_assets.cli.refresh import refresh as run  # noqa: PLC0415
        from stedi_assets.privacy.key import begin_with_new_key  # noqa: PLC0415
        from stedi_assets.privacy.landing_retention import (  # noqa: PLC0415
            expire_landing_data,
        )
        from stedi_assets.refresh.rebuild import (  # noqa: PLC0415
            damaged_tables,
            drop_damaged,
            removed_files,
        )
        from stedi_assets.resources import open_lakehouse  # noqa: PLC0415
        from stedi_assets.tables import TABLES  # noqa: PLC0415

    lakehouse = open_lakehouse(settings)
    sources = [each.value for each in source or Source]
    damaged = damaged_tables(lakehouse)
    if damaged != []:
        unreadable = "the catalog" if damaged is None else ", ".join(damaged)
        warn(f"Cannot be read, and will be made anew: {unreadable}.")
    for name, entries in removed_files(lakehouse, settings, sources).items():
        rows = sum(entry.rows for entry in entries)
        warn(
            f"{name}: {len(entries):,} files with {rows:,} rows are not in the landing folder any "
            "more. These rows will be gone"
            + (", and with them withdrawals and suspensions." if name == "customer" else ".")
        )
    if not yes and not confirm(f"Make the tables anew from {settings.landing_root}?"):
        raise typer.Exit(1)
    with lakehouse.locked(warn):
        drop_damaged(lakehouse, damaged)
        if new_key:
            released = begin_with_new_key(lakehouse, settings)
            warn(
                f"A new key is in use; {len(released):,} training sets of the old one are released."
            )
    if settings.landing_ages or settings.refused_retention is not None:
        # Landing files may have rows that went by age, and evidence about them went, too: they go
        # again before a table is made of them.
        landing = [table.name for table in TABLES if table.source in sources]
        run(settings, out, tables=landing, rebuild=sources)
        with shown_progress(out) as lakehouse.progress, lakehouse.locked(warn):
            _, faults = expire_landing_data(lakehouse, settings)
        for fault in faults:
            warn(fault)
        sources = []
    if not run(settings, out, rebuild=sources, full=True):
        raise typer.Exit(1)


def tag() -> None:
    """Tag the training set that is published, so that it can be read again."""
    settings = load_settings()
    from stedi_assets.privacy.training_sets import (  # noqa: PLC0415
        TRAINING_SET,
        tag_training_set,
    )
    from stedi_assets.resources import open_lakehouse  # noqa: PLC0415

    lakehouse = open_lakehouse(settings)
    if not lakehouse.storage.exists():
        raise stop("No tables yet: there is no training set. Refresh first (stedi refresh).")
    with lakehouse.locked(warn):
        training_set = lakehouse.published(TRAINING_SET)
        name = tag_training_set(lakehouse.catalog, training_set)
    out.print(f"{name}: {training_set.rows:,} rows.", highlight=False)


def vacuum(
    older_than: Annotated[
        str,
        typer.Option(
            help="Leave unreferenced files alone that are younger: a running refresh may need them."
        ),
    ] = "1d",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
) -> None:
    """Delete snapshots replaced longer than STEDI_RETENTION ago, and merge small files.

    Landing data older than STEDI_LANDING_RETENTION go, too, and files that no snapshot refers to.
    """
    settings = load_settings()
    from stedi_assets.privacy.retention import vacuum as clean  # noqa: PLC0415
    from stedi_assets.resources import open_lakehouse  # noqa: PLC0415
    from stedi_assets.settings import duration  # noqa: PLC0415

    try:
        age = duration(older_than)
    except ValueError as error:
        raise stop(f"--older-than is wrong: {error}.") from None
    lakehouse = open_lakehouse(settings)
    if not lakehouse.storage.exists():
        out.print("No tables yet: there is nothing to remove.")
        return
    with shown_progress(out) as lakehouse.progress, lakehouse.locked(warn):
        vacuumed = clean(lakehouse, settings, age, dry_run)
    out.print(f"{'Would remove' if dry_run else 'Removed'} {vacuumed}.", highlight=False)
    out.print(f"{'Would merge' if dry_run else 'Merged'} {vacuumed.merged}.", highlight=False)
    out.print(
        f"The next snapshot can go from {vacuumed.next_due:%Y-%m-%d %H:%M} UTC on."
        if vacuumed.next_due
        else "No other snapshot will go before a table is made anew.",
        highlight=False,
    )


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
        bool, typer.Option("--shared-serials", help="30 serial numbers on all customer records.")
    ] = False,
    changing_consent: Annotated[
        bool,
        typer.Option(
            "--changing-consent", help="Several records per customer, consent given and withdrawn."
        ),
    ] = False,
    malformed: Annotated[
        bool, typer.Option("--malformed", help="Files in every known bad shape.")
    ] = False,
    late_readings: Annotated[
        bool,
        typer.Option(
            "--late-readings", help="Readings that land in a later file than their time says."
        ),
    ] = False,
) -> None:
    """Write synthetic landing files."""
    from stedi_assets.sample.landing_files import (  # noqa: PLC0415
        Sample,
        upload_sample,
        write_sample,
    )
    from stedi_assets.settings import Settings  # noqa: PLC0415

    if landing is None:
        Settings.make_landing_folder()
    settings = load_settings()
    target = (landing or settings.landing_root).rstrip("/")
    if target.startswith("s3://") and settings.deployment != "aws":
        raise stop(f"{target} is on S3, which needs STEDI_DEPLOYMENT=aws.")
    try:
        options = Sample(
            customers=customers,
            consent_share=consent_share,
            files=files,
            seed=seed,
            shared_serials=shared_serials,
            changing_consent=changing_consent,
            malformed=malformed,
            late_readings=late_readings,
        )
        with shown_progress(out) as progress:
            if target.startswith("s3://"):
                from stedi_assets.resources import open_storage  # noqa: PLC0415

                summary = upload_sample(target, options, open_storage(settings).io, progress)
            else:
                summary = write_sample(Path(target), options, progress)
    except (ValueError, FileExistsError) as error:
        raise stop(str(error)) from None
    objects = ", ".join(f"{number:,} {source}" for source, number in summary.objects.items())
    out.print(
        f"{summary.files} files, {summary.bytes_written / 1e6:,.1f} MB in {target}: {objects}."
    )
