"""The files in `examples/` run as they stand."""

import fit_and_compare
import pytest
import recommend_and_build
import surgery
import train_with_keras
import use_the_model
from write_digits import write_digits
from write_manifest import write_manifest

from probes.data.sources.open import open_source


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"), per_class=6)


def test_a_manifest_names_every_image(digits, tmp_path):
    index = open_source(write_manifest(digits, tmp_path / "digits.parquet"))
    assert index.class_counts == (6,) * 10


@pytest.mark.slow
def test_a_model_that_is_recommended_and_built_classifies_a_picture(digits, tmp_path, capsys):
    target = tmp_path / "model.keras"
    recommend_and_build.main(str(digits), str(target))
    use_the_model.main(str(target), str(digits / "0" / "000.png"))
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 ")


def test_surgery_runs(capsys):
    surgery.main()
    assert "frozen" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_is_fitted_and_the_recommendation_compared(digits, tmp_path, capsys):
    fit_and_compare.main(str(digits), str(tmp_path / "model.keras"), "30", steps=6)
    assert (tmp_path / "model.keras").exists()
    assert "best" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")  # Keras says so of every tf.data.Dataset
def test_the_model_trains_with_keras_alone(digits):
    train_with_keras.main(str(digits), epochs="1")


@pytest.mark.slow
def test_data_in_memory_are_measured(capsys):
    import data_in_memory

    data_in_memory.main(n_images=100)
    assert capsys.readouterr().out.count("Scenario") == 3
