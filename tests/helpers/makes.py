"""The same small network in each form in which people write Keras models, with random weights and statistics."""

import keras
import numpy as np

L = keras.layers
POINTS = ["one_relu", "two_relu", "pool", "three_relu"]


def block(x, filters, name):
    y = L.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    y = L.BatchNormalization(name=f"{name}_bn")(y)
    if x.shape[-1] == filters:
        y = L.Add(name=f"{name}_add")([x, y])
    return L.ReLU(name=f"{name}_relu")(y)


def body(name="body", size=16, channels=3):
    inputs = keras.Input((size, size, channels))
    x = block(block(inputs, 4, "one"), 4, "two")
    return keras.Model(inputs, block(L.MaxPooling2D(name="pool")(x), 8, "three"), name=name)


def randomised(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def classifier(name="classifier", **shape):
    trunk = body(name, **shape)
    x = L.GlobalAveragePooling2D(name="gap")(trunk.output)
    return randomised(keras.Model(trunk.input, L.Dense(5, activation="softmax", name="probs")(x), name=name))


def nested():
    layers = [keras.Input((16, 16, 3)), L.Rescaling(1 / 255), body(), L.GlobalAveragePooling2D(), L.Dense(2)]
    return randomised(keras.Sequential(layers, name="outer"))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.scale, self.inner, self.top = L.Rescaling(1 / 255), body(), L.Dense(2)

    def call(self, x):
        return self.top(keras.ops.mean(self.inner(self.scale(x)), axis=(1, 2)))


def subclassed(made_by=Subclassed):
    model = made_by()
    model(np.zeros((1, 16, 16, 3), np.float32))
    return randomised(model)


MAKES = {"functional": classifier, "nested in a sequential model": nested, "subclassed": subclassed}


def vision_transformer():
    """Patches, four blocks of attention, a class token that is picked out at the end."""
    x = inputs = keras.Input((32, 32, 3))
    x = L.Conv2D(16, 8, strides=8, name="patches")(L.Rescaling(1 / 127.5, offset=-1)(x))
    x = L.Reshape((16, 16))(x)
    for _ in range(4):
        y = L.LayerNormalization()(x)
        x = L.Add()([x, L.MultiHeadAttention(2, 8)(y, y)])
        x = L.Add()([x, L.Dense(16)(L.Dense(32, activation="gelu")(L.LayerNormalization()(x)))])
    return keras.Model(inputs, L.Dense(5)(L.LayerNormalization(name="norm")(x)[:, 0]), name="vit")


def pictures(size=16, channels=3):
    return np.random.default_rng(1).uniform(0, 1, (4, size, size, channels)).astype(np.float32)


def snapshot(model):
    """Path, value and trainable flag of each weight."""
    return {weight.path: (weight.numpy().tolist(), weight.trainable) for weight in model.weights}


def trains(model):
    """Paths of the weights that train."""
    return {weight.path for weight in model.trainable_weights}
