"""The documents tell the truth: their code runs, and the command's options are those that they name."""

import re
from pathlib import Path

import pytest

from builders.backbones.registry import BACKBONES
from recommender.cli.recommend import main

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", ["README.md", "docs/checks.md", "docs/method.md", "docs/surgery.md"])
def test_options_that_are_named_exist(page):
    options = {option for parameter in main.params for option in parameter.opts} | {"--help"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / page).read_text(encoding="utf-8")))
    assert named <= options


def test_backbones_that_the_readme_names_exist():
    named = re.findall(r"--backbone ([a-z0-9_.]+)\b(?!/)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {name for name in named if "." not in name} <= set(BACKBONES)
    assert {"resnet50", "inception_v3"} <= set(named)
