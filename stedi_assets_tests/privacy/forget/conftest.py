"""What the tests of `stedi forget` share."""

import json
from pathlib import Path

import pytest

from stedi_assets.privacy.training_sets import TRAINING_SET, tag_training_set
from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.privacy.forget.support import (
    ANN,
    BOB,
    CY,
    ED,
    LANDING,
    PEOPLE,
    deliver_people,
    record,
    serial,
    words_of,
)
from stedi_assets_tests.support import (
    blocking,
    catalog_of,
    device,
    refresh,
    under,
    write,
)


def deliver_several_states(folder: Path) -> None:
    """A lakehouse with several states: a tag, two refreshes, quarantine that names several."""
    deliver_people(folder / LANDING, *PEOPLE)
    settings = under(folder)
    assert refresh(settings).success
    published = catalog_of(settings).published(TRAINING_SET)
    assert published
    tag_training_set(catalog_of(settings), published)
    deliver_people(folder / LANDING, ANN, BOB, name="second.json", lastupdatedate=5)
    broken = json.dumps({**record(CY), "lastupdatedate": "soon"})
    both = f'{{"email": "{ANN}", "email": "{ED}", "phone": "{words_of(ANN)["phone"]}"'
    write(folder / LANDING, "customer", "broken.json", f"{broken}\n{both}")
    lost = f'{{"serialnumber": "{serial(ANN)}", "distancefromobject": 1.0}}\n'
    fine = [*device(serial(BOB), *range(150, 180))]
    text = lost + "".join(json.dumps(one) + "\n" for one in fine)
    write(folder / LANDING, "step_trainer", "broken.json", text)
    assert set(blocking(refresh(settings))) == {"readable", "all_files"}


@pytest.fixture
def folder(lakehouses: Lakehouses) -> Path:
    return lakehouses.as_made(deliver_several_states)


@pytest.fixture
def settings(folder: Path) -> Settings:
    return under(folder)
