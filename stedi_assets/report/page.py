"""The pictures as one page that needs nothing but itself."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from stedi_assets.report.charts import DrawnPicture
from stedi_assets.report.pictures import MissingPicture

_TEMPLATES = Environment(
    loader=PackageLoader("stedi_assets.report", package_path=""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(
    overview: dict[str, Any], pictures: Sequence[DrawnPicture], missing: Sequence[MissingPicture]
) -> str:
    """The page as HTML.

    Args:
        overview: What `status` tells of the lakehouse.
        pictures: The pictures to show.
        missing: The pictures that cannot be drawn.
    """
    published = [entry["published"]["at"] for entry in overview["tables"] if entry["published"]]
    return _TEMPLATES.get_template("page.html.jinja").render(
        overview=overview,
        refreshed=max(published, default=None),
        pictures=pictures,
        missing=missing,
    )
