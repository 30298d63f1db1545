"""The report as one page that needs nothing but itself, in HTML and in Markdown."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stedi_assets.privacy.risk import Attack
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
    overview: dict[str, Any],
    pictures: Sequence[DrawnPicture],
    missing: Sequence[MissingPicture],
    attacks: Sequence[Attack] = (),
) -> str:
    """The page as HTML.

    Args:
        overview: What `status` tells of the lakehouse.
        pictures: The pictures to show.
        missing: The pictures that cannot be drawn.
        attacks: How many people of the training set were recognized, and how.
    """
    published = [entry["published"]["at"] for entry in overview["tables"] if entry["published"]]
    return _TEMPLATES.get_template("page.html.jinja").render(
        overview=overview,
        refreshed=max(published, default=None),
        pictures=pictures,
        missing=missing,
        attacks=attacks,
    )


def page_as_markdown(
    overview: dict[str, Any],
    pictures: Sequence[DrawnPicture],
    missing: Sequence[MissingPicture],
    attacks: Sequence[Attack] = (),
) -> str:
    """The page as Markdown, for where HTML is not drawn.

    Its pictures are light: in Markdown they cannot follow the theme.

    Args:
        overview: What `status` tells of the lakehouse.
        pictures: The pictures to show.
        missing: The pictures that cannot be drawn.
        attacks: How many people of the training set were recognized, and how.
    """
    return _TEMPLATES.get_template("page.md.jinja").render(
        overview=overview,
        pictures=[*map(picture_as_markdown, pictures)],
        missing=missing,
        attacks=attacks,
    )


def picture_as_markdown(drawn: DrawnPicture) -> Markup:
    """A picture with its title and sentence, as Markdown."""
    picture = drawn.picture
    alt, sentence = _escaped(picture.alt), _escaped(picture.sentence)
    return Markup(f"**{_escaped(picture.title)}**\n\n![{alt}]({drawn.light})\n\n{sentence}")


def _escaped(text: str) -> str:
    return "".join(f"\\{sign}" if sign in r"\`*_[]<>&!" else sign for sign in text)
