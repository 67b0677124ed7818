"""On a cluster the same numbers come out, whatever dies on the way."""

import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_forms import parquet_images, webdataset, write_items
from pictures import write_images

from probes.data.sources import manifest
from probes.data.sources.open import open_source
from probes.errors import ProbeError
from recommender import recommend
from recommender.cluster.fit import fit_on_cluster
from recommender.cluster.predict import predict_to_shards
from recommender.cluster.session import Cluster, Work
from recommender.errors import RecommendError
from recommender.prediction.predict import predict
from recommender.saving.bundle import detector_of, write_bundle

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray and Arrow warn of their own code


@dataclass(frozen=True)
class Deadly(Work):
    """Doubles numbers; the process that meets `poison` ends, each time or until `marker` is there."""

    poison: int
    marker: str = ""

    def compute(self, items):
        if self.poison in items and not (self.marker and Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [2 * item for item in items]

    def lost(self, item):
        return f"lost {item}"


@dataclass(frozen=True)
class Mistaken(Work):
    """Raises an error of the user."""

    def compute(self, items):
        raise ProbeError(f"Expected other items. Received: {items}.")


@pytest.fixture
def real(ray_cluster):
    """Ray itself; what this file defines is sent to its processes."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return ray_cluster


@pytest.fixture(scope="module", params=[{"flower": 40, "temple": 30}, {"a": 45, "b": 9, "c": 20}], ids=["two", "three"])
def data(request, tmp_path_factory):
    """A folder of classes with a broken image, and a manifest of the same images."""
    folder = write_images(tmp_path_factory.mktemp("data") / "images", request.param)
    next(iter(sorted(folder.rglob("*.jpg")))).write_bytes(b"no picture")
    files = sorted(folder.rglob("*.jpg"))
    table = pa.table({"path": [f"images/{file.parent.name}/{file.name}" for file in files],
                      "label": [file.parent.name for file in files]})  # fmt: skip
    pq.write_table(table, folder.parent / "labels.parquet", row_group_size=7)
    return folder.parent / "labels.parquet"


def numbers(found):
    document = found.to_dict()
    return {name: value for name, value in document.items() if name not in ("seconds", "milliseconds", "cost")}


@pytest.mark.usefixtures("cluster")
def test_the_recommendation_is_the_same(data, tiny_file):
    plain, spread = (recommend(data, backbone=tiny_file, max_images=50, ray=ray) for ray in (None, "local"))
    assert spread.features.files == plain.features.files
    for cut, values in plain.features.pooled.items():
        np.testing.assert_allclose(spread.features.pooled[cut], values, atol=1e-6)
    assert spread.scenario == plain.scenario
    assert spread.expected_accuracy == pytest.approx(plain.expected_accuracy, abs=1e-6)
    assert spread.interval == pytest.approx(plain.interval, abs=1e-6)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("form", [webdataset, parquet_images], ids=lambda form: form.__name__)
def test_images_in_shards_give_the_same_numbers(form, tiny_file, tmp_path, monkeypatch):
    form(write_items(tmp_path / "items", {"train": 12}), tmp_path)
    monkeypatch.chdir(tmp_path)  # workers have another working directory
    data = "*.tar" if form is webdataset else "*.parquet"
    plain, spread = (recommend(data, backbone=tiny_file, check="full", ray=ray) for ray in (None, "local"))
    assert spread.features.files == plain.features.files
    for cut, values in plain.features.pooled.items():
        np.testing.assert_allclose(spread.features.pooled[cut], values, atol=1e-6)
    assert spread.scenario == plain.scenario
    assert spread.findings == plain.findings
    assert spread.expected_accuracy == pytest.approx(plain.expected_accuracy, abs=1e-6)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("form", [webdataset, parquet_images], ids=lambda form: form.__name__)
def test_the_layer_fitted_on_all_images_in_shards_is_the_same(form, tiny_file, tmp_path, tmp_path_factory):
    data, _ = form(write_items(tmp_path_factory.mktemp("items"), {"train": 20}), tmp_path)
    found = recommend(data, backbone=tiny_file, max_images=30, scenario=1)
    plain, spread = found.fit(), found.fit(ray="local")
    assert spread.plan.n_training == plain.plan.n_training == 60
    assert spread.predictions.files == plain.predictions.files
    assert spread.accuracy == pytest.approx(plain.accuracy, abs=1e-6)


@pytest.mark.usefixtures("cluster")
def test_the_findings_of_every_image_are_the_same(data, tiny_file):
    plain, spread = (recommend(data, backbone=tiny_file, check="full", ray=ray) for ray in (None, "local"))
    assert spread.findings == plain.findings
    assert spread.measurements.size == plain.measurements.size


@pytest.mark.usefixtures("cluster")
def test_the_layer_fitted_on_all_images_is_the_same(data, tiny_file, tmp_path):
    found = recommend(data, backbone=tiny_file, max_images=40, scenario=1)
    plain, spread = found.fit(), found.fit(ray="local", embeddings=str(tmp_path / "embeddings"))
    assert spread.plan.n_training == plain.plan.n_training > 40
    assert spread.notes == plain.notes
    assert spread.predictions.files == plain.predictions.files
    np.testing.assert_allclose(spread.predictions.confidence, plain.predictions.confidence, atol=1e-3)
    assert spread.accuracy == pytest.approx(plain.accuracy, abs=1e-6)
    for ours, theirs in zip(spread.model.layers[-1].get_weights(), plain.model.layers[-1].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())
    resumed = found.fit(ray="local", embeddings=str(tmp_path / "embeddings"))
    assert resumed.accuracy == spread.accuracy


@pytest.mark.usefixtures("cluster")
def test_a_manifest_that_is_not_held_in_memory_is_fitted_on_as_a_whole(data, tiny_file, monkeypatch):
    everything = open_source(data)
    monkeypatch.setattr(manifest, "MOST_LISTED", 50)
    found = recommend(data, backbone=tiny_file, max_images=20, scenario=1)
    listed = replace(found, index=everything).fit()
    assert sum(map(len, found.index.files)) < found.index.n_images
    spread = found.fit(ray="local")
    assert spread.plan.n_training == found.index.n_images - 1
    assert spread.evaluation.n == found.index.n_images - 1
    assert spread.notes == ("Left out, since unreadable: 1 image.",)
    assert spread.accuracy == pytest.approx(listed.accuracy, abs=0.1)  # other folds
    ours, theirs = (result.model.layers[-1].get_weights()[0] * result.temperature for result in (spread, listed))
    balanced = spread.plan.class_weight is not None  # weights follow the manifest's counts, with the broken image
    np.testing.assert_allclose(ours, theirs, atol=(2e-2 if balanced else 1e-3) * np.abs(theirs).max())


def test_embeddings_need_a_folder_that_all_machines_share(tiny_found):
    several = Cluster(n_cores=8, n_machines=4, dashboard="")
    with pytest.raises(RecommendError, match=r"all 4 machines.*--embeddings"):
        fit_on_cluster(several, tiny_found, options=None)


def test_embeddings_without_a_cluster_are_refused(tiny_found, tmp_path):
    with pytest.raises(RecommendError, match="Expected `embeddings` with `ray`"):
        tiny_found.fit(embeddings=str(tmp_path))


@pytest.mark.usefixtures("cluster")
def test_what_a_cluster_does_not_try_is_said(tiny_found, monkeypatch):
    scenario = type(tiny_found.scenario)
    monkeypatch.setattr(type(tiny_found.verdict), "rival", property(lambda _: scenario.numbered(3)))
    notes = tiny_found.fit(ray="local", steps=3).notes
    assert any("Without effect" in note and "steps" in note for note in notes)
    assert any("scenario 3" in note and "was not tried" in note for note in notes)


@pytest.mark.usefixtures("cluster")
def test_fine_tuning_is_refused(tiny_decided):
    tuned = tiny_decided.with_scenario(type(tiny_decided.scenario).numbered(3))
    with pytest.raises(RecommendError, match=r"Expected a frozen model with `ray`.*--scenario [14]"):
        tuned.fit(ray="local")


@pytest.fixture(scope="module")
def model(tiny_found, tmp_path_factory):
    """The file of a model, with its detector and an export."""
    target = tmp_path_factory.mktemp("model") / "model.keras"
    write_bundle(tiny_found, tiny_found.build(), target, tiny_found.to_dict(), detector=detector_of(tiny_found),
                 result=None, exports=("litert",), command="")  # fmt: skip
    return target.with_suffix(".tflite")


def shards_of(folder):
    return sorted(Path(folder).glob("part-*.parquet"))


def test_predictions_are_the_same_and_an_interrupted_run_is_resumed(data, model, cluster, tmp_path):
    folder = tmp_path / "shards"
    totals = predict_to_shards(cluster, model, [str(data)], str(folder), embeddings=True)
    found = pa.concat_tables(pq.read_table(file) for file in shards_of(folder)).to_pylist()
    names = [str(data.parent / path) for path in pq.read_table(data).column("path").to_pylist()]
    plain = list(predict(model, names))
    assert [row["path"] for row in found] == names
    assert (totals.n, totals.failed) == (len(names), 1)
    for row, one in zip(found, plain, strict=True):
        assert row["error"] == one.error
        assert row["class"] == (one.classes[0] if one.classes else None)
        assert row["probability"] == (pytest.approx(one.probabilities[0], abs=1e-6) if one.classes else None)
        assert row["out_of_distribution"] == one.out_of_distribution
        assert (row["embedding"] is None) == (one.features is None)

    first, *others = shards_of(folder)
    written = {file: file.stat().st_mtime_ns for file in others}
    first.unlink()
    resumed = predict_to_shards(cluster, model, [str(data)], str(folder), embeddings=True)
    assert (resumed.n, resumed.failed) == (totals.n, totals.failed)
    assert resumed.resumed == totals.n - pq.read_metadata(first).num_rows
    assert {file: file.stat().st_mtime_ns for file in others} == written


@pytest.mark.parametrize("form", [webdataset, parquet_images], ids=lambda form: form.__name__)
def test_pictures_in_shards_are_predicted_by_the_workers(form, model, cluster, tmp_path, monkeypatch):
    (tmp_path / "shards").mkdir()
    data, _ = form(write_items(tmp_path / "items", {"train": 4}), tmp_path / "shards")
    (tmp_path / "shards" / "broken.tar").write_text("no tar")
    monkeypatch.chdir(tmp_path)  # workers have another working directory
    totals = predict_to_shards(cluster, model, ["shards/*.parquet" if form is parquet_images else "shards"], "found")
    found = [row for file in shards_of("found") for row in pq.read_table(file).to_pylist() if row["error"] is None]
    plain = [one for one in predict(model, data) if one.error is None]
    assert {row["path"]: row["class"] for row in found} == {one.file: one.classes[0] for one in plain}
    assert (totals.n - totals.failed, totals.failed) == (12, form is webdataset)


def test_rows_without_a_path_are_reported_as_that(model, cluster, tmp_path):
    pq.write_table(pa.table({"path": pa.array(["gone.png", None])}), tmp_path / "list.parquet")
    predict_to_shards(cluster, model, [str(tmp_path / "list.parquet")], str(tmp_path / "found"))
    rows = [row for file in shards_of(tmp_path / "found") for row in pq.read_table(file).to_pylist()]
    assert [Path(row["path"]).name for row in rows] == ["gone.png", "list.parquet"]
    assert rows[1]["error"] == "row 2 has no path"


def test_shards_of_another_run_are_not_mixed_in(data, model, cluster, tmp_path):
    folder = tmp_path / "shards"
    predict_to_shards(cluster, model, [str(data)], str(folder))
    with pytest.raises(RecommendError, match=r"Expected a new folder, or that of the same run.*another top"):
        predict_to_shards(cluster, model, [str(data)], str(folder), top=2)
    assert json.loads((folder / "run.json").read_text())["top"] == 1


@pytest.mark.slow
def test_a_killed_actor_costs_nothing_and_nothing_is_counted_twice(real, tmp_path):
    units = [(number, [3 * number, 3 * number + 1, 3 * number + 2]) for number in range(8)]
    found = list(real.run(Deadly(poison=10, marker=str(tmp_path / "killed")), units))
    assert (tmp_path / "killed").exists()
    assert sorted(found) == [(number, [2 * item for item in items]) for number, items in units]


@pytest.mark.slow
def test_an_item_that_ends_each_process_is_the_only_one_that_is_lost(real):
    found = dict(real.run(Deadly(poison=4), [(0, [0, 1, 2]), (1, [3, 4, 5])]))
    assert found == {0: [0, 2, 4], 1: [6, "lost 4", 10]}


@pytest.mark.slow
def test_errors_of_the_user_arrive_as_they_are(real):
    with pytest.raises(ProbeError, match=r"^Expected other items. Received: \[7\]\.$"):
        list(real.run(Mistaken(), [(0, [7])]))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_data_in_memory_are_refused(tiny_file):
    pixels = np.zeros((8, 40, 40, 3), np.uint8)
    with pytest.raises(RecommendError, match="Expected data and a network that other machines can open"):
        recommend((pixels, [0, 1] * 4), backbone=tiny_file, ray="local")
