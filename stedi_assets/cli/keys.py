"""The command that replaces the key of `subject_id`."""

from typing import Annotated

import typer

from stedi_assets.cli.progress import shown_progress
from stedi_assets.cli.terminal import confirm, load_settings, out, say, stop, warn


def rotate_key(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make the training set under a new key of subject_id, and delete those of the old one."""
    settings = load_settings()
    with shown_progress(out):
        from stedi_assets.privacy.rotation import rotate_key as rotate  # noqa: PLC0415
        from stedi_assets.resources import open_lakehouse  # noqa: PLC0415

    lakehouse = open_lakehouse(settings)
    if not lakehouse.storage.exists():
        raise stop("No tables yet: there is no training set. Refresh first (stedi refresh).")
    if not yes and not confirm("Give everybody another subject_id, and delete all older sets?"):
        raise typer.Exit(1)
    with shown_progress(out) as lakehouse.progress, lakehouse.locked(warn):
        rotated = rotate(lakehouse, settings)
    say(
        f"{rotated.rows:,} training rows are published under a new key. Deleted "
        f"{len(rotated.tags):,} tagged sets and {rotated.snapshots:,} older states."
    )
