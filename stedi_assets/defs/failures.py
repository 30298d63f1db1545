"""What happens when a step fails: one sentence, another try, and whoever withdrew is taken out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from stedi_assets.lakehouse.engines.duckdb_faults import is_interrupted
from stedi_assets.lakehouse.faults import is_transient, sentence, unforeseen
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.withdrawals import take_out
from stedi_assets.settings import Settings

RETRIES, PAUSE = 2, 20.0
"""How often a step is tried again after a transient fault, and seconds before each time."""


@contextmanager
def as_dagster_failure() -> Iterator[None]:
    """Turn known errors into one-sentence failures.

    Where trying again can help, the step is tried again; the sentence is in the failure that causes
    the retry. Of an unforeseen error the sentence says only where it came from: Dagster would keep
    the message, which may quote data. Python's development mode (`python -X dev`) shows all of it.
    """
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        if is_interrupted(error):
            raise dg.DagsterExecutionInterruptedError from None
        if (description := sentence(error)) is None:
            if sys.flags.dev_mode:
                raise
            description = unforeseen(error)
        failure = dg.Failure(description, allow_retries=False)
        failure.__suppress_context__ = True
        if is_transient(error):
            raise dg.RetryRequested(RETRIES, PAUSE) from failure
        raise failure from None


def withdrawal_hook(settings: Settings) -> dg.HookDefinition:
    """What every asset does when its step fails, whichever job it runs in."""

    @dg.failure_hook(required_resource_keys={"lakehouse"})
    def take_out_people_who_withdrew(context: dg.HookContext) -> None:
        """Take people who consent no longer out of tables that could not be made anew."""
        lakehouse = context.resources.lakehouse
        tables, faults = take_out(lakehouse, policy_of(settings), context.run_id)
        if tables:
            context.log.warning(
                f"People who withdrew were taken out of {', '.join(tables)}, which the next "
                "refresh makes anew."
            )
        for name, fault in faults.items():
            context.log.error(f"{name} may still show people who withdrew: {fault}")

    return take_out_people_who_withdrew
