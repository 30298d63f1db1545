"""Takes people who consent no longer out of what is published, where a refresh cannot replace it.

A refresh that ends early, or a table that a check holds back, leaves the last good state in place.
People who withdrew since must not stay visible in it.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any

import ibis.expr.types as ir

from stedi_assets.assets.curated import pseudonym
from stedi_assets.checks import CONSENT, consenting
from stedi_assets.lakehouse.catalog import Snapshot
from stedi_assets.lakehouse.faults import sentence, unforeseen
from stedi_assets.lakehouse.resource import Lakehouse
from stedi_assets.settings import Settings


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
        try:
            published = lakehouse.catalog.published(name)
            if published and _violations(name, lakehouse, settings):
                _reduce(published, lakehouse, settings, run_id)
                taken_out.append(name)
        except Exception as error:  # whatever it is: the other tables' people come out
            faults[name] = sentence(error) or unforeseen(error)
    return taken_out, faults


def _reduce(published: Snapshot, lakehouse: Lakehouse, settings: Settings, run_id: str) -> None:
    name = published.table
    rows = _call(_KEPT[name], lakehouse, settings).select(*published.types)
    files = lakehouse.engine.write(rows, f"{lakehouse.catalog.location(name)}/data")
    properties = {"run-id": run_id, "fingerprint": "people who withdrew were taken out"}
    candidate = lakehouse.catalog.stage(name, files, properties)
    if _violations(name, lakehouse, settings, candidate):
        lakehouse.catalog.drop_candidate(candidate)
        candidate = lakehouse.catalog.stage(name, [], properties)
    lakehouse.catalog.publish(candidate)


def _violations(
    name: str, lakehouse: Lakehouse, settings: Settings, candidate: Snapshot | None = None
) -> int:
    given = {name: lakehouse.open(candidate)} if candidate else {}
    return int(_call(CONSENT[name], lakehouse, settings, **given).to_pyarrow().as_py())


def _call(
    rule: Callable[..., Any], lakehouse: Lakehouse, settings: Settings, **given: ir.Table
) -> Any:
    """Call a rule with the tables that its parameters name, as published."""
    tables = {name for name in signature(rule).parameters if name != "settings"}
    values: dict[str, Any] = {n: given[n] if n in given else lakehouse.table(n) for n in tables}
    if "settings" in signature(rule).parameters:
        values["settings"] = settings
    return rule(**values)


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
    accelerometer_trusted: ir.Table, customer_landing: ir.Table, quarantine: ir.Table
) -> ir.Table:
    people = consenting(customer_landing, quarantine)
    return accelerometer_trusted.semi_join(people.rename(user="email"), "user")


def _sensor_readings(
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
) -> ir.Table:
    people = consenting(customer_landing, quarantine)
    devices = device_ownership.semi_join(people, "email")
    return step_trainer_trusted.semi_join(devices, "serialnumber")


def _training_rows(
    machine_learning_curated: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    settings: Settings,
) -> ir.Table:
    people = consenting(customer_landing, quarantine)
    people = people.select(subject_id=pseudonym(people.email, settings))
    return machine_learning_curated.semi_join(people, "subject_id")


_KEPT: dict[str, Callable[..., ir.Table]] = {
    "customer_trusted": _customers,
    "accelerometer_trusted": _readings,
    "customers_curated": _curated_customers,
    "step_trainer_trusted": _sensor_readings,
    "machine_learning_curated": _training_rows,
}
