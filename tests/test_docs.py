"""The documents tell the truth: their code runs, and the command's options are those that they name."""

import re
from pathlib import Path

import pytest

from builders.backbones.registry import APPLICATIONS, BACKBONES
from recommender.cli import main
from recommender.cli.older_spellings import OLDER_SPELLINGS

ROOT = Path(__file__).parent.parent


def test_the_code_of_the_surgery_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "surgery.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 8
    names = {}
    for block in blocks:
        exec(compile(block, "docs/surgery.md", "exec"), names)
    shown = capsys.readouterr().out
    assert "260 variables restored; 2 of other shape" in shown
    assert "stage 1" in shown


@pytest.mark.parametrize("page", ["README.md", "docs/checks.md", "docs/method.md", "docs/surgery.md"])
def test_options_that_are_named_exist(page):
    commands = (main, *main.commands.values())
    options = {option for command in commands for parameter in command.params for option in parameter.opts}
    options |= {"--help", *OLDER_SPELLINGS}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / page).read_text(encoding="utf-8")))
    assert named <= options


def test_backbones_that_the_readme_names_exist():
    named = re.findall(r"--backbone ([a-z0-9_.]+)\b(?!/)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {name for name in named if "." not in name} <= set(APPLICATIONS) | set(BACKBONES)
    assert {"resnet50", "inception_v3"} <= set(named)
