"""The documents are true: the commands, options, files, names and networks that they name exist."""

import ast
import re
import shlex

import click
import pytest
from paths import ROOT

import netgraft
from builders.backbones.registry import BACKBONES
from recommender.cli.recommend import main

PAGES = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DATED = {"CHANGELOG.md"}  # names what was


def text(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    """The code on a page, without the indentation that a list gives it."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text(page), flags=re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def commands():
    context = click.Context(main)
    return {name: main.get_command(context, name) for name in main.list_commands(context)}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DATED])
def test_options_that_are_named_exist(page):
    options = {option for command in commands().values() for parameter in command.params for option in parameter.opts}
    of_others = {"--address", "--cov", "--no-deps", "--no-isolation", "--results"}
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


def test_the_readme_is_short():
    assert len(text("README.md").splitlines()) <= 120


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DATED])
def test_commands_are_understood_as_they_are_shown(page):
    lines = re.findall(r"^(?:\$ |.*\| )?recommend ([^|>\n]+)", "\n".join(blocks(page, "(?:sh|text)")), re.MULTILINE)
    for name, *arguments in (shlex.split(line, comments=True) for line in lines):
        named = name in commands()
        commands()[name if named else "recommend"].make_context(name, arguments if named else [name, *arguments])


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DATED])
def test_backbones_that_are_named_exist(page):
    named = re.findall(r"--backbone ([a-z0-9_.]+)\b(?![/:])", text(page))
    assert {name for name in named if not name.endswith(".keras")} <= {*BACKBONES, "auto"}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DATED])
def test_python_names_of_netgraft_exist(page):
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "netgraft":
                assert node.attr in dir(netgraft)
            if isinstance(node, ast.ImportFrom) and node.module in ("netgraft", "builders", "recommender"):
                assert {name.name for name in node.names} <= set(dir(netgraft))


def test_the_reference_has_every_public_name():
    named = re.findall(r"^::: [\w.]+\.(\w+)$", text("docs/reference/python.md"), flags=re.MULTILINE)
    assert set(netgraft.__all__) <= set(named)


def test_the_navigation_has_every_page():
    shown = set(re.findall(r"[\w/-]+\.md$", text("mkdocs.yml"), flags=re.MULTILINE))
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert shown == pages | {"contributing.md", "changelog.md"}
