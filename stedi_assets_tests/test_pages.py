"""The pages say what the code says, lead somewhere, and the README is short."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs import generate
from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.settings import PROJECT, Settings

OURS = [
    folder
    for folder in PROJECT.iterdir()
    if folder.is_dir() and folder.name[0] != "." and folder.name not in {"build", "lakehouse"}
]
PAGES = sorted([*PROJECT.glob("*.md"), *(page for folder in OURS for page in folder.rglob("*.md"))])

every_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(PROJECT)) for page in PAGES]
)


def prose(page: Path) -> str:
    """A page without its blocks of code, in which brackets are no links."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\s-]", "", text).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


def test_readme_is_read_in_some_minutes() -> None:
    readme = (PROJECT / "README.md").read_text()
    assert len(readme.splitlines()) <= 120
    assert len(readme.split()) <= 1_000


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", prose(page), re.MULTILINE)
    for link in (inline or defined for inline, defined in links):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(PROJECT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_settings_and_targets_that_pages_name_exist(page: Path) -> None:
    text = page.read_text()
    settings = {f"STEDI_{name}".upper() for name in Settings.model_fields}
    assert set(re.findall(r"STEDI_[A-Z0-9_]*[A-Z0-9]", text)) <= settings
    targets = re.findall(r"^([a-z0-9-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^\$ |`|&& )make ([a-z0-9-]+)", text, re.MULTILINE)) <= set(targets)


def test_pages_that_the_code_names_exist() -> None:
    sources = (
        file
        for folder in OURS
        for file in folder.rglob("*")
        if file.is_file() and file.suffix in {".py", ".yaml", ".env", ".txt", ""}
    )
    named = {
        name
        for source in sources
        for name in re.findall(r"\b(?:docs|deploy|benchmarks)/[\w-]+\.md", source.read_text())
    }
    assert "docs/settings.md" in named
    assert [name for name in named if not (PROJECT / name).exists()] == []


# What is written from the code


def test_pages_are_as_the_code_says() -> None:
    assert generate.outdated() == [], "run make docs"


def test_page_that_is_out_of_date_is_named_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for page in generate.BLOCKS:
        shutil.copy(generate.DOCS / page, tmp_path)
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    settings = tmp_path / "settings.md"
    right = settings.read_text()
    settings.write_text(right.replace("| STEDI_RETENTION |", "| STEDI_DETENTION |"))

    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    with pytest.raises(SystemExit) as stopped:
        generate.main()
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert said == "Out of date: docs/settings.md. Run make docs, and commit what it writes.\n"

    monkeypatch.setattr(sys, "argv", ["generate"])
    generate.main()
    assert settings.read_text() == right


def test_every_check_is_on_the_page_of_tables(tmp_path: Path) -> None:
    definitions = lakehouse_definitions(Settings.load(lakehouse=str(tmp_path)))
    checks = {key.name for key in definitions.resolve_asset_graph().asset_check_keys}
    page = (PROJECT / "docs/tables.md").read_text()
    _, section = page.split("\n## Checks\n")
    rows = re.findall(r"^\| (\w+) \|", section.partition("\n## ")[0], re.MULTILINE)
    assert set(rows) - {"check"} == checks


# Habits


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed.")
def test_make_help_lists_every_target() -> None:
    said = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^make ([a-z0-9-]+) +\w", said.stdout, re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(phony.split())


def test_constraints_name_a_version_that_will_do_for_each_dependency() -> None:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[^\s;]+( ; .+)?", line)] == []
    versions = {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", "\n".join(lines), re.MULTILINE)
    }
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = [Requirement(text) for group in groups for text in group]
    for one in asked:
        name = canonicalize_name(one.name)
        if name != project["name"]:
            assert one.specifier.contains(versions[name]), one
