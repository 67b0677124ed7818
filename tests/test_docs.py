"""The documents are true: their code runs, and the commands, options, files and networks that they name exist."""

import re

import click
import pytest
from paths import ROOT

from builders.backbones.registry import BACKBONES
from recommender.cli import main

PAGES = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
DATED = {"CHANGELOG.md"}  # names what was


def text(page):
    return (ROOT / page).read_text(encoding="utf-8")


def commands():
    context = click.Context(main)
    return {name: main.get_command(context, name) for name in main.list_commands(context)}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DATED])
def test_options_that_are_named_exist(page):
    options = {option for command in commands().values() for parameter in command.params for option in parameter.opts}
    of_others = {"--cov", "--no-deps", "--no-isolation", "--results"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text(page))) <= options | {"--help"} | of_others


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?://)([^)#]+)", text(page))
    assert not [link for link in links if not ((ROOT / page).parent / link).exists()]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DATED])
def test_modules_that_are_named_exist(page):
    named = set(re.findall(r"`((?:recommender|builders|probes|tests|benchmarks|examples)/[\w/.]+)`", text(page)))
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_readme_names_every_command():
    named = set(re.findall(r"^\| `recommend (\w+)", text("README.md"), flags=re.MULTILINE))
    assert named == set(commands()) - {"recommend"} - {"data"} | {"DATA"}


def test_backbones_that_the_readme_names_exist():
    named = re.findall(r"--backbone ([a-z0-9_.]+)\b(?![/:])", text("README.md"))
    assert {name for name in named if "." not in name} <= {*BACKBONES, "auto"}
    assert {"resnet50", "inception_v3"} <= set(named)
