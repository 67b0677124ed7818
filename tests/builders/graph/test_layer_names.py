"""Stable layer names: unique, and the same in every rebuild."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders.graph.layer_names import Named, free_name, stable_names

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
CLASSES = {"Conv2D": "conv2d", "ReLU": "re_lu", "BatchNormalization": "batch_normalization", "GELUOp": "gelu_op"}


def numbered(classes, start):
    """Layers as Keras names them in a session that has made `start` layers of each class before."""
    counts = dict.fromkeys(CLASSES, start)
    layers = []
    for name in classes:
        number = counts[name]
        layers.append(Named(f"{CLASSES[name]}_{number}" if number else CLASSES[name], name, ""))
        counts[name] += 1
    return layers


@UNHURRIED
@given(st.lists(st.sampled_from(list(CLASSES))), st.integers(1, 200))
def test_numbers_count_from_the_first_of_a_class_as_in_a_fresh_session(classes, start):
    fresh = [layer.name for layer in numbered(classes, 0)]
    assert stable_names(numbered(classes, start)) == stable_names(numbered(classes, 0)) == fresh


@UNHURRIED
@given(st.lists(st.builds(Named, *(st.sampled_from(part) for part in (["a", "a_1", "b"], ["Add"], ["", "in_"])))))
def test_names_are_unique_and_the_first_of_its_name_keeps_it(layers):
    names = stable_names(layers)
    assert len(set(names)) == len(layers)
    assert all(names[index] == layer.name for index, layer in enumerate(layers[:1]))


@UNHURRIED
@given(st.sets(st.sampled_from(["x", "x_1", "x_2", "x_3"])))
def test_a_free_name_is_not_taken(taken):
    free = free_name("x", taken)
    assert free not in taken
    assert (free == "x") == ("x" not in taken)
