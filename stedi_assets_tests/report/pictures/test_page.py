"""The page of the report shows nothing of a single person."""

import re
from html.parser import HTMLParser

from stedi_assets.read import read_table
from stedi_assets.report.page import page
from stedi_assets.report.pictures import MissingPicture, Picture
from stedi_assets.report.status import status
from stedi_assets.settings import Settings
from stedi_assets_tests.report.pictures.support import assert_secret


class Page(HTMLParser):
    """What a page is made of; fails where an element is closed that is not open."""

    VOID = {"meta", "img", "source", "br", "link"}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]


def test_page_is_well_formed_and_says_what_its_pictures_show(
    html: str, made: dict[str, Picture]
) -> None:
    found = Page(html)
    [root], images = found.all("html"), found.all("img")
    assert root["lang"] == "en"
    assert [image["alt"] for image in images] == [picture.alt for picture in made.values()]
    assert len(found.all("source")) == len(found.all("figure")) == len(images)
    headings = [tag for tag, _ in found.found if re.fullmatch("h[1-6]", tag)]
    assert headings[:3] == ["h1", "h2", "h2"]
    assert headings[-1] == "h2"  # who can be recognized
    assert set(headings[3:-1]) == {"h3"}
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in found.all(
        "meta"
    )


def test_page_needs_nothing_but_itself(html: str) -> None:
    found = Page(html)
    assert found.all("script", "link", "iframe", "object") == []
    addresses = [
        attributes[name]
        for _, attributes in found.found
        for name in ("src", "srcset", "href")
        if name in attributes
    ]
    assert {str(address).split(";", maxsplit=1)[0] for address in addresses} == {
        "data:image/svg+xml"
    }
    assert "http" not in re.sub(r"data:image/\S+", "", html)


def test_page_tells_the_state_of_the_lakehouse(html: str, settings: Settings) -> None:
    for entry in status(settings)["tables"]:
        assert entry["table"] in html
        assert str(entry["published"]["snapshot"]) in html
    assert "Consent scope: any" in html


def test_nothing_of_a_person_is_on_the_page(html: str, settings: Settings) -> None:
    assert_secret(html)
    [subject] = read_table("machine_learning_curated", settings=settings).subject_id.to_pandas()[:1]
    assert subject not in html


def test_what_a_page_is_given_stays_text(settings: Settings) -> None:
    found = page(status(settings), [], [MissingPicture("<script>", "Nothing & nobody.")])
    assert "&lt;script&gt;: Nothing &amp; nobody." in found
