"""Warm start: what each kind of checkpoint restores, by which names, and what is reported."""

import keras
import pytest
from checkpoint_files import KINDS, PATHS, STRUCTURED, arrays, network, same, scramble, values, write

from builders.checkpoints.warm_start import ShapeMismatch, plan_warm_start, warm_start
from builders.errors import BuildError


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=STRUCTURED)
def structured(request):
    return request.param


def test_every_kind_restores_all_variables_and_statistics(kind, tmp_path):
    source, target = network(seed=1), network(seed=2)
    report = warm_start(target, write(kind, source, tmp_path))
    assert report.restored == PATHS
    assert (report.other_shape, report.missing, report.unused) == ((), (), ())
    assert same(target, values(source))


def test_a_head_of_another_size_is_reported_and_stays(kind, tmp_path):
    source, target = network(seed=1), network(seed=2, classes=7)
    before = arrays(target)
    report = warm_start(target, str(write(kind, source, tmp_path)))
    assert report.restored == PATHS[:7]
    assert report.other_shape == (
        ShapeMismatch(name="head/kernel", expected=(5, 7), received=(5, 3)),
        ShapeMismatch(name="head/bias", expected=(7,), received=(3,)),
    )
    assert (report.missing, report.unused) == ((), ())
    assert same(target, [*values(source)[:7], before["head/kernel"], before["head/bias"]])


def test_what_one_side_lacks_is_missing_or_unused(kind, tmp_path):
    source = network(seed=1, top=[keras.layers.Dense(2, name="top")])
    target = network(seed=2, names=("conv1", "bn1", "conv2", "other"))
    report = warm_start(target, write(kind, source, tmp_path))
    assert report.restored == PATHS[:7]
    assert report.missing == ("other/kernel", "other/bias")
    layers = [name.split("/")[0] for name in report.unused]
    assert sorted(layers) == ["head", "head", "top", "top"]


def test_names_are_mapped_by_regular_expressions_in_order(kind, tmp_path):
    source, target = network(seed=1, prefix="old_"), network(seed=2)
    report = warm_start(target, write(kind, source, tmp_path), rename={"old": "new", r"^new_(\w+)": r"\1"})
    assert report.restored == PATHS
    assert same(target, values(source))


def test_names_that_become_one_are_refused(kind, tmp_path):
    path = write(kind, network(names=("conv1", "bn1", "conv2", "extra")), tmp_path)
    with pytest.raises(BuildError, match=r"Expected `rename` to give each name once. Received: both '"):
        warm_start(network(), path, rename={"extra": "conv1"})


def test_what_is_no_regular_expression_is_refused(tmp_path):
    path = write(".npz", network(), tmp_path)
    for rename in ({"(": ""}, {"conv": r"\2"}, ["conv"]):
        with pytest.raises(BuildError, match="Expected `rename` to map regular expressions to replacements"):
            warm_start(network(), path, rename=rename)


def test_another_networks_checkpoint_is_refused_with_names_of_both(kind, tmp_path):
    other = scramble(
        keras.Sequential([keras.Input((6,)), keras.layers.Dense(9, name="a"), keras.layers.Dense(9, name="b")]), 0
    )
    target = network()
    before = values(target)
    with pytest.raises(BuildError, match=r"Received: none of the same name and shape; the checkpoint has .* the model"):
        warm_start(target, write(kind, other, tmp_path))
    assert same(target, before)


def nested(seed):
    """The network as a layer of another one."""
    inner = network(seed=seed)
    inputs = keras.Input((8, 8, 3))
    hidden = keras.layers.Dense(6, name="neck")(inner(keras.layers.Rescaling(1.0)(inputs)))
    return scramble(keras.Model(inputs, keras.layers.Dense(2, name="out")(hidden), name="whole"), seed)


def test_nested_models_are_restored_inside(kind, tmp_path):
    source, target = nested(1), nested(2)
    report = warm_start(target, write(kind, source, tmp_path))
    assert len(report.restored) == len(target.weights) == 13
    assert same(target, values(source))


def test_a_backbone_is_taken_out_of_a_model_that_has_it_as_a_layer(structured, tmp_path):
    source, target = nested(1), network(seed=2)
    report = warm_start(target, write(structured, source, tmp_path))
    assert report.restored == PATHS
    assert sorted(name.split("/")[0] for name in report.unused) == ["neck", "neck", "out", "out"]
    assert same(target, values(source.get_layer("net")))


def test_a_plan_reports_and_changes_nothing_until_it_is_applied(kind, tmp_path):
    source, target = network(seed=1), network(seed=2, classes=7)
    before = values(target)
    plan = plan_warm_start(target, write(kind, source, tmp_path))
    assert same(target, before)
    assert str(plan.report) == (
        "7 variables restored; 2 of other shape (head/kernel (5, 3), not (5, 7), head/bias (3,), not (7,)); 0 missing; "
        "0 unused"
    )
    assert plan.apply() == plan.report
    assert not same(target, before)


def test_the_models_own_name_may_stand_before_its_variables_on_one_side(kind, tmp_path):
    flat, sequential = network(seed=1), network(seed=2, sequential=True)
    assert sequential.weights[0].path == "net/conv1/kernel"
    assert len(warm_start(sequential, write(kind, flat, tmp_path)).restored) == 9
    assert same(sequential, values(flat))
    scramble(sequential, 3)
    assert warm_start(flat, write(kind, sequential, tmp_path)).restored == PATHS
    assert same(flat, values(sequential))


def test_models_of_a_class_may_have_other_automatic_names(kind, tmp_path):
    source, target = (network(seed=seed, sequential=True, name=None) for seed in (1, 2))
    assert source.weights[0].path.split("/")[0] != target.weights[0].path.split("/")[0]
    assert len(warm_start(target, write(kind, source, tmp_path)).restored) == 9
    assert same(target, values(source))
