"""The command that forgets people."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stedi_assets.cli.progress import shown_progress
from stedi_assets.cli.rights import read_address
from stedi_assets.cli.terminal import confirm, load_settings, out, say, stop, warn
from stedi_assets.lakehouse.names import display_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stedi_assets.privacy.certificate import Certificate
    from stedi_assets.settings import Settings


def forget(
    email: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EMAIL",
            help="Addresses in any spelling; - reads one from standard input, where no shell "
            "keeps it.",
        ),
    ] = None,
    requests: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="A file of more addresses, one a line, which nobody else may read.",
        ),
    ] = None,
    landing_files: Annotated[
        bool,
        typer.Option(
            "--landing-files",
            help="Write landing files anew without them, too, and delete those of theirs alone.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many rows of theirs there are.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take people out of the lakehouse for good, keep them out, and certify it.

    If it is interrupted, run it again with the same addresses.
    """
    settings = load_settings()
    with shown_progress(out) as progress:
        from stedi_assets.privacy import forget as privacy  # noqa: PLC0415
        from stedi_assets.privacy.known import unknown_people  # noqa: PLC0415
        from stedi_assets.privacy.person import one_spelling  # noqa: PLC0415
        from stedi_assets.privacy.requests import read_requests  # noqa: PLC0415
        from stedi_assets.resources import open_lakehouse  # noqa: PLC0415

        emails = list(map(read_address, email or ()))
        emails += read_requests(requests) if requests else []
        if not emails:
            raise stop("Give an address, or a file of addresses with --file.")
        lakehouse = open_lakehouse(settings)
        lakehouse.progress = progress
        unknown = len(unknown_people(emails, settings))
        people = len({*map(one_spelling, emails)})
        rows = privacy.held(emails, lakehouse, settings)
    if unknown:
        # They may be in landing files that were not taken in, so they are kept out from now on.
        warn(
            f"Of {unknown:,} of {people:,} addresses no table has anything: see how they are "
            "spelled. What lands of them is kept out."
        )
    _print_rows(rows)
    if dry_run:
        return
    places = "the lakehouse and the landing files" if landing_files else "the lakehouse"
    if not yes and not confirm(f"Take what is theirs out of {places} for good?"):
        raise typer.Exit(1)
    with shown_progress(out) as lakehouse.progress, lakehouse.locked(warn):
        certificate = privacy.forget(emails, lakehouse, settings, landing_files=landing_files)
    _print_certificate(certificate, settings)
    if not certificate.is_complete:
        raise typer.Exit(1)


def _print_rows(rows: "Mapping[str, int]") -> None:
    held = {name: number for name, number in rows.items() if number}
    for name, number in held.items():
        out.print(f"{name:26} {number:>12,} rows", highlight=False)
    if not held:
        say("No table has a row of theirs.")


def _print_certificate(certificate: "Certificate", settings: "Settings") -> None:
    said, looked_at = certificate, certificate.looked_at
    say(
        f"Forgotten: {said.people:,} people. Deleted {said.snapshots:,} older states and "
        f"{said.files:,} files."
    )
    if said.training_sets:
        say(f"Made anew without them: {', '.join(said.training_sets)}.")
    if said.unknown_training_sets:
        warn(
            "Made under another key, so nobody can tell whom they hold: "
            f"{', '.join(said.unknown_training_sets)}. Set STEDI_PSEUDONYM_KEY to that key and "
            "forget these people again, or remove the tags."
        )
    if said.landing_files_left:
        warn(
            f"{said.landing_files_left:,} landing files in {settings.landing_root} hold them "
            "still: --landing-files takes them out of these, too."
        )
    if said.landing_files_left is None:
        say(
            f"Landing files: {said.landing_files_written:,} written anew, "
            f"{said.landing_files_deleted:,} deleted, {said.older_versions_deleted:,} older "
            "versions of others deleted."
        )
    if said.not_searched_for:
        say(
            f"Not searched for: {said.not_searched_for:,} names, phones and serial numbers of "
            "theirs that others have, too, or that are too short."
        )
    say(f"Searched {looked_at.files:,} files, {looked_at.size / 1e6:,.1f} MB.")
    for location in looked_at.found:
        warn(f"Something of theirs is in {display_name(location)}, or in its name.")
    for location in looked_at.unreadable:
        warn(
            f"{display_name(location)} could not be searched in full: it is damaged, or may not be "
            "read."
        )
    if looked_at.found or looked_at.unreadable:
        warn(
            "Delete or mend these files, and forget the same people again. Those of the warehouse "
            "go with a vacuum once they are a day old."
        )
    say(f"Certificate {said.number} is in {settings.lakehouse}/certificates.")
