"""The network is chosen by measuring: the flow, with tiny networks. The rule has tests of its own."""

import io
from dataclasses import replace

import keras
import numpy as np
import pytest
from pictures import write_images
from rich.console import Console
from tiny import SIZE, tiny_network

from builders import BuildError
from probes.data.image_index import ImageIndex
from probes.data.sampling import draw_splits
from probes.data.sources.folder import index_folder
from probes.errors import ProbeError
from probes.network.features import in_one
from recommender import recommend
from recommender.pipeline import choosing
from recommender.reports.recommendation_page import print_page
from recommender.rules import thresholds
from recommender.saving.model_card import model_card


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A sound network, and one that sees nothing: its kernels are all but 0, so that all features are constant."""
    folder = tmp_path_factory.mktemp("networks")
    tiny_network(size=None).save(folder / "sound.keras")
    blind = tiny_network(size=None, seed=1)
    for layer in blind.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([0 * values for values in layer.get_weights()])
    blind.save(folder / "blind.keras")
    return folder / "blind.keras", folder / "sound.keras"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "data", {"flower": 20, "temple": 20})


@pytest.fixture(scope="module")
def found(data, files):
    """A choice between the two, on 20 images, which suffice. Never change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thresholds, "BACKBONE_SAMPLES", (20,))
        return recommend(data, backbone=list(files), input_size=SIZE)


def test_the_network_that_sees_something_is_chosen(found, files):
    choice = found.measurements.extra["backbone"]
    assert choice.name == choice.leader == files[1].stem
    assert [each.name for each in choice.tried] == [files[1].stem, files[0].stem]
    best, worst = choice.tried
    assert worst.dropped
    assert (best.n_images, worst.n_images) == (20, 20)  # nothing is left to compare with
    assert best.accuracy > 0.7
    assert best.milliseconds > 0
    assert best.megabytes == worst.megabytes > 0
    assert best.multiply_adds == worst.multiply_adds > 0
    assert found.backbone.name == "sound"


def test_the_answer_is_the_one_of_naming_the_chosen_network(found, data, files):
    alone = recommend(data, backbone=files[1], input_size=SIZE).to_dict()
    chosen = found.to_dict()
    assert chosen["probes"].pop("backbone")["name"] == files[1].stem
    assert chosen["reasons"].pop(0).startswith(f"{files[1].stem} was chosen among 2 networks on")
    for document in (alone, chosen):
        del document["seconds"]
    assert chosen == alone


def test_page_json_and_model_card_have_the_table(found):
    console = Console(file=io.StringIO(), width=120)
    print_page(found, console)
    page = console.file.getvalue()
    assert "Networks that were tried" in page
    assert "◀ chosen" in page
    assert "was chosen among 2 networks" in " ".join(page.split())
    document = found.to_dict()
    tried = document["probes"]["backbone"]["tried"]
    assert {"input_size", "accuracy", "standard_error", "gain", "milliseconds", "megabytes", "n_images"} <= set(
        tried[0]
    )
    card = model_card(document, model_name="m.keras", command=None)
    assert "Networks that were tried" in card
    assert "| chosen |" in card


@pytest.mark.slow
def test_the_input_size_is_measured_of_the_chosen_network(two_classes, files):
    phases = []
    found = recommend(
        two_classes, backbone=list(files), input_size="auto", progress=lambda phase, *_: phases.append(phase)
    )
    size = found.measurements.extra["input_size"]
    assert found.strategy.input_size == size.size
    assert set(found.measurements.extra) >= {"backbone", "input_size"}
    assert phases.index("backbones") < phases.index("sizes") < phases.index("network")


def test_without_images_to_hold_out_it_is_the_first_and_the_page_says_so(tmp_path, files):
    write_images(tmp_path / "data", {"flower": 1, "temple": 1})
    found = recommend(tmp_path / "data", backbone=list(files), input_size=SIZE)
    choice = found.measurements.extra["backbone"]
    assert (choice.name, choice.leader) == (files[0].stem, None)
    assert "without a comparison, since no images can be held out: it is the first that was named" in found.reasons[0]


def test_auto_with_a_single_network_says_so_and_goes_on_to_the_data(files, monkeypatch, caplog):
    monkeypatch.setattr("builders.backbones.candidates._local", lambda: iter(()))
    with pytest.raises(ProbeError, match="'nowhere'"):
        recommend("nowhere", backbone=["auto", files[1]])
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"There is nothing to choose: {files[1]} is the only network whose weights are here."


def test_a_candidate_that_can_not_be_loaded_is_named_in_one_line(two_classes, files, tmp_path, invoke):
    (tmp_path / "broken.keras").write_bytes(b"no model")
    done = invoke(two_classes, "--backbone", files[1], "--backbone", tmp_path / "broken.keras")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"The candidate {tmp_path / 'broken.keras'}: Expected" in done.stderr
    with pytest.raises(BuildError, match="The candidate"):
        recommend(two_classes, backbone=[files[1], tmp_path / "broken.keras"])


def test_ctrl_c_while_networks_are_tried_ends_in_one_line(two_classes, files, invoke, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(choosing, "extract", interrupt)
    done = invoke(two_classes, "--backbone", files[0], "--backbone", files[1])
    assert (done.returncode, done.stderr) == (130, "Error: Interrupted. Nothing was written.\n")


def test_no_image_is_read_twice_by_a_network(data):
    index: ImageIndex = index_folder(data)
    first = draw_splits(index, 20, 0)
    features = [read_by_nobody(first)]
    rest = choosing._unread(draw_splits(index, 36, 0), features)
    assert sum(rest.train.quota) == 36 - 20
    assert not {name for names in rest.train.candidates for name in names} & set(features[0].files)
    again = choosing._unread(first, features)
    assert again.n_wanted == 0


def test_rows_of_several_passes_are_put_together_even_if_one_read_nothing(data):
    sample = draw_splits(index_folder(data), 20, 0)
    full = replace(read_by_nobody(sample), pooled={"top": np.arange(20.0)[:, None]})
    nothing = read_by_nobody(draw_splits(index_folder(data), 2, 0)).rows(np.zeros(2, bool))
    for parts in ([full, nothing], [nothing, full], [full]):
        assert in_one(parts).files == full.files
        assert (in_one(parts).pooled["top"] == full.pooled["top"]).all()
    assert len(in_one([full, full]).pooled["top"]) == len(in_one([full, full]).labels) == 40
    assert in_one([nothing]).files == ()


def read_by_nobody(sample):
    """Rows of the images that a sample asks for, as a pass would leave them."""
    from probes.images.prepare import Prepared, Skipped
    from probes.network.features import features_of

    kept = [
        Prepared(pixels=np.empty(0, np.float32), label=label, file=name, size=(1, 1), grey=False)
        for label, (quota, names) in enumerate(zip(sample.train.quota, sample.train.candidates, strict=True))
        for name in names[:quota]
    ]
    return features_of(kept, Skipped(), pooled={})


SEEN = """
import sys
from click.testing import CliRunner
from recommender.cli.recommend import main
done = CliRunner().invoke(main, sys.argv[1:])
print(done.stdout or done.stderr)
print("imported", sorted({"tensorflow", "keras"} & set(sys.modules)))
"""


@pytest.mark.usefixtures("found")
def test_with_programs_in_the_cache_a_choice_imports_no_tensorflow(data, files, run_python):
    done = run_python(SEEN, data, "--backbone", files[0], "--backbone", files[1], "--input-size", SIZE, "--quiet")
    assert "sound at 32 px" in done.stdout
    assert "imported []" in done.stdout


@pytest.mark.slow
def test_real_networks_are_compared_on_real_pictures(shared_datasets):
    found = recommend(shared_datasets / "hymenoptera", backbone=["efficientnet_lite0", "efficientnet_lite1"])
    choice = found.measurements.extra["backbone"]
    assert {each.name for each in choice.tried} == {"efficientnet_lite0", "efficientnet_lite1"}
    assert all(each.accuracy > 0.85 for each in choice.tried)
    by_name = {each.name: each for each in choice.tried}
    assert by_name["efficientnet_lite0"].multiply_adds < by_name["efficientnet_lite1"].multiply_adds
    assert found.backbone.name == choice.name
    assert found.expected_accuracy > 0.85
