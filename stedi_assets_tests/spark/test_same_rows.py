"""Both engines make the same rows of whatever lands, in every table."""

from pathlib import Path

import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stedi_assets.lakehouse.embedded import DuckDBEngine
from stedi_assets.lakehouse.storage import LocalStorage
from stedi_assets.sample import Sample, write_sample
from stedi_assets.settings import Settings
from stedi_assets_tests.lakehouse.test_reader import CLEAN, SURPRISES, behind, json_objects, lines
from stedi_assets_tests.strategies import Landing, landings
from stedi_assets_tests.support import TABLES, catalog_of, deliver, refresh, under

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
EXAMPLES = 40


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real landing data where there are, every known defect, and what hypothesis thinks of."""
    folder = tmp_path_factory.mktemp("landing")
    for path in SHARED.glob("stedi-20*/*/landing/*"):
        year, source = path.parts[-4], path.parts[-3]
        link = folder / source / "landing" / f"{year}-{path.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    write_sample(folder / "sample", Sample(customers=30))
    for path in (folder / "sample").glob("*/landing/*"):
        path.rename(folder / path.relative_to(folder / "sample").with_name(f"sample-{path.name}"))
    (folder / "accelerometer" / "landing" / "{odd} [name] 100%.json").write_bytes(
        lines(CLEAN["accelerometer"])
    )
    for number, surprise in enumerate(SURPRISES.values()):
        file = folder / "accelerometer" / "landing" / f"surprise-{number}.json"
        file.write_bytes(behind(CLEAN["accelerometer"], surprise))
    _draw(folder)
    return folder


def _draw(folder: Path) -> None:
    """Write what hypothesis draws: landing data of hard cases, and objects of odd values."""
    number = iter(range(1_000_000))

    @hypothesis_settings(
        max_examples=EXAMPLES, phases=[Phase.generate], database=None, derandomize=True
    )
    @given(landings(), st.sampled_from(sorted(CLEAN)).flatmap(_odd))
    def draw(drawn: Landing, odd: tuple[str, list[str]]) -> None:
        name = f"drawn-{next(number)}.json"
        deliver(
            folder,
            name,
            customer=drawn.customers,
            accelerometer=drawn.accelerometer,
            step_trainer=drawn.step_trainer,
        )
        (folder / odd[0] / "landing" / f"odd-{name}").write_bytes(lines(*odd[1]))

    draw()


def _odd(source: str) -> st.SearchStrategy[tuple[str, list[str]]]:
    return st.tuples(st.just(source), st.lists(json_objects(source), max_size=4))


@pytest.mark.parametrize(
    ("scope", "pseudonymize"), [("any", True), ("from_consent_date", False)], ids=["any", "date"]
)
def test_engines_make_the_same_rows(
    tmp_path: Path, landing: Path, spark: str, scope: str, pseudonymize: bool
) -> None:
    given = {
        "landing": str(landing),
        "max_quarantine_share": 1,
        "consent_scope": scope,
        "pseudonymize": pseudonymize,
    }
    here = under(tmp_path / "duckdb", **given)
    there = under(tmp_path / "spark", engine="spark", spark_conf=spark, **given)
    for settings in (here, there):
        result = refresh(settings)
        assert result.success
        assert all(check.passed for check in result.get_asset_check_evaluations())
    assert differing(here, there, tmp_path) == {}


def differing(first: Settings, second: Settings, scratch: Path) -> dict[str, int]:
    """Tables whose rows differ between two lakehouses, and how many rows do."""
    engine = DuckDBEngine(LocalStorage(scratch))
    found = {}
    for name in TABLES:
        a, b = (
            engine.open(f"{name}_{side}", published.files, published.types)
            for side, settings in enumerate((first, second))
            if (published := catalog_of(settings).published(name))
        )
        only = a.difference(b, distinct=False).union(b.difference(a, distinct=False))
        if rows := only.count().execute():
            found[name] = rows
    return found
