"""Who may import whom, and what must not be imported early."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("probes", "builders", "recommender")
ALLOWED = {"probes": {"probes"}, "builders": {"builders"}, "recommender": {"probes", "builders", "recommender"}}
HEAVY = {"tensorflow", "keras", "tensorflow_hub", "tf_keras", "sklearn"}


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_in_the_direction_of_the_data(package):
    for path in modules(package):
        roots = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))} & set(PACKAGES)
        assert roots <= ALLOWED[package], path


@pytest.mark.parametrize("name", ["scenario_rule.py", "cut_rule.py", "thresholds.py", "scenario.py"])
def test_the_rules_are_pure(name):
    tree = ast.parse((ROOT / "recommender" / "rules" / name).read_text())
    roots = {module.split(".")[0] for module in imported(tree)}
    assert roots <= {"recommender", "numpy", "math", "enum", "dataclasses", "collections"}


@pytest.mark.parametrize("name", ["drift.py", "score.py", "reference/__init__.py"])
def test_statistics_need_numpy_alone(name):
    tree = ast.parse((ROOT / "probes" / "similarity" / name).read_text())
    assert not {module.split(".")[0] for module in imported(tree)} & HEAVY


@pytest.mark.parametrize(
    "code",
    [
        "import recommender, probes, builders",
        "import recommender.cli, builders.backbones.registry, builders.strategy, probes.data.image_index",
        "import recommender.pipeline.make_reference, builders.graph.cut_search, builders.saved_model.safe_ops",
        "import click.testing, recommender.cli as c; click.testing.CliRunner().invoke(c.main, ['--help'])",
        "import click.testing, recommender.cli as c; click.testing.CliRunner().invoke(c.main, ['--list-backbones'])",
        "import click.testing, recommender.cli as c; click.testing.CliRunner().invoke(c.main, ['--seed', '-1', 'x'])",
        "import click.testing, recommender.cli as c; click.testing.CliRunner().invoke(c.main, ['no such folder'])",
    ],
)
def test_tensorflow_is_not_imported_before_it_is_needed(code):
    check = f"{code}\nimport sys\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip().endswith("[]")
