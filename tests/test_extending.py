"""The toys of `docs/extending.md` work: a new member of each family is one file and one line in a registry."""

import re
import shutil

import numpy as np
import pytest
from paths import ROOT
from tiny import SIZE, tiny_network

from builders.backbones import registry
from builders.export import formats
from builders.export.export import export_model
from probes.data.sources import open as sources
from probes.quality.checks import registry as checks
from recommender import recommend
from recommender.pipeline import probes

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def added(monkeypatch):
    """Run the toy of the page that ends with a line for this table, and put the table into the registry."""

    def add(module, table, **names):
        (block,) = [block for block in BLOCKS if f"\n{table}" in block]
        known = getattr(module, table)
        space = {"__name__": "toy", table: dict(known) if isinstance(known, dict) else known, **names}
        exec(compile(block, "docs/extending.md", "exec"), space)
        monkeypatch.setattr(module, table, space[table])
        return space

    return add


def test_the_page_has_a_toy_for_each_registry():
    assert len(BLOCKS) == 5


def test_a_toy_probe_lands_in_the_measurements_and_in_the_json(added, two_classes, tiny_file):
    added(probes, "PROBES")
    found = recommend(two_classes, backbone=tiny_file)
    rank = found.measurements.extra["effective_rank"].rank
    assert 1 <= rank <= 16
    assert found.to_dict()["probes"]["effective_rank"]["rank"] == rank


def test_a_toy_source_is_measured(added, two_classes, tiny_file, tmp_path):
    added(sources, "SOURCES")
    names = []
    for number, path in enumerate(sorted(two_classes.glob("*/*"))):
        names.append(f"{path.parent.name}_{number}{path.suffix}")
        shutil.copy(path, tmp_path / names[-1])
    (tmp_path / "all.names").write_text("\n".join(names))
    found = recommend(tmp_path / "all.names", backbone=tiny_file)
    assert found.measurements.size.class_names == ("flower", "temple")
    assert found.measurements.size.class_counts == (8, 8)


def test_a_toy_kind_of_backbone_is_opened(added, two_classes):
    added(registry, "KINDS", load_from_my_zoo=lambda name: tiny_network() if name == "tiny" else None)
    assert recommend(two_classes, backbone="zoo://tiny").build().output_shape == (None, 2)


def test_a_toy_export_is_run_and_compared(added, tmp_path):
    added(formats, "FORMATS")
    pictures = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.float32)
    exported = export_model(tiny_network(), tmp_path / "model", "npz", pictures)
    assert (tmp_path / "model.npz").exists()
    assert exported.same_class == 1


def test_a_toy_finding_is_reported(added, two_classes, tiny_file, tmp_path):
    added(checks, "CHECKS")
    shutil.copytree(two_classes, tmp_path / "data")
    (tmp_path / "data" / "flower").rename(tmp_path / "data" / "f")
    found = recommend(tmp_path / "data", backbone=tiny_file)
    assert "short_class_names" in {finding.kind for finding in found.findings}
