"""A SavedModel can run any op: one that does more than compute is refused before any of it runs."""

import base64
import json
import sys
import types
import zipfile
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from saved_modules import convolve, fitted, pictures, plain, save_keras3, save_module
from tensorflow.core.framework import graph_pb2, op_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.client import pywrap_tf_session

from builders.errors import BuildError
from builders.saved_model.load import load_saved_model
from builders.saved_model.safe_ops import COMPUTING_OPS, SAVER_OPS, VARIABLE_OPS

ONE_LINE = r"^Expected [^\n]* Received: [^\n]*\. [^\n]*\.$"


def reading(path):
    def read(module, x):
        size = tf.cast(tf.strings.length(tf.io.read_file(str(path))), tf.float32)
        return tf.reduce_mean(convolve(x, module.kernel), (1, 2)) + size

    return read


def writing(path):
    def write(module, x):
        with tf.control_dependencies([tf.io.write_file(str(path), "written")]):
            return tf.reduce_mean(convolve(x, module.kernel), (1, 2))

    return write


class WritesWhenLoaded(tf.Module):
    """Loading makes its resource, which writes a file."""

    def __init__(self, path):
        super().__init__()
        self.table = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(str(path), *COLUMNS), -1)
        self.kernel = tf.Variable(tf.ones((1, 1, 3, 4)))
        self.__call__ = tf.function(
            lambda x: tf.reduce_mean(convolve(x, self.kernel), (1, 2)),
            input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32)],
        )


COLUMNS = (tf.int64, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)


def test_the_allow_list_names_ops_of_tensorflow_and_none_with_effects_outside():
    known = op_def_pb2.OpList()
    known.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    names = {op.name for op in known.op}
    assert names >= COMPUTING_OPS | VARIABLE_OPS | SAVER_OPS
    dangerous = {
        "ReadFile",
        "WriteFile",
        "MatchingFiles",
        "ImmutableConst",
        "PyFunc",
        "EagerPyFunc",
        "PrintV2",
        "Empty",
    }
    dangerous |= {"DebugIdentity", "SaveV2", "RestoreV2", "VarHandleOp", "HashTableV2", "XlaCallModule"}
    dangerous |= {"RemoteCall"}
    assert dangerous <= names
    assert not dangerous & (COMPUTING_OPS | VARIABLE_OPS)


def test_a_module_that_reads_a_file_is_refused_unless_trusted(tmp_path):
    (tmp_path / "secret").write_text("four")
    save_module(reading(tmp_path / "secret"), tmp_path / "module")
    with pytest.raises(BuildError, match=r"computing ops only. Received: ReadFile in __inference_.*\(trust=True\)"):
        load_saved_model(tmp_path / "module")
    model = load_saved_model(tmp_path / "module", trust=True)
    assert model(pictures()).numpy().min() >= 4


@pytest.mark.slow
def test_a_module_that_writes_a_file_is_refused_and_has_written_nothing(tmp_path):
    save_module(writing(tmp_path / "mark"), tmp_path / "module")
    with pytest.raises(BuildError, match=r"Received: WriteFile in __inference_"):
        load_saved_model(tmp_path / "module")
    assert not (tmp_path / "mark").exists()
    assert fitted(load_saved_model(tmp_path / "module", trust=True))


@pytest.mark.slow
def test_a_module_whose_loading_reads_a_file_is_refused_before_it_loads(tmp_path, monkeypatch):
    (tmp_path / "words").write_text("1\n2\n")
    tf.saved_model.save(WritesWhenLoaded(tmp_path / "words"), str(tmp_path / "module"))
    trusted = load_saved_model(tmp_path / "module", trust=True)
    assert trusted.output_shape == (None, 4)
    monkeypatch.setattr(tf.saved_model, "load", lambda path: pytest.fail(f"loaded {path}"))
    with pytest.raises(BuildError, match=r"Received: HashTableV2 in .*InitializeTableFromTextFileV2 in "):
        load_saved_model(tmp_path / "module")


@pytest.mark.parametrize("disguise", ["call", "object", "implementation"])
def test_the_saver_s_ops_are_refused_where_something_else_may_call_them(disguise, tmp_path):
    save_module(plain, tmp_path / "module")
    path = tmp_path / "module" / "saved_model.pb"
    module = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    functions = {function.signature.name: function for function in module.meta_graphs[0].graph_def.library.function}
    saver = next(name for name in functions if "traced_save" in name)
    if disguise == "call":
        call = next(function for name, function in functions.items() if "traced" not in name)
        call.node_def.add(name="x", op="PartitionedCall").attr["f"].func.name = saver
    elif disguise == "object":
        module.meta_graphs[0].object_graph_def.nodes.add().bare_concrete_function.concrete_function_name = saver
    else:
        functions[saver].attr["api_implements"].s = b"anything"
    path.write_bytes(module.SerializeToString())
    with pytest.raises(BuildError, match=rf"Received: .*SaveV2 in {saver}|Received: .*{saver}"):
        load_saved_model(tmp_path / "module")


def with_graph_op(path, op):
    """Put an op into the first segment of a saved model."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "GraphSegment")
    segment = layer["config"]["segment"]
    graph = graph_pb2.GraphDef.FromString(zlib.decompress(base64.b64decode(segment["graph"])))
    graph.node.add(name="dangerous", op=op)
    segment["graph"] = base64.b64encode(zlib.compress(graph.SerializeToString())).decode()
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "op", ["WriteFile", *(pytest.param(op, marks=pytest.mark.slow) for op in ("ReadVariableOp", "NoSuchOp"))]
)
def test_a_crafted_keras_file_is_refused(op, tmp_path):
    save_keras3(tmp_path / "module")
    load_saved_model(tmp_path / "module").save(tmp_path / "model.keras")
    with_graph_op(tmp_path / "model.keras", op)
    with pytest.raises(BuildError, match=rf"computing ops only. Received: {op} in its main graph. .*safe_mode=False"):
        keras.models.load_model(tmp_path / "model.keras")


@pytest.mark.slow
def test_a_trusted_module_can_be_copied_here_and_its_file_needs_trust_in_another_process(tmp_path, run_python):
    (tmp_path / "secret").write_text("four")
    save_module(reading(tmp_path / "secret"), tmp_path / "module")
    model = load_saved_model(tmp_path / "module", trust=True)
    np.testing.assert_array_equal(keras.models.clone_model(model).output_shape, model.output_shape)
    model.save(tmp_path / "model.keras")
    code = (
        "import sys, keras, builders.saved_model.segment_layer;"
        "keras.models.load_model(sys.argv[1], safe_mode=False); print('loaded');"
        "builders.saved_model.segment_layer._trusted.clear(); keras.models.load_model(sys.argv[1])"
    )
    done = run_python(code, tmp_path / "model.keras")
    assert done.stdout == "loaded\n"
    assert "BuildError: Expected the layer" in done.stderr


@pytest.mark.slow
def test_a_table_on_the_way_to_the_output_is_refused_even_when_trusted(tmp_path):
    holder = tf.Module()
    holder.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([0], [2.0], tf.int64, tf.float32), 0.0)
    holder.__call__ = tf.function(
        lambda x: tf.reduce_mean(x, (1, 2)) * holder.table.lookup(tf.constant([0], tf.int64)),
        input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32)],
    )
    tf.saved_model.save(holder, str(tmp_path / "module"))
    with pytest.raises(BuildError, match="other state, such as a table"):
        load_saved_model(tmp_path / "module", trust=True)


IMAGES = tf.TensorSpec((None, 16, 16, 3), tf.float32)
MISFITS = {
    "two inputs": (
        lambda module, x, y: plain(module, x + y),
        [IMAGES, IMAGES],
        r"takes float32 \(.*\), float32 ",
    ),
    "texts": (
        lambda _, x: tf.strings.length(x),
        [tf.TensorSpec((None,), tf.string)],
        "Received: StringLength in ",
    ),
    "rows": (lambda _, x: x @ tf.ones((7, 2)), [tf.TensorSpec((None, 7), tf.float32)], r"takes float32 \(None, 7\)"),
    "one image": (plain, [tf.TensorSpec((1, 16, 16, 3), tf.float32)], r"takes float32 \(1, 16, 16, 3\)"),
    "channels first": (
        lambda _, x: x,
        [tf.TensorSpec((None, 3, 16, 16), tf.float32)],
        r"float32 \(None, 3, 16, 16\)",
    ),
    "detector": (lambda module, x: {"boxes": x, "scores": plain(module, x)}, [IMAGES], r"2 \(boxes, scores\)"),
    "classes": (lambda module, x: tf.argmax(plain(module, x), -1), [IMAGES], r"int64 of shape \(None,\)"),
    "constant": (lambda module, _: module.matrix + 0, [IMAGES], "depends on none"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MISFITS)
def test_a_module_that_is_no_image_network_is_refused_in_one_line(name, tmp_path):
    function, specs, reason = MISFITS[name]
    save_module(function, tmp_path / "module", *specs)
    with pytest.raises(BuildError, match=reason) as caught:
        load_saved_model(tmp_path / "module")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("Expected ")


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_a_truncated_file_is_refused_in_one_line(name, share, tmp_path):
    save_module(plain, tmp_path / "module")
    path = tmp_path / "module" / name
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BuildError, match=ONE_LINE):
        load_saved_model(tmp_path / "module")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_a_missing_file_is_named(name, tmp_path):
    save_module(plain, tmp_path / "module")
    (tmp_path / "module" / name).unlink()
    with pytest.raises(BuildError, match=r"with its saved_model.pb|Expected TensorFlow to load") as caught:
        load_saved_model(tmp_path / "module")
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(BuildError, match=r"nowhere' to be the folder of a SavedModel.* Give the folder"):
        load_saved_model(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match=r"file' to be the folder of a SavedModel.* Give the folder"):
        load_saved_model(tmp_path / "file")


@pytest.mark.slow
def test_a_module_of_tensorflow_1_is_refused(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, (None, 16, 16, 3))
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "module"))
        signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": tf.reduce_mean(x, (1, 2))})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    with pytest.raises(BuildError, match="one of TensorFlow 1"):
        load_saved_model(tmp_path / "module")


@pytest.mark.slow
def test_a_handle_is_resolved_by_tensorflow_hub(tmp_path, monkeypatch):
    save_module(plain, tmp_path / "0123abcd")
    hub = types.SimpleNamespace(
        resolve={"https://tfhub.dev/acme/tiny/feature_vector/5": tmp_path / "0123abcd"}.__getitem__
    )
    monkeypatch.setitem(sys.modules, "tensorflow_hub", hub)
    model = load_saved_model("https://tfhub.dev/acme/tiny/feature_vector/5")
    assert model.name == "tiny_feature_vector"
    with pytest.raises(BuildError, match=r"resolve the handle 'https://a.b/c'. Received: .* Check the handle"):
        load_saved_model("https://a.b/c")


def test_a_handle_without_tensorflow_hub_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_hub", None)
    with pytest.raises(BuildError, match=r"pip install tensorflow-hub 'setuptools<82'"):
        load_saved_model("https://tfhub.dev/acme/tiny/1")
