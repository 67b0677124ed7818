"""The structure: who may import whom, how large a folder may be, and what must not be imported early."""

import ast
import subprocess
import sys
from functools import cache

import pytest
from paths import ROOT

import builders
import netgraft
import recommender
from builders.graph_segment import GraphSegment

PACKAGES = ("netgraft", "probes", "builders", "recommender")
MAY_IMPORT = {
    "probes": {"probes"},
    "builders": {"builders"},
    "recommender": {"probes", "builders", "recommender"},
    "netgraft": {"builders", "recommender"},
}
# From below to above. A folder, or a module that lies directly in a package, imports only from itself and from below.
LAYERS = {
    "probes": (
        "errors", "user_directory", "native_logs", "cores", "data", "images", "data.sources", "network", "evaluation",
        "separability", "similarity", "quality", "quality.checks", "measurements",
    ),
    "builders": (
        "errors", "strategy", "graph", "checkpoints", "saved_model", "graph_segment", "surgery", "backbones", "build",
        "training", "export",
    ),
    "recommender": (
        "errors", "limits", "progress", "versions", "atomic_files", "rules", "pipeline", "explanation", "json_records",
        "plots",
        "fit", "comparison", "prediction", "cluster", "reports", "saving", "recommendation", "cli",
    ),
}  # fmt: skip
MOST_MODULES = 14
EXTRAS = {"ray", "pyarrow"}
HEAVY = {"tensorflow", "keras", "tensorflow_hub", "tf_keras", "sklearn"}
TENSORFLOW = {  # folders, and single modules, that may import it at the top
    "builders.backbones",
    "builders.build",
    "builders.checkpoints",
    "builders.export",
    "builders.graph",
    "builders.saved_model",
    "builders.surgery",
    "builders.training",
    "recommender.comparison.shared_images",
    "recommender.comparison.tuned",
    "recommender.pipeline.keras_network",
}
PURE = {
    "recommender",
    "probes",
    "builders",
    "numpy",
    "math",
    "enum",
    "dataclasses",
    "collections",
    "functools",
    "typing",
}


@cache
def modules():
    """Name -> path of every module of the product."""
    found = {}
    for path in sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def named_imports(tree):
    """What a module imports, wherever in it that stands, as (module, name or None)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.module, alias.name) for alias in node.names)


@cache
def imports(module):
    """Modules of the product that a module imports."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    found = {f"{source}.{name}" if f"{source}.{name}" in modules() else source for source, name in named_imports(tree)}
    return {name for name in found if name in modules()} - {module}


def roots(tree):
    return {source.split(".")[0] for source, _ in named_imports(tree)}


def folder(module):
    """The sub-package that a module lies in; of one that lies directly in a package, the module itself."""
    parts = modules()[module].relative_to(ROOT).parent.parts
    return ".".join(parts) if len(parts) > 1 else module


def circle(graph):
    """One circle of a graph as a list of nodes, empty where there is none."""
    state, path = {}, []

    def visit(node):
        state[node] = "open"
        path.append(node)
        for other in sorted(graph[node]):
            if state.get(other) == "open":
                return [*path[path.index(other) :], other]
            if other not in state and (found := visit(other)):
                return found
        state[node] = "done"
        path.pop()
        return []

    return next((found for node in sorted(graph) if node not in state and (found := visit(node))), [])


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_in_the_direction_of_the_data(package):
    for name, path in modules().items():
        if name.split(".")[0] == package:
            assert roots(ast.parse(path.read_text(encoding="utf-8"))) & set(PACKAGES) <= MAY_IMPORT[package], name


def test_modules_import_in_no_circle():
    assert not circle({module: imports(module) for module in modules()})


def test_folders_import_in_no_circle():
    graph = {folder(module): set() for module in modules()}
    for module in modules():
        graph[folder(module)] |= {folder(other) for other in imports(module)} - {folder(module)}
    assert not circle(graph)


@pytest.mark.parametrize("package", LAYERS)
def test_no_import_runs_upwards(package):
    def layer(module):
        place = folder(module).removeprefix(f"{package}.")
        return max(
            (number for number, name in enumerate(LAYERS[package]) if place == name or place.startswith(f"{name}.")),
            default=None,
        )

    inside = [module for module in modules() if module.startswith(f"{package}.")]
    assert not [module for module in inside if layer(module) is None and folder(module) != package]
    for module in inside:
        for other in imports(module):
            if other.startswith(f"{package}."):
                assert layer(other) <= layer(module), f"{module} imports {other}, which lies above it"


def test_the_circle_finder_finds_circles():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_no_folder_holds_more_modules_than_a_reader_can_survey():
    counts = {}
    for path in modules().values():
        if path.name != "__init__.py":
            counts[path.parent] = counts.get(path.parent, 0) + 1
    assert max(counts.values()) <= MOST_MODULES, {str(path): n for path, n in counts.items() if n > MOST_MODULES}


def test_modules_that_must_not_compute_with_tensorflow_never_import_it():
    for module, path in modules().items():
        light = module.startswith(("netgraft", "recommender.rules", "recommender.explanation", "recommender.reports"))
        if light or module.startswith("probes.similarity"):
            needed = {"sklearn"} if module == "probes.similarity.standard_photos" else set()  # it has the photographs
            assert not roots(ast.parse(path.read_text(encoding="utf-8"))) & (HEAVY - needed), module


def test_tensorflow_is_imported_at_the_top_only_by_modules_that_compute_with_it():
    for module, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        if roots(top) & (HEAVY - {"sklearn"}):
            assert {module, folder(module)} & TENSORFLOW, module


def test_the_rules_are_pure():
    for module, path in modules().items():
        if module.startswith("recommender.rules."):
            assert roots(ast.parse(path.read_text(encoding="utf-8"))) <= PURE, module
            above = {other for other in imports(module) if other.startswith("recommender.")}
            assert all(other.startswith("recommender.rules") for other in above), module


COMMAND = "import click.testing, recommender.cli.recommend as c; click.testing.CliRunner().invoke(c.main, {})"
LIGHT = [
    "import netgraft, recommender, probes, builders",
    "import recommender.cli.recommend, builders.backbones.registry, builders.strategy, probes.data.image_index",
    "import recommender.pipeline.make_reference, builders.saved_model.safe_ops",
    COMMAND.format(["--help"]),
    COMMAND.format(["backbones"]),
    COMMAND.format(["--seed", "-1", "x"]),
    COMMAND.format(["no such folder"]),
]


@pytest.fixture(scope="module")
def imported():
    """Code -> what was imported when it had run; one after the other, in one process."""
    check = (
        f"import sys\nfor code in {LIGHT!r}:\n    exec(code)\n    print(*sorted({HEAVY | EXTRAS!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(zip(LIGHT, done.stdout.split("\n"), strict=False))


@pytest.mark.parametrize("code", LIGHT)
def test_tensorflow_is_not_imported_before_it_is_needed(code, imported):
    assert imported[code] == ""


def test_the_public_names_are_one_and_the_same():
    for name in netgraft.__all__:
        home = recommender if name in recommender.__all__ else builders
        assert getattr(netgraft, name) is getattr(home, name)
    assert {"Recommendation", "compare", "predict", "ready_model", "recommend"} <= set(recommender.__all__)
    assert GraphSegment.__name__ == "GraphSegment"
