"""Tiny SavedModels of each kind, for tests."""

import warnings
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf

IMAGES = tf.TensorSpec((None, 16, 16, 3), tf.float32)
CLASSES = 5


def network(make=keras, *, head=True, momentum=0.99):
    """A stem, two inverted residuals and a plain block, BatchNorm in all forms; `make` is keras or tf_keras."""
    layers = make.layers

    def norm(x, name, **options):
        return layers.BatchNormalization(name=name, momentum=momentum, **options)(x)

    inputs = make.Input((16, 16, 3), name="image")
    x = layers.Conv2D(4, 3, 2, "same", use_bias=False, name="stem_conv")(inputs)
    x = layers.ReLU(6.0, name="stem_relu")(norm(x, "stem_bn"))
    for block, options in (("b0", {}), ("b1", {"scale": False}), ("b2", {"center": False})):
        y = norm(layers.Conv2D(8, 1, use_bias=False, name=f"{block}_expand")(x), f"{block}_bn0", **options)
        y = layers.Activation("swish", name=f"{block}_swish")(y)
        y = norm(layers.DepthwiseConv2D(3, padding="same", name=f"{block}_dw")(y), f"{block}_bn1")
        x = layers.Add(name=f"{block}_add")([x, layers.Conv2D(4, 1, name=f"{block}_project")(y)])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    if head:
        x = layers.Dense(CLASSES, activation="softmax", name="scores")(layers.Dropout(0.2, name="dropout")(x))
    model = make.Model(inputs, x, name="tiny")
    scatter(model)
    return model


BLOCKS = ["stem_relu", "b0_add", "b1_add", "b2_add"]


def scatter(model):
    """Set weights and statistics to values as after training; they depend on their names alone."""
    for weight in model.weights:
        name = getattr(weight, "path", weight.name).removesuffix(":0").replace("depthwise_kernel", "kernel")
        draw = np.random.default_rng(zlib.crc32(name.encode()))
        positive = "variance" in name or "gamma" in name
        weight.assign(draw.uniform(0.5, 2, weight.shape) if positive else 0.4 * draw.normal(size=weight.shape))


class Module(tf.Module):
    """A plain module; `function` is what it does, from the module and images."""

    def __init__(self, function, *specs):
        super().__init__(name="plain")
        draw = np.random.default_rng(0)
        self.kernel = tf.Variable(draw.normal(size=(3, 3, 3, 4)), dtype=tf.float32, name="kernel")
        self.inner = tf.Variable(0.3 * draw.normal(size=(3, 3, 4, 4)), dtype=tf.float32, name="inner")
        self.mean = tf.Variable(draw.normal(size=4), dtype=tf.float32, trainable=False, name="mean")
        self.variance = tf.Variable(draw.uniform(0.5, 2, 4), dtype=tf.float32, trainable=False, name="variance")
        self.gamma = tf.Variable(draw.uniform(0.5, 2, 4), dtype=tf.float32, name="gamma")
        self.beta = tf.Variable(draw.normal(size=4), dtype=tf.float32, name="beta")
        self.matrix = tf.Variable(draw.normal(size=(4, CLASSES)), dtype=tf.float32, name="matrix")
        signature = list(specs) or [IMAGES]
        self.__call__ = tf.function(lambda *inputs: function(self, *inputs), input_signature=signature)


def convolve(x, kernel):
    return tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))


def plain(module, x):
    """Convolution, BatchNorm, a residual join, class scores."""
    x = tf.nn.conv2d(x, module.kernel, 2, "SAME")
    x = tf.nn.batch_normalization(x, module.mean, module.variance, module.beta, module.gamma, 1e-3)
    x = tf.nn.relu(x)
    x = x + convolve(x, module.inner)
    return tf.reduce_mean(x, (1, 2)) @ module.matrix


def save_module(function, folder, *specs, **options):
    """Write a plain module; returns what it does."""
    module = Module(function, *specs)
    tf.saved_model.save(module, str(folder), **options)
    return module.__call__


def save_keras3(folder, **options):
    model = network(**options)
    model.export(folder, verbose=False)
    return model


def save_tf_keras(folder, **options):
    tf_keras = pytest.importorskip("tf_keras", reason="tf_keras, which comes with tensorflow-hub, is not installed")
    model = network(tf_keras, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old saver warns of itself
        model.save(folder, save_format="tf")
    return model


WRITERS = {
    "keras 3": save_keras3,
    "tf_keras": save_tf_keras,
    "tf.Module": lambda folder: save_module(plain, folder),
}


def pictures(count=6, size=16, seed=1):
    return np.random.default_rng(seed).normal(size=(count, size, size, 3)).astype(np.float32)


def labels(model, count=6):
    return np.random.default_rng(2).normal(size=(count, *model.output_shape[1:])).astype(np.float32)


def why_whole(model):
    """Why a module is a single layer; None for one that was split."""
    return next((layer.whole for layer in model.layers if getattr(layer, "whole", None)), None)


def fitted(model, optimizer=None):
    """Which variables moved in two short runs of training, by path."""
    before = {weight.path: weight.numpy() for weight in model.weights}
    model.compile(optimizer or keras.optimizers.Adam(0.01), "mse")
    for _ in range(2):
        model.fit(pictures(), labels(model), batch_size=3, verbose=0)
    return {weight.path for weight in model.weights if not np.array_equal(before[weight.path], weight.numpy())}
