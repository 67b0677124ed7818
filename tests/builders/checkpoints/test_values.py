"""Warm start: values that do not fit, and all or nothing."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from checkpoint_files import arrays, network, same, values, write

from builders.checkpoints.warm_start import plan_warm_start, warm_start
from builders.errors import BuildError


def test_a_model_that_is_not_built_or_none_at_all_is_refused(tmp_path):
    path = write(".npz", network(), tmp_path)
    for model in (keras.Sequential([keras.layers.Dense(1)]), "model"):
        with pytest.raises(BuildError, match=r"Expected `model` to be a built keras.Model. Received: "):
            warm_start(model, path)


@pytest.mark.parametrize(
    ("values_of", "problem"),
    [
        (lambda array: np.full_like(array, np.nan), "values in head/bias that are not finite in float32"),
        (lambda array: array.astype(np.float64) * 1e300, "values in head/bias that are not finite in float32"),
        (lambda array: array.astype("U8"), "values of type str256 for head/bias, which has float32"),
        (lambda array: array.astype(np.int32), "values of type int32 for head/bias, which has float32"),
        (lambda array: array.astype(np.complex64), "values of type complex64 for head/bias, which has float32"),
    ],
)
def test_values_that_a_variable_can_not_hold_are_refused_and_nothing_changes(values_of, problem, tmp_path):
    stored = arrays(network(seed=1))
    stored["head/bias"] = values_of(stored["head/bias"])
    np.savez(tmp_path / "m.npz", **stored)
    target = network(seed=2)
    before = values(target)
    with pytest.raises(BuildError, match=problem):
        warm_start(target, tmp_path / "m.npz")
    assert same(target, before)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_floats_of_another_size_are_converted(dtype, tmp_path):
    source, target = network(seed=1), network(seed=2)
    np.savez(tmp_path / "m.npz", **{name: array.astype(dtype) for name, array in arrays(source).items()})
    warm_start(target, tmp_path / "m.npz")
    assert same(target, [array.astype(dtype).astype("float32") for array in values(source)])


class Stubborn:
    """A variable's place in a plan whose assignment fails."""

    def __init__(self, variable):
        self.path, self.dtype, self.numpy = variable.path, variable.dtype, variable.numpy

    def assign(self, _):
        raise MemoryError("no room")


def test_an_assignment_that_fails_leaves_every_variable_as_it_was(tmp_path):
    target = network(seed=2)
    before = values(target)
    plan = plan_warm_start(target, write(".npz", network(seed=1), tmp_path))
    pairs = [
        (Stubborn(variable) if index == 6 else variable, weight) for index, (variable, weight) in enumerate(plan.pairs)
    ]
    with pytest.raises(MemoryError, match="no room"):
        replace(plan, pairs=tuple(pairs)).apply()
    assert same(target, before)
