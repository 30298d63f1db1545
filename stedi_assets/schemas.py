"""The contract of each table: the one place that names columns, types and personal data.

Everything else that needs a column list (landing reader, Iceberg schema, Dagster column schema,
docs/tables.md) derives it from here.
"""

import hashlib
from collections.abc import Iterator
from inspect import getdoc
from typing import Any, ClassVar

import ibis.expr.types as ir
import pandera.ibis as pa
from pandera.config import set_config
from pandera.errors import SchemaError

from stedi_assets.lakehouse.table import EARLIEST, Column, Table, Zone

# Without it pandera pulls every failing row into pandas.
set_config(use_narwhals_backend=True)

OWNER = "team:data-platform"
"""Who answers for the tables."""

SOURCES = {
    "customer_landing": "customer",
    "accelerometer_landing": "accelerometer",
    "step_trainer_landing": "step_trainer",
}
"""The landing tables, each with the source whose files it holds."""

MILLISECONDS = "epoch milliseconds"
MAX_DOUBLE = 1.7976931348623157e308


def _field(  # noqa: PLR0913  (what there is to say of a column)
    description: str,
    *,
    unit: str | None = None,
    personal: bool = False,
    strict: bool = False,
    is_time: bool = False,
    zero_is_none: bool = False,
    **checks: Any,
) -> Any:
    metadata = {
        "unit": unit,
        "personal": personal,
        "strict": strict,
        "is_time": is_time,
        "zero_is_none": zero_is_none,
    }
    return pa.Field(description=description, metadata=metadata, **checks)


def _time(description: str, *, zero_is_none: bool = False, **checks: Any) -> Any:
    """A time of a landing file: one that cannot be trusted quarantines its object."""
    return _field(
        description,
        unit=MILLISECONDS,
        strict=True,
        is_time=True,
        zero_is_none=zero_is_none,
        ge=EARLIEST,
        **checks,
    )


def _share_date(description: str) -> Any:
    return _time(f"consent to share {description}", zero_is_none=True, nullable=True)


def _finite(description: str, *, strict: bool) -> Any:
    return _field(
        f"{description}, finite",
        unit="as the source reports it",
        strict=strict,
        nullable=True,
        # What keeps NaN and the infinities out.
        in_range={"min_value": -MAX_DOUBLE, "max_value": MAX_DOUBLE},
    )


def _acceleration(axis: str) -> Any:
    return _finite(f"acceleration along the phone's {axis} axis", strict=True)


def _distance() -> Any:
    return _finite("distance of the object in front of the sensor", strict=False)


class Contract(pa.DataFrameModel):
    """What every table has: exactly the columns of its contract."""

    class Config:
        strict = True
        metadata: ClassVar[dict[str, Any]] = {}


class _Customer(Contract):
    serialnumber: str = _field(
        "serial number the record claims; proves no ownership", personal=True, nullable=True
    )
    sharewithpublicasofdate: int = _share_date("with the public since")
    birthday: str = _field(
        "birthday, text as landed (years such as 967 occur)", personal=True, nullable=True
    )
    registrationdate: int = _time("registered at", nullable=True)
    sharewithresearchasofdate: int = _share_date("for research since")
    customername: str = _field("full name", personal=True, nullable=True)
    email: str = _field("e-mail", personal=True, str_length={"min_value": 1})
    lastupdatedate: int = _time("record updated at", nullable=True)
    phone: str = _field("phone, text as landed", personal=True, nullable=True)
    sharewithfriendsasofdate: int = _share_date("with friends since")


class _Reading(Contract):
    timestamp: int = _time("time of the reading")
    x: float = _acceleration("x")
    y: float = _acceleration("y")
    z: float = _acceleration("z")


class _SensorReading(Contract):
    sensorreadingtime: int = _time("time of the reading")
    serialnumber: str = _field(
        "serial number of the device that sent it", personal=True, str_length={"min_value": 1}
    )
    distancefromobject: float = _distance()


def _person(description: str = "the e-mail in its one spelling", **checks: Any) -> Any:
    return _field(description, personal=True, **checks)


def _source_file() -> Any:
    return _field("landing file the object came from, relative to the landing root")


def _landed_at() -> Any:
    return _field("when the refresh began that took the file in", unit=MILLISECONDS, ge=0)


class CustomerLanding(_Customer):
    """Customer records of website and fulfilment, as landed: one row a JSON object."""

    person: str = _person(str_length={"min_value": 1})
    source_file: str = _source_file()
    landed_at: int = _landed_at()

    class Config:
        name = "customer_landing"
        metadata = {"zone": "landing", "person_of": "email"}


class AccelerometerLanding(_Reading):
    """Accelerometer readings of the mobile app, as landed: one row a JSON object."""

    user: str = _field("e-mail of the app's user", personal=True, nullable=True)
    serialnumber: str = _field(
        "serial number, of feeds that send it instead of the user", personal=True, nullable=True
    )
    person: str = _person("the user's e-mail in its one spelling", nullable=True)
    source_file: str = _source_file()
    landed_at: int = _landed_at()

    @pa.dataframe_check(name="user or serialnumber is there, never both")
    @classmethod
    def one_identity(cls, readings: Any) -> Any:
        """A reading says whose it is in one way."""
        table = readings.table
        return table.user.isnull() != table.serialnumber.isnull()

    class Config:
        name = "accelerometer_landing"
        metadata = {
            "zone": "landing",
            "one_of": ("user", "serialnumber"),
            "person_of": "user",
        }


class StepTrainerLanding(_SensorReading):
    """Sensor readings of the Step Trainers, as landed: one row a JSON object."""

    source_file: str = _source_file()
    landed_at: int = _landed_at()

    class Config:
        name = "step_trainer_landing"
        metadata = {"zone": "landing"}


class Quarantine(Contract):
    """What could not be read: one row an object or a fragment of a landing file."""

    source: str = _field("landing source", isin=("customer", "accelerometer", "step_trainer"))
    source_file: str = _source_file()
    position: int = _field("where it begins in the file (uncompressed)", unit="bytes", ge=0)
    raw: str = _field("the text as it stands in the file", personal=True)
    reason: str = _field("why it could not be read", str_length={"min_value": 1})
    landed_at: int = _landed_at()
    person: str = _person(
        "whose it is in one spelling, as far as readable; several are separated by U+001F",
        nullable=True,
    )

    class Config:
        name = "quarantine"
        metadata = {"zone": "landing"}


class CustomerTrusted(_Customer):
    """Consenting customers: the latest record of each person, where it consents to research.

    Latest is by lastupdatedate (where absent registrationdate, where absent landed_at), then
    registrationdate; of records that still tie one without consent wins, then the smallest serial
    number. A person of whom something landed since that could not be read is suspended.
    """

    email: str = _person(unique=True, str_length={"min_value": 1})
    sharewithresearchasofdate: int = _time("consent to share for research since")

    class Config:
        name = "customer_trusted"
        metadata = {"zone": "trusted"}


class AccelerometerTrusted(_Reading):
    """Accelerometer readings of the customers in customer_trusted."""

    user: str = _person(
        "e-mail of the reading's owner in its one spelling", str_length={"min_value": 1}
    )
    serialnumber: str = _field(
        "serial number the owner was found by, where the feed sent no user",
        personal=True,
        nullable=True,
    )

    class Config:
        name = "accelerometer_trusted"
        metadata = {"zone": "trusted"}


class CustomersCurated(CustomerTrusted):
    """Customers of customer_trusted with rows in accelerometer_trusted."""

    class Config:
        name = "customers_curated"
        metadata = {"zone": "curated"}


class DeviceOwnership(Contract):
    """Devices with a proven owner; a device nobody is proven to own has no row.

    `shared_readings`: one user alone has the most readings at the device's times, at least 5 and
    at 90 % of them or more. `sole_claim`: else, one e-mail alone ever claimed the serial number
    and no other user has 5 or more readings at the device's times.
    """

    serialnumber: str = _field("serial number of the device", personal=True, unique=True)
    email: str = _person("e-mail of its owner in its one spelling", str_length={"min_value": 1})
    basis: str = _field("what proves it", isin=("shared_readings", "sole_claim"))
    readings: int = _field("distinct times at which the device has a reading", ge=1)
    matched: int = _field("of them, those at which the owner's phone has one too", ge=0)
    runner_up_matched: int = _field("the most of them that any other user has", ge=0)

    class Config:
        name = "device_ownership"
        # Owners are found among all users: it names people who did not consent.
        metadata = {"zone": "landing"}


class StepTrainerTrusted(_SensorReading):
    """Sensor readings of devices owned by a customer in customers_curated."""

    class Config:
        name = "step_trainer_trusted"
        metadata = {"zone": "trusted"}


class MachineLearningCurated(Contract):
    """Training set: sensor readings with the phone readings of the same person and time.

    Same person is the proven owner of the device, same time the same millisecond. Joined on the
    time alone, it would pair one person's device with another person's phone.
    """

    subject_id: str = _field(
        "pseudonym of the person: keyed hash of the e-mail, the same in every refresh",
        str_length={"min_value": 32, "max_value": 32},
    )
    sensorreadingtime: int = _time("time of both readings")
    distancefromobject: float = _distance()
    x: float = _acceleration("x")
    y: float = _acceleration("y")
    z: float = _acceleration("z")

    class Config:
        name = "machine_learning_curated"
        metadata = {"zone": "curated"}


class MachineLearningCuratedIdentified(MachineLearningCurated):
    """Training set with the person's e-mail and device (STEDI_PSEUDONYMIZE=false)."""

    user: str = _field("e-mail of the person", personal=True)
    serialnumber: str = _field("serial number of the device", personal=True)

    class Config:
        name = "machine_learning_curated"
        metadata = {"zone": "curated"}


def contracts(*, pseudonymize: bool = True) -> dict[str, type[Contract]]:
    """The contract of each table, in the order data flows."""
    ml = MachineLearningCurated if pseudonymize else MachineLearningCuratedIdentified
    models = (
        CustomerLanding,
        AccelerometerLanding,
        StepTrainerLanding,
        Quarantine,
        CustomerTrusted,
        AccelerometerTrusted,
        CustomersCurated,
        DeviceOwnership,
        StepTrainerTrusted,
        ml,
    )
    return {str(model.to_schema().name): model for model in models}


def table_of(contract: type[Contract]) -> Table:
    """What the machinery needs to know of a table, read off its contract."""
    schema = contract.to_schema()
    metadata = contract.Config.metadata
    return Table(
        name=str(schema.name),
        zone=Zone(metadata["zone"]),
        description=getdoc(contract) or "",
        owner=OWNER,
        columns=tuple(
            Column(
                name=name,
                type=str(column.dtype),
                nullable=column.nullable,
                description=_description(column),
                personal=column.metadata["personal"],
                strict=column.metadata["strict"],
                is_time=column.metadata["is_time"],
                zero_is_none=column.metadata["zero_is_none"],
            )
            for name, column in schema.columns.items()
        ),
        one_of=metadata.get("one_of", ()),
        person_of=metadata.get("person_of"),
        fingerprint=hashlib.sha256(repr(_rules(schema)).encode()).hexdigest(),
    )


def _description(column: Any) -> str:
    unit = column.metadata["unit"]
    return f"{column.description} ({unit})" if unit else str(column.description)


def _rules(schema: Any) -> list[object]:
    columns = [
        (
            name,
            str(c.dtype),
            c.nullable,
            c.unique,
            c.description,
            c.metadata,
            list(map(str, c.checks)),
        )
        for name, c in schema.columns.items()
    ]
    return [schema.strict, [str(check) for check in schema.checks], columns]


def breaches(contract: type[Contract], table: ir.Table) -> dict[str, int]:
    """Rules of the contract that the table breaks, with the number of rows (0: the schema itself).

    No value of the table is in the answer, so it can be shown to anybody.
    """
    if wrong := column_breaches(contract, table):
        return wrong
    schema = contract.to_schema()
    try:
        schema.validate(table, lazy=True)
    except Exception:  # pandera fails over its own report where checks of several kinds fail
        found = [breach for part in _parts(schema) for breach in _breach(part, table)]
        return dict([*found, *_repeated(schema, table)])
    return {}


def column_breaches(contract: type[Contract], table: ir.Table) -> dict[str, int]:
    """The part of `breaches` that needs no row: columns missing, unknown or of another type."""
    schema = contract.to_schema()
    actual = {name: str(dtype) for name, dtype in table.schema().items()}
    wanted = {name: str(column.dtype) for name, column in schema.columns.items()}
    missing = [f"{name}: column is missing" for name in wanted if name not in actual]
    unknown = [f"{name}: column is not in the contract" for name in actual if name not in wanted]
    typed = [
        f"{name}: is {actual[name]} instead of {dtype}"
        for name, dtype in wanted.items()
        if actual.get(name, dtype) != dtype
    ]
    return dict.fromkeys((*missing, *unknown, *typed), 0)


def _parts(schema: Any) -> Iterator[tuple[str, pa.DataFrameSchema]]:
    """The contract taken apart into single rules, each named."""
    for name, column in schema.columns.items():
        if not column.nullable:
            yield f"{name}: not null", pa.DataFrameSchema({name: pa.Column(nullable=False)})
        for check in column.checks:
            alone = pa.Column(nullable=True, checks=[check])
            yield f"{name}: {check.error}", pa.DataFrameSchema({name: alone})
    for check in schema.checks:
        yield check.name, pa.DataFrameSchema(checks=[check])


def _breach(part: tuple[str, pa.DataFrameSchema], table: ir.Table) -> Iterator[tuple[str, int]]:
    rule, schema = part
    try:
        schema.validate(table)
    except SchemaError as error:
        yield rule, error.failure_cases.count().execute()


def _repeated(schema: Any, table: ir.Table) -> Iterator[tuple[str, int]]:
    # Of a value that is there n times pandera tells once, here n rows count.
    for name, column in schema.columns.items():
        if column.unique:
            counts = table.group_by(name).agg(rows=table.count())
            if rows := counts.filter(counts.rows > 1).rows.sum().execute():
                yield f"{name}: unique", int(rows)
