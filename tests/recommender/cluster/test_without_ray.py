"""What holds without a cluster: Ray is an extra, shards are whole, and sums add up to the classifier of all images."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probes.cores import n_cores
from probes.data.sources.table import parquet_rows
from probes.data.splits import Rows, held_out_splits
from probes.errors import ProbeError
from probes.separability import discriminant
from probes.separability.linear_probe import fit_linear_probe
from recommender.cluster.session import connect
from recommender.cluster.shards import Shards, spans
from recommender.cluster.sums import NO_SPLIT, Accumulate, Part, factors_of
from recommender.errors import RecommendError


def test_ray_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecommendError, match=r"pip install 'netgraft\[ray\]'"):
        connect("local")


def test_a_worker_uses_its_share_of_the_cores(monkeypatch):
    monkeypatch.setenv("NETGRAFT_CORES", "3")
    assert n_cores() == 3
    monkeypatch.setenv("NETGRAFT_CORES", "")
    assert n_cores() >= 1


@pytest.mark.parametrize(("first", "n"), [(0, 25), (0, 3), (3, 4), (9, 12), (24, 1), (20, 99)])
def test_some_rows_of_a_parquet_file_are_those_of_the_whole(tmp_path, first, n):
    table = pa.table({"path": [f"{number}.png" for number in range(25)], "label": list(range(25))})
    pq.write_table(table, tmp_path / "labels.parquet", row_group_size=4)
    everything = list(parquet_rows(str(tmp_path / "labels.parquet"), {}))
    assert list(parquet_rows(str(tmp_path / "labels.parquet"), {}, first=first, n=n)) == everything[first : first + n]


def test_paths_alone_are_enough_where_labels_are_not_needed(tmp_path):
    pq.write_table(pa.table({"path": ["a.png"]}), tmp_path / "paths.parquet")
    ((place, cells),) = parquet_rows(str(tmp_path / "paths.parquet"), {}, needed=("path",))
    assert (place, cells[0]) == ("row 1", "a.png")
    with pytest.raises(ProbeError, match="no column is named 'label'"):
        list(parquet_rows(str(tmp_path / "paths.parquet"), {}))


def test_spans_cover_all_rows_once():
    assert list(spans(130)) == [(0, 0, 64), (1, 64, 64), (2, 128, 2)]


@pytest.fixture
def shards(tmp_path):
    made = Shards(folder=str(tmp_path / "shards"))
    made.begin({"rows": 4})
    return made


def test_a_shard_is_there_when_it_is_whole(shards, tmp_path):
    assert shards.done() == {}
    shards.write(7, {"path": ["a", "b"]})
    assert shards.done() == {7: 2}
    assert shards.read(7).to_pydict() == {"path": ["a", "b"]}
    assert {file.name for file in (tmp_path / "shards").iterdir()} == {"run.json", "part-0000007.parquet"}


def test_a_folder_of_another_run_is_refused(shards):
    shards.begin({"rows": 4})
    with pytest.raises(RecommendError, match="of a run with another rows"):
        shards.begin({"rows": 5})


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RecommendError, match="which holds other files"):
        Shards(folder=str(tmp_path)).begin({"rows": 4})
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.usefixtures("shards")
def test_a_run_is_described_in_its_folder(tmp_path):
    assert json.loads((tmp_path / "shards" / "run.json").read_text()) == {"rows": 4}


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_over_shards_give_the_classifier_of_all_images(shards, balanced, weighted):
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 90, p=[0.6, 0.3, 0.1])
    features = (rng.normal(size=(90, 8)) + 2 * np.eye(8)[labels] + 5).astype(np.float32)
    rows = Rows.of(labels, weights=rng.uniform(0.5, 2, 90) if weighted else None)
    blocks = [features[:, :5], features[:, 5:]]
    expected = fit_linear_probe(blocks, rows, 3, seed=0, balanced=balanced)
    splits, held_out = np.full(90, NO_SPLIT), held_out_splits(rows, seed=0)
    for number, (_, judged) in enumerate(held_out):
        splits[judged] = number
    parts = []
    for number, some in enumerate(np.array_split(np.arange(90), 4)):
        shards.write(number, {"embedding": pa.array(list(features[some]), pa.list_(pa.float32()))})
        every = np.ones(len(some), bool)
        part = Part(number=number, labels=labels[some], weights=rows.weights[some], splits=splits[some], judged=every)
        parts.append(part)
    factors = factors_of(rows, splits, len(held_out), 3, balanced=balanced)
    work = Accumulate(shards=shards, shift=features.mean(0).astype(np.float64), factors=factors)
    one, other = (work.keep(0, [unit], work.compute(work.items(unit))) for unit in (parts[:2], parts[2:]))
    summed = [left + right for left, right in zip(one, other, strict=True)]
    found = [discriminant.of_moments(part, work.shift, widths=[5, 3]) for part in summed]
    scale = expected.temperature
    np.testing.assert_allclose(found[-1].kernel / scale, expected.kernel, atol=1e-6)
    np.testing.assert_allclose(found[-1].bias / scale, expected.bias, atol=1e-6)
    for number, (_, judged) in enumerate(held_out):
        mine = found[number].probabilities(features[judged])
        np.testing.assert_allclose(mine, expected.judged.probabilities[judged], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "m.keras", "x.png", "--ray"), "Expected --ray and --output together. Received: --ray alone."),
        (("predict", "m.keras", "x.png", "--output", "shards"), "Received: --output alone."),
        (("predict", "m.keras", "x.png", "--embeddings"), "Expected --embeddings with --output only."),
        (("fit", "photos", "--embeddings", "shards"), "Expected --embeddings with --ray. Received: it alone."),
    ],
)
def test_options_of_a_cluster_come_together(invoke, arguments, message):
    done = invoke(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
