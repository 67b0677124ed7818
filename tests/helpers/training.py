"""A tiny classifier and forty pictures to train it on."""

import keras
import numpy as np
from tiny import SIZE, tiny_network

from builders.surgery.freeze import freeze_below, hold_batch_norm
from builders.surgery.frozen_split import split_frozen
from builders.training.data import Examples, Pictures
from builders.training.schedule import plan_schedule
from builders.training.trainer import Trainer

FREEZE = "block2_relu"
LABELS = np.arange(40) % 2
TRAINING, HELD_OUT = np.arange(30), np.arange(30, 40)


def pixels():
    """Forty noisy pictures of two classes: bright above, or bright below."""
    made = np.random.default_rng(0).integers(0, 120, (40, SIZE, SIZE, 3)).astype(np.uint8)
    made[::2, : SIZE // 2] += 100
    made[1::2, SIZE // 2 :] += 100
    return made


def classifier(freeze=None):
    """A tiny network for two classes, frozen up to a layer; the same weights at each call."""
    body = tiny_network(head=False)
    x = keras.layers.Flatten()(body.output)
    initial = keras.initializers.RandomNormal(stddev=0.02, seed=1)
    model = keras.Model(body.input, keras.layers.Dense(2, activation="softmax", kernel_initializer=initial)(x))
    freeze_below(model, freeze)
    hold_batch_norm(model, train_batch_norm=False)
    return model


def frozen_outputs(model, pictures):
    """Outputs of the frozen part of a model, by Keras' own predict."""
    split = split_frozen(model)
    output = split.graph.run(model.input, split.reads)[0]
    return keras.Model(model.input, output).predict(pictures.astype(np.float32), verbose=0)


def inputs_of(model, freeze, augmentation=()):
    """What the tail of a classifier reads."""
    return Pictures(pixels=frozen_outputs(model, pixels()) if freeze else pixels(), augmentation=augmentation)


def examples(inputs, rows):
    return Examples(inputs=inputs, rows=rows, labels=LABELS[rows], weights=np.ones(len(rows)))


def trainer_of(model, *, steps=6, **options):
    """A trainer of the tail of a model, with batches of eight."""
    return Trainer(split_frozen(model).tail, plan_schedule(30, steps=steps, batch_size=8, **options))


def values(model):
    return [weight.numpy() for weight in model.weights]


def largest_difference(one, other):
    return max(float(np.abs(a - b).max()) for a, b in zip(values(one), values(other), strict=True))
