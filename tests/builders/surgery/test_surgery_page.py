"""Every example on the page about surgery runs."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "surgery.md"


@pytest.mark.slow
def test_the_code_of_the_surgery_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 8
    names = {}
    for block in blocks:
        exec(compile(block, "docs/surgery.md", "exec"), names)
    shown = capsys.readouterr().out
    assert "260 variables restored; 2 of other shape" in shown
    assert "stage 1" in shown
