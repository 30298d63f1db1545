"""Rules and accounts: silent on right tables, and they find what is planted, as often as it is."""

import pytest

from stedi_assets.settings import Settings
from stedi_assets.tables.accounts import KEPT
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    DERIVED,
    KEY,
    SECOND_DELIVERY,
    Pipeline,
    at,
    customer,
    device,
    phone,
    subject_id,
)

DEE, EVE, GUEST = "dee@x.io", "eve@x.io", "guest@x.io"
LANDED = "SELECT * EXCLUDE (source_file, landed_at) FROM step_trainer_landing"

CUSTOMERS = [
    customer(ANN, "d"),
    customer(BOB, "e", sharewithresearchasofdate=8),
    customer(ANN, "claimed by two"),
    customer(BOB, "claimed by two", sharewithresearchasofdate=8),
    customer(CY, "f", sharewithresearchasofdate=None),
    customer(DEE, "g", lastupdatedate=1),
    customer(DEE, "g", lastupdatedate=2, sharewithresearchasofdate=None),
    customer(EVE, "h"),
]
PHONES = [
    *phone(ANN, *range(10), x=1.0),
    *phone(BOB, *range(5, 15), x=2.0),
    *phone(CY, *range(30, 40), x=3.0),
    *phone(DEE, 3),
    *phone(GUEST, 3, *range(90, 95)),
    *phone(None, 3, serialnumber="claimed by two"),
    *phone(None, 3, serialnumber="claimed by nobody"),
    *phone(None, 60, serialnumber="e"),
]
STEPS = [
    *device("d", *range(10), 20, distancefromobject=10.0),
    *device("e", *range(5, 15), distancefromobject=20.0),
    *device("f", *range(30, 40)),
    *device("g", *range(90, 100)),
    *device("h", 70),
    *device("claimed by two", 50, 51),
    *device("claimed by nobody", 80),
]


@pytest.fixture(scope="module")
def any_reading() -> Pipeline:
    return Pipeline(Settings.load(pseudonym_key=KEY))


@pytest.fixture(scope="module")
def dated_readings() -> Pipeline:
    return Pipeline(Settings.load(pseudonym_key=KEY, consent_scope="from_consent_date"))


@pytest.fixture
def pipeline(any_reading: Pipeline) -> Pipeline:
    """Right tables, anew for each test."""
    any_reading.run(CUSTOMERS, PHONES, STEPS)
    return any_reading


@pytest.fixture
def from_consent_date(dated_readings: Pipeline) -> Pipeline:
    """Right tables where only readings from the consent date on may be used."""
    dated_readings.run(CUSTOMERS, PHONES, STEPS)
    return dated_readings


def test_right_tables_violate_no_rule(pipeline: Pipeline, from_consent_date: Pipeline) -> None:
    assert pipeline.violations() == from_consent_date.violations() == {}


# Consent


@pytest.mark.parametrize("email", [CY, DEE, GUEST])
@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ("customer_trusted", "consent of customer_trusted"),
        ("customers_curated", "consent of customers_curated"),
    ],
)
def test_customer_without_consent_is_found(
    pipeline: Pipeline, table: str, rule: str, email: str
) -> None:
    pipeline.execute(
        f"INSERT INTO {table} SELECT * REPLACE ('{email}' AS email) FROM {table} "
        f"WHERE email = '{ANN}'"
    )
    assert pipeline.violations() == {rule: 1}


@pytest.mark.parametrize(
    "refusal",
    [
        {"lastupdatedate": 5, "registrationdate": 1},
        {"lastupdatedate": 5, "registrationdate": 2},
        {"lastupdatedate": None, "registrationdate": 5},
        {"lastupdatedate": 6, "registrationdate": None},
    ],
    ids=["tie", "registered later", "no update, registered later", "updated later"],
)
def test_refusal_in_the_latest_record_is_found(
    any_reading: Pipeline, refusal: dict[str, int | None]
) -> None:
    consents = customer(ANN, lastupdatedate=5, registrationdate=1)
    any_reading.run([consents, customer(ANN, None, sharewithresearchasofdate=None, **refusal)])
    assert any_reading.execute("FROM customer_trusted") == []
    any_reading.execute(
        "INSERT INTO customer_trusted "
        "SELECT * EXCLUDE (person, source_file, landed_at) FROM customer_landing LIMIT 1"
    )
    assert any_reading.violations() == {"consent of customer_trusted": 1}


def test_suspended_person_is_found_in_every_table_that_still_has_them(pipeline: Pipeline) -> None:
    pipeline.execute(
        "INSERT INTO quarantine VALUES "
        f"('customer', 'a.json', 0, '', '?', {SECOND_DELIVERY}, '{GUEST}\x1f{ANN}')"
    )
    assert pipeline.violations() == {
        "consent of customer_trusted": 1,
        "consent of accelerometer_trusted": 10,
        "consent of customers_curated": 1,
        "consent of step_trainer_trusted": 11,
        "consent of machine_learning_curated": 10,
    }


@pytest.mark.parametrize("user", [CY, DEE, GUEST])
def test_readings_without_consent_are_found(pipeline: Pipeline, user: str) -> None:
    pipeline.execute(
        "INSERT INTO accelerometer_trusted "
        f"SELECT * REPLACE ('{user}' AS user) FROM accelerometer_trusted WHERE timestamp < {at(3)}"
    )
    assert pipeline.violations() == {"consent of accelerometer_trusted": 3}


def test_phone_reading_before_the_consent_date_is_found_in_that_scope_only(
    pipeline: Pipeline, from_consent_date: Pipeline
) -> None:
    early = f"INSERT INTO accelerometer_trusted VALUES ({at(7)}, 2.0, 0.0, 0.0, '{BOB}', NULL)"
    pipeline.execute(early)
    from_consent_date.execute(early)
    assert pipeline.violations() == {}
    assert from_consent_date.violations() == {"consent of accelerometer_trusted": 1}


def test_training_row_before_the_consent_date_is_found_in_that_scope_only(
    pipeline: Pipeline, from_consent_date: Pipeline
) -> None:
    early = f"('{subject_id(BOB)}', {at(7)}, 20.0, 2.0, 0.0, 0.0)"
    pipeline.execute(f"INSERT INTO machine_learning_curated VALUES {early}")
    from_consent_date.execute(f"INSERT INTO machine_learning_curated VALUES {early}")
    assert pipeline.violations() == {}
    assert from_consent_date.violations() == {
        "consent of machine_learning_curated": 1,
        "serial_numbers of machine_learning_curated": 1,
    }


def test_sensor_readings_before_the_consent_date_are_found_in_that_scope_only(
    pipeline: Pipeline, from_consent_date: Pipeline
) -> None:
    early = f"INSERT INTO step_trainer_trusted VALUES ({at(7)}, 'e', 1.0)"
    for tables in (pipeline, from_consent_date):
        tables.execute(f"DELETE FROM step_trainer_trusted WHERE sensorreadingtime = {at(7)}")
        tables.execute(early)
    assert "consent of step_trainer_trusted" not in pipeline.violations()
    assert from_consent_date.violations()["consent of step_trainer_trusted"] == 1


def test_sensor_reading_that_only_somebody_elses_phone_shares_is_found(pipeline: Pipeline) -> None:
    pipeline.run(
        [customer(ANN, "d"), customer(CY, sharewithresearchasofdate=None)],
        [*phone(ANN, 1), *phone(CY, 1, 2)],
        device("d", 1, 2, 3),
    )
    assert pipeline.execute("SELECT count(*) FROM step_trainer_trusted") == [(2,)]
    pipeline.execute(f"INSERT INTO step_trainer_trusted VALUES ({at(2)}, 'd', 1.0)")
    assert set(pipeline.violations().values()) == {1}


def test_sensor_readings_of_an_owner_without_consent_are_found(pipeline: Pipeline) -> None:
    pipeline.execute(
        f"INSERT INTO step_trainer_trusted {LANDED} WHERE serialnumber = 'f' "
        f"AND sensorreadingtime < {at(33)}"
    )
    assert pipeline.violations() == {
        "consent of step_trainer_trusted": 3,
        "serial_numbers of step_trainer_trusted": 3,
    }


@pytest.mark.parametrize("email", [CY, "nobody@x.io"])
def test_training_row_of_a_subject_without_consent_is_found(pipeline: Pipeline, email: str) -> None:
    pipeline.execute(
        f"INSERT INTO machine_learning_curated VALUES ('{subject_id(email)}', {at(6)}, 10, 1, 0, 0)"
    )
    assert pipeline.violations() == {
        "consent of machine_learning_curated": 1,
        "serial_numbers of machine_learning_curated": 1,
    }


def test_withdrawal_is_found_in_every_table_that_still_has_the_customer(
    pipeline: Pipeline,
) -> None:
    pipeline.execute(
        "INSERT INTO customer_landing SELECT * REPLACE "
        f"({SECOND_DELIVERY} AS lastupdatedate, NULL AS sharewithresearchasofdate) "
        f"FROM customer_landing WHERE email = '{ANN}' LIMIT 1"
    )
    assert pipeline.violations() == {
        "consent of customer_trusted": 1,
        "consent of accelerometer_trusted": 10,
        "consent of customers_curated": 1,
        "consent of step_trainer_trusted": 11,
        "consent of machine_learning_curated": 10,
    }


# Serial numbers


@pytest.mark.parametrize(
    "change",
    [
        "matched = 4, readings = 4, runner_up_matched = 0",
        "readings = 12",
        "runner_up_matched = 10",
        "matched = NULL",
    ],
    ids=["too few matches", "too small a share", "tie", "unknown"],
)
def test_device_that_shared_readings_do_not_prove_is_found(pipeline: Pipeline, change: str) -> None:
    pipeline.execute(f"UPDATE device_ownership SET {change} WHERE serialnumber = 'd'")
    assert pipeline.violations() == {"serial_numbers of device_ownership": 1}


@pytest.mark.parametrize(
    "device_row",
    [
        f"('claimed by two', '{ANN}', 'sole_claim', 2, 0, 0)",
        f"('claimed by nobody', '{ANN}', 'sole_claim', 1, 0, 0)",
        f"('g', '{ANN}', 'sole_claim', 10, 0, 0)",
        f"('g', '{DEE}', 'sole_claim', 10, 0, 5)",
    ],
    ids=["claimed by two", "claimed by nobody", "claimed by another", "another's readings"],
)
def test_device_that_no_sole_claim_proves_is_found(pipeline: Pipeline, device_row: str) -> None:
    pipeline.execute(f"INSERT INTO device_ownership VALUES {device_row}")
    assert pipeline.violations() == {"serial_numbers of device_ownership": 1}


@pytest.mark.parametrize(
    ("plant", "violations"),
    [
        ("INSERT INTO device_matches FROM device_matches WHERE serialnumber IN ('e', 'f')", 3),
        (f"UPDATE device_matches SET matched = 12 WHERE serialnumber = 'd' AND user = '{ANN}'", 1),
        (f"UPDATE device_matches SET matched = NULL WHERE user = '{CY}'", 1),
        (f"INSERT INTO device_matches VALUES ('unseen', '{ANN}', 1)", 1),
    ],
    ids=["pairs listed twice", "more than the device has times", "unknown", "no such device"],
)
def test_matches_that_cannot_be_are_found(pipeline: Pipeline, plant: str, violations: int) -> None:
    pipeline.execute(plant)
    assert pipeline.violations() == {"serial_numbers of device_matches": violations}


@pytest.mark.parametrize(
    ("mistake", "found"),
    [
        (f"DELETE FROM device_matches WHERE user = '{GUEST}' AND serialnumber = 'g'", 1),
        (f"UPDATE device_matches SET matched = 11 WHERE serialnumber = 'd' AND user = '{ANN}'", 1),
        ("DELETE FROM device_matches WHERE serialnumber = 'd' AND matched < 10", 1),
    ],
    ids=["rival is missing", "too many", "runner-up is missing"],
)
def test_proof_of_wrong_matches_is_found(pipeline: Pipeline, mistake: str, found: int) -> None:
    pipeline.execute(mistake)
    pipeline.make("device_ownership")
    assert pipeline.violations()["serial_numbers of device_ownership"] == found


def test_device_listed_twice_is_found(pipeline: Pipeline) -> None:
    pipeline.execute(
        "INSERT INTO device_ownership FROM device_ownership WHERE serialnumber IN ('d', 'h')"
    )
    assert pipeline.violations() == {"serial_numbers of device_ownership": 2}


def test_owner_whose_phone_does_not_have_the_matches_is_found(pipeline: Pipeline) -> None:
    pipeline.execute(
        "UPDATE device_ownership SET email = "
        f"CASE serialnumber WHEN 'd' THEN '{BOB}' ELSE '{ANN}' END WHERE serialnumber IN ('d', 'e')"
    )
    assert pipeline.violations()["serial_numbers of device_ownership"] == 2


@pytest.mark.parametrize(
    "readings",
    [
        "INSERT INTO accelerometer_landing "
        f"SELECT {at(0)} + i, 0, 0, 0, '{GUEST}', NULL, '{GUEST}', 'a', 0 FROM range(10) t(i)",
        "INSERT INTO step_trainer_landing "
        f"SELECT {at(1000)} + i, 'd', 1, 'a', 0 FROM range(9) t(i)",
    ],
    ids=["another user has as many matches", "the device has more times"],
)
def test_proof_that_the_readings_do_not_bear_out_is_found(
    pipeline: Pipeline, readings: str
) -> None:
    pipeline.execute(readings)
    assert pipeline.violations() == {"serial_numbers of device_ownership": 1}


def test_readings_of_a_withheld_device_are_found(pipeline: Pipeline) -> None:
    pipeline.execute(
        f"INSERT INTO step_trainer_trusted {LANDED} WHERE serialnumber = 'claimed by two'"
    )
    assert pipeline.violations() == {
        "consent of step_trainer_trusted": 2,
        "serial_numbers of step_trainer_trusted": 2,
    }


def test_readings_of_a_device_whose_owner_is_not_curated_are_found(pipeline: Pipeline) -> None:
    pipeline.execute(f"INSERT INTO step_trainer_trusted {LANDED} WHERE serialnumber = 'h'")
    assert pipeline.violations() == {"serial_numbers of step_trainer_trusted": 1}


@pytest.mark.parametrize(
    "change",
    ["x = 2.0", "x = NULL", "distancefromobject = 20.0", "distancefromobject = NULL"],
)
def test_training_row_with_another_persons_reading_of_the_same_millisecond_is_found(
    pipeline: Pipeline, change: str
) -> None:
    pipeline.execute(
        f"UPDATE machine_learning_curated SET {change} "
        f"WHERE sensorreadingtime = {at(6)} AND subject_id = '{subject_id(ANN)}'"
    )
    assert pipeline.violations() == {"serial_numbers of machine_learning_curated": 1}


def test_join_on_time_alone_is_found(pipeline: Pipeline) -> None:
    pipeline.execute("DELETE FROM machine_learning_curated")
    pipeline.execute(
        "INSERT INTO machine_learning_curated SELECT "
        f"CASE s.serialnumber WHEN 'd' THEN '{subject_id(ANN)}' ELSE '{subject_id(BOB)}' END, "
        "sensorreadingtime, distancefromobject, x, y, z "
        "FROM step_trainer_trusted s JOIN accelerometer_trusted ON sensorreadingtime = timestamp"
    )
    of_others = 2 * len(range(5, 10))  # BOB's phone with d, ANN's with e
    assert pipeline.violations() == {"serial_numbers of machine_learning_curated": of_others}


def test_training_row_at_a_time_without_readings_counts_once(pipeline: Pipeline) -> None:
    pipeline.execute(
        f"INSERT INTO machine_learning_curated VALUES ('{subject_id(ANN)}', {at(99)}, 10, 1, 0, 0)"
    )
    assert pipeline.violations() == {"serial_numbers of machine_learning_curated": 1}


def test_every_trusted_and_curated_table_has_its_rules() -> None:
    with_consent = {table.name for table in DERIVED if table.consent}
    # The others name people without consent.
    assert with_consent == {table.name for table in DERIVED} - {
        "device_matches",
        "device_ownership",
    }
    assert {table.name for table in DERIVED if table.still_consenting} == with_consent
    # A pair of device_matches is no row of another table.
    assert {table.name for table in DERIVED if not table.account} == {"device_matches"}
    assert {table.name for table in DERIVED if table.serial_numbers} == {
        "device_matches",
        "device_ownership",
        "step_trainer_trusted",
        "machine_learning_curated",
    }


# Accounts


def test_accounts_say_where_every_row_went(pipeline: Pipeline) -> None:
    assert pipeline.accounts() == {
        "customer_trusted": {
            KEPT: 3,
            "no research consent": 2,
            "older record of the same person": 3,
        },
        "accelerometer_trusted": {
            KEPT: 21,
            "no research consent": 11,
            "user is no customer": 6,
            "serial number claimed by several e-mails": 1,
            "serial number claimed by nobody": 1,
        },
        "customers_curated": {KEPT: 2, "no accelerometer reading": 1},
        "device_ownership": {
            KEPT: 4,
            "claimed by nobody, readings prove no owner": 1,
            "claimed by several e-mails, readings prove no owner": 1,
            "readings speak against the only claim": 1,
        },
        "step_trainer_trusted": {
            KEPT: 21,
            "nobody is proven to own the device": 13,
            "owner does not consent or has no readings": 11,
        },
        "machine_learning_curated": {KEPT: 20, "no phone reading at that time": 1},
    }


def test_accounts_from_the_consent_date_name_readings_before_it(
    from_consent_date: Pipeline,
) -> None:
    accounts = from_consent_date.accounts()
    assert accounts["accelerometer_trusted"][KEPT] == 17
    assert accounts["accelerometer_trusted"]["before the consent date"] == 4
    assert sum(accounts["accelerometer_trusted"].values()) == len(PHONES)
    assert accounts["step_trainer_trusted"][KEPT] == 17
    assert sum(accounts["step_trainer_trusted"].values()) == len(STEPS)
    assert accounts["machine_learning_curated"] == {KEPT: 16, "no phone reading at that time": 1}


ACCOUNTED = [table.name for table in DERIVED if table.account]


# device_ownership is left out: its account can only go by the table itself.
@pytest.mark.parametrize("table", [name for name in ACCOUNTED if name != "device_ownership"])
@pytest.mark.parametrize(
    ("plant", "off"),
    [
        ("DELETE FROM {t} WHERE rowid = (SELECT min(rowid) FROM {t})", 1),
        ("INSERT INTO {t} FROM {t} LIMIT 1", -1),
    ],
    ids=["lost", "repeated"],
)
def test_lost_or_repeated_row_unbalances_the_account(
    pipeline: Pipeline, table: str, plant: str, off: int
) -> None:
    pipeline.execute(plant.format(t=table))
    [(rows,)] = pipeline.execute(f"SELECT count(*) FROM {table}")
    assert pipeline.accounts()[table][KEPT] - rows == off


def test_lost_device_shows_as_withheld(pipeline: Pipeline) -> None:
    pipeline.execute("DELETE FROM device_ownership WHERE serialnumber = 'd'")
    account = pipeline.accounts()["device_ownership"]
    assert (account[KEPT], account["readings speak against the only claim"]) == (3, 2)


def test_repeated_device_unbalances_the_account(pipeline: Pipeline) -> None:
    pipeline.execute("INSERT INTO device_ownership FROM device_ownership WHERE serialnumber = 'd'")
    assert pipeline.accounts()["device_ownership"][KEPT] == 4
