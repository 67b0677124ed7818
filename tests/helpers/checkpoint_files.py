"""A small network, and its checkpoints in each format."""

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras.src.legacy.saving import legacy_h5_format
from safetensors.numpy import save_file

PATHS = (
    *("conv1/kernel", "conv1/bias", "bn1/gamma", "bn1/beta", "bn1/moving_mean", "bn1/moving_variance"),
    *("conv2/kernel", "head/kernel", "head/bias"),
)


NAMES = ("conv1", "bn1", "conv2", "head")


def network(*, classes=3, seed=0, prefix="", names=NAMES, front=(), top=(), sequential=False, name="net"):
    """Two convolutions, a BatchNorm and a head, with random values; with `None` for a name Keras chooses it."""
    conv1, bn1, conv2, head = (given and prefix + given for given in names)
    layers = (
        *front,
        keras.layers.Conv2D(4, 3, name=conv1),
        keras.layers.BatchNormalization(name=bn1),
        keras.layers.ReLU(),
        keras.layers.Conv2D(5, 3, use_bias=False, name=conv2),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(classes, name=head),
        *top,
    )
    inputs = hidden = keras.Input((8, 8, 3))
    if sequential:
        return scramble(keras.Sequential([inputs, *layers], name=name), seed)
    for layer in layers:
        hidden = layer(hidden)
    return scramble(keras.Model(inputs, hidden, name=name), seed)


def scramble(model, seed):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def values(model):
    return [variable.numpy().copy() for variable in model.weights]


def same(model, others):
    return all(np.array_equal(own, other) for own, other in zip(values(model), others, strict=True))


def arrays(model):
    return {variable.path: variable.numpy() for variable in model.weights}


def write_names(stored, path):
    """As a network of TensorFlow 1 or an estimator writes it."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, array in stored.items():
            tf.compat.v1.get_variable(name, initializer=array)
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, str(path), write_meta_graph=False)


def write_npz(model, path):
    np.savez(path, **arrays(model))


def write_safetensors(model, path):
    save_file(arrays(model), path)


def write_legacy_weights(model, path):
    """As Keras 2 laid it out: layer names, and the names of each layer's weights with ":0"."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            weights = [*layer.trainable_weights, *layer.non_trainable_weights]
            group.attrs["weight_names"] = [f"{weight.path}:0".encode() for weight in weights]
            for weight in weights:
                group[f"{weight.path}:0"] = weight.numpy()


KINDS = {
    "name-based": ("model.ckpt", lambda model, path: write_names(arrays(model), path)),
    "object-based": ("ckpt", lambda model, path: tf.train.Checkpoint(model).write(str(path))),
    "object-based, a child": ("ckpt", lambda model, path: tf.train.Checkpoint(net=model).write(str(path))),
    ".weights.h5": ("m.weights.h5", lambda model, path: model.save_weights(path)),
    ".keras": ("m.keras", lambda model, path: model.save(path)),
    "legacy .h5, weights": ("m.h5", write_legacy_weights),
    "legacy .h5, whole": (
        "m.h5",
        lambda model, path: legacy_h5_format.save_model_to_hdf5(model, str(path)),
    ),
    ".npz": ("m.npz", write_npz),
    ".safetensors": ("m.safetensors", write_safetensors),
}
STRUCTURED = [kind for kind in KINDS if kind not in {"name-based", ".npz", ".safetensors"}]


def write(kind, model, folder):
    name, writer = KINDS[kind]
    writer(model, folder / name)
    return folder / name
