"""The command that tells how well people of a training set can be recognized."""

import json
from typing import Annotated

import typer

from stedi_assets.cli.progress import shown_progress
from stedi_assets.cli.terminal import load_settings, out, say, stop


def risk(
    tag: Annotated[
        str | None,
        typer.Argument(help="Tag or snapshot of a training set; the published one where absent."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Try to recognize people of a training set by times and movement, and count how many."""
    settings = load_settings()
    from stedi_assets.privacy.policy import policy_of  # noqa: PLC0415
    from stedi_assets.privacy.risk import attacks, summary  # noqa: PLC0415
    from stedi_assets.privacy.training_sets import TRAINING_SET  # noqa: PLC0415
    from stedi_assets.read import UnknownTableError, find_snapshot  # noqa: PLC0415
    from stedi_assets.resources import open_lakehouse  # noqa: PLC0415

    try:
        training_set = find_snapshot(TRAINING_SET, settings, tag)
    except UnknownTableError as error:
        raise stop(str(error)) from None
    lakehouse = open_lakehouse(settings)
    with shown_progress(out) as lakehouse.progress:
        lakehouse.progress.begin("trying to recognize people")
        found = attacks(lakehouse, training_set, policy_of(settings))
    if as_json:
        typer.echo(json.dumps([attack.as_json() for attack in found], indent=2))
        return
    for attack in found:
        say(attack.sentence)
    say(summary(found))
