"""Takes people who consent no longer out of what is published, where a refresh cannot replace it.

A refresh that ends early, or a table that a check holds back, leaves the last good state in place.
People who withdrew since must not stay visible in it.
"""

from collections.abc import Callable, Mapping

import dagster as dg
import ibis
import ibis.expr.types as ir

from stedi_assets.assets.curated import pseudonym
from stedi_assets.audit import Tables
from stedi_assets.checks import CONSENT, consenting
from stedi_assets.lakehouse.catalog import Snapshot
from stedi_assets.lakehouse.faults import sentence, unforeseen
from stedi_assets.lakehouse.resource import Lakehouse
from stedi_assets.settings import Settings


def taking_out(settings: Settings) -> dg.HookDefinition:
    """What every asset does when its step fails, whichever job it runs in."""

    @dg.failure_hook(required_resource_keys={"lakehouse"})
    def nobody_stays_who_withdrew(context: dg.HookContext) -> None:
        """Let no table that could not be made anew show people who consent no longer."""
        tables, faults = take_out(context.resources.lakehouse, settings, context.run_id)
        if tables:
            context.log.warning(
                f"People who withdrew were taken out of {', '.join(tables)}, which the next "
                "refresh makes anew."
            )
        for name, fault in faults.items():
            context.log.error(f"{name} may still show people who withdrew: {fault}")

    return nobody_stays_who_withdrew


def take_out(
    lakehouse: Lakehouse, settings: Settings, run_id: str
) -> tuple[list[str], dict[str, str]]:
    """Publish tables without the rows of people who consent no longer.

    Each table that has such rows is published with those of consenting people alone; where even
    that breaks the consent rule, without any row. The next refresh makes it anew.

    Returns:
        The tables that had such rows, and why it cannot be said of others whether they have some.
    """
    taken_out, faults = [], {}
    for name in CONSENT:
        tables = Tables(lakehouse, settings)
        try:
            if tables.published(name) and _violations(name, tables):
                _reduce(name, tables, lakehouse, run_id)
                taken_out.append(name)
        except Exception as error:  # whatever it is: the other tables' people come out
            faults[name] = sentence(error) or unforeseen(error)
    return taken_out, faults


def _reduce(name: str, tables: Tables, lakehouse: Lakehouse, run_id: str) -> None:
    properties = {"run-id": run_id, "fingerprint": "people who withdrew were taken out"}
    try:
        candidate = _stage_kept(name, tables, lakehouse, properties)
    except Exception:  # whatever it is: better no rows than theirs
        candidate = lakehouse.catalog.stage(name, [], properties)
    lakehouse.catalog.publish(candidate)


def _stage_kept(
    name: str, tables: Tables, lakehouse: Lakehouse, properties: Mapping[str, str]
) -> Snapshot:
    """Put the rows of people who still consent on `audit`, or none where that cannot be told."""
    catalog = lakehouse.catalog
    state = catalog.state(name)
    rows = tables.call(_KEPT[name])
    # A refresh that ended early may have given the table columns that its rows do not have yet.
    missing = {n: ibis.null(dtype) for n, dtype in state.types.items() if n not in rows.columns}
    rows = rows.mutate(**missing).select(*state.types)
    files = lakehouse.engine.here.write(rows, f"{state.location}/data")
    candidate = catalog.stage(name, files, properties)
    if _violations(name, Tables(lakehouse, tables.settings, candidate)):
        catalog.drop_candidate(candidate)
        return catalog.stage(name, [], properties)
    return candidate


def _violations(name: str, tables: Tables) -> int:
    return int(tables.call(CONSENT[name]).to_pyarrow().as_py())


# The rows of each table that people who still consent may keep in it.


def _customers(
    customer_trusted: ir.Table, customer_landing: ir.Table, quarantine: ir.Table
) -> ir.Table:
    return customer_trusted.semi_join(consenting(customer_landing, quarantine), "email")


def _curated_customers(
    customers_curated: ir.Table, customer_landing: ir.Table, quarantine: ir.Table
) -> ir.Table:
    return _customers(customers_curated, customer_landing, quarantine)


def _readings(
    accelerometer_trusted: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    customer_trusted: ir.Table,
    settings: Settings,
) -> ir.Table:
    people = _since(consenting(customer_landing, quarantine), customer_trusted)
    owners = people.rename(user="email")
    return _theirs(accelerometer_trusted, owners, "user", "timestamp", settings)


def _sensor_readings(  # noqa: PLR0913  (the tables it is made from)
    *,
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    customer_trusted: ir.Table,
    settings: Settings,
) -> ir.Table:
    people = _since(consenting(customer_landing, quarantine), customer_trusted)
    owners = device_ownership.select("serialnumber", "email").join(people, "email")
    return _theirs(step_trainer_trusted, owners, "serialnumber", "sensorreadingtime", settings)


def _training_rows(
    machine_learning_curated: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    customer_trusted: ir.Table,
    settings: Settings,
) -> ir.Table:
    people = _since(consenting(customer_landing, quarantine), customer_trusted)
    owners = people.mutate(subject_id=pseudonym(people.email, settings))
    return _theirs(machine_learning_curated, owners, "subject_id", "sensorreadingtime", settings)


def _since(people: ir.Table, customer_trusted: ir.Table) -> ir.Table:
    """People (email) with the date of their consent (since), as far as it is published."""
    dates = customer_trusted.select("email", since="sharewithresearchasofdate")
    return people.join(dates, "email")


def _theirs(rows: ir.Table, owners: ir.Table, key: str, time: str, settings: Settings) -> ir.Table:
    """Rows of these owners, in that scope from their consent date on."""
    same = [rows[key] == owners[key]]
    if settings.consent_scope == "from_consent_date":
        same.append(rows[time] >= owners.since)
    return rows.semi_join(owners, same)


_KEPT: dict[str, Callable[..., ir.Table]] = {
    "customer_trusted": _customers,
    "accelerometer_trusted": _readings,
    "customers_curated": _curated_customers,
    "step_trainer_trusted": _sensor_readings,
    "machine_learning_curated": _training_rows,
}
