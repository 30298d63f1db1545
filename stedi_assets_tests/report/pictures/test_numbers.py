"""What the pictures show."""

from xml.etree import ElementTree

from stedi_assets.report.charts import Theme, svg
from stedi_assets.report.figures import Bars, Histogram, History, Timeline
from stedi_assets.report.pictures import Picture
from stedi_assets.settings import Settings
from stedi_assets_tests.report.pictures.support import drawn, numbers
from stedi_assets_tests.support import (
    TABLES,
    counts,
)


def test_funnel_counts_people_at_each_step(made: dict[str, Picture]) -> None:
    picture = made["From customers to the training set"]
    assert isinstance(picture.numbers, Bars)
    assert list(picture.numbers.counts.items()) == [
        ("customers", 9),
        ("consenting", 8),
        ("with readings", 6),
        ("with a proven device", 5),
        ("in the training set", 5),
    ]
    assert picture.sentence.startswith("Of 9 customers 8 (89%) consent to research, and 5 are")


def test_devices_are_counted_by_proof(made: dict[str, Picture]) -> None:
    found = numbers(made, "Devices by proof of ownership")
    assert found.counts == {"shared_readings": 6, "sole_claim": None, "withheld": None}


def test_groups_of_fewer_than_five_people_are_not_shown(made: dict[str, Picture]) -> None:
    devices = made["Devices by proof of ownership"]
    assert "fewer than 5 by a sole claim" in devices.sentence
    assert devices.rows[1:] == [("sole_claim", "fewer than 5"), ("withheld", "fewer than 5")]
    image = svg(devices.numbers, Theme.LIGHT).decode()
    assert "fewer than 5" in "".join(ElementTree.fromstring(image).itertext())


def test_readings_are_counted_by_hour_and_source(made: dict[str, Picture]) -> None:
    found = numbers(made, "Readings over time")
    assert isinstance(found, Timeline)
    assert found.counts == {"accelerometer": (60, 10, 0), "step trainer": (60, 0, 2)}


def test_distributions_are_those_of_the_training_set(made: dict[str, Picture]) -> None:
    found = numbers(made, "Distance from object")
    assert isinstance(found, Histogram)
    assert (found.edges, found.counts) == ((199.5, 200.5), (50,))
    assert numbers(made, "Acceleration along x").edges == (0.0, 1.0)
    people = numbers(made, "Readings per person in the training set")
    assert (people.edges, people.counts) == ((9.5, 10.5), (5,))


def test_quarantine_is_counted_by_source_and_reason(made: dict[str, Picture]) -> None:
    [(reason, rows)] = numbers(made, "Quarantine by reason").counts.items()
    assert (reason.split(":")[0], rows) == ("customer", 1)


def test_rows_of_each_table_are_those_published(
    made: dict[str, Picture], settings: Settings
) -> None:
    for table, rows in counts(settings).items():
        found = numbers(made, f"Rows of {table}")
        assert isinstance(found, History)
        assert found.rows == (rows,), table


def test_each_picture_is_for_the_tables_it_says_something_of(made: dict[str, Picture]) -> None:
    shown = {
        table: [title for title, picture in made.items() if table in picture.tables]
        for table in TABLES
    }
    funnel, distance = "From customers to the training set", "Distance from object"
    axes = [f"Acceleration along {axis}" for axis in "xyz"]
    wanted = {
        "customer_trusted": [funnel],
        "customers_curated": [funnel],
        "device_ownership": ["Devices by proof of ownership"],
        "accelerometer_landing": ["Readings over time"],
        "step_trainer_landing": ["Readings over time"],
        "step_trainer_trusted": [distance],
        "accelerometer_trusted": axes,
        "machine_learning_curated": [
            funnel,
            "Readings per person in the training set",
            distance,
            *axes,
        ],
        "quarantine": ["Quarantine by reason"],
    }
    assert shown == {table: [*wanted.get(table, []), f"Rows of {table}"] for table in TABLES}


def test_pictures_are_well_formed_and_small_in_both_themes(
    html: str, made: dict[str, Picture]
) -> None:
    images = drawn(html)
    assert len(images) == 2 * len(made)
    for image in images:
        ElementTree.fromstring(image)
        assert len(image) < 40_000
    for theme in Theme:
        background = f"fill: {theme.value.background}"
        assert sum(background in image for image in images) >= len(made)


def test_same_numbers_give_the_same_picture(made: dict[str, Picture]) -> None:
    over_time = made["Readings over time"].numbers
    assert svg(over_time, Theme.LIGHT) == svg(over_time, Theme.LIGHT)


def test_text_of_a_picture_is_text_with_separators() -> None:
    image = svg(Bars("people", {"customers": 1_234_567}), Theme.DARK).decode()
    texts = "".join(ElementTree.fromstring(image).itertext())
    assert "1,234,567" in texts
    assert "people" in texts


def test_alternative_text_tells_the_numbers(made: dict[str, Picture]) -> None:
    alt = made["Devices by proof of ownership"].alt
    assert alt.startswith("Bar chart: Devices by proof of ownership. Of the devices that sent")
