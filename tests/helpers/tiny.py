"""A network of a few blocks, for tests in which real weights don't matter."""

import keras

SIZE = 32  # px
CLASSES = 7  # of the head that it comes with


def tiny_network(*, size: int = SIZE, head: bool = True, seed: int = 0) -> keras.Model:
    """Five residual blocks with BatchNorm on pixels of 0 to 255; a new one, of the same weights, at each call."""
    initial = keras.initializers.HeNormal(seed)
    inputs = keras.Input((size, size, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(inputs)
    for block, width in enumerate((8, 8, 12, 16, 16)):
        stride = 2 if block in (0, 2, 3) else 1
        y = keras.layers.Conv2D(
            width, 3, stride, "same", use_bias=False, kernel_initializer=initial, name=f"block{block}_conv"
        )(x)
        y = keras.layers.BatchNormalization(name=f"block{block}_bn")(y)
        y = keras.layers.ReLU(name=f"block{block}_relu")(y)
        x = keras.layers.Add(name=f"block{block}_add")([x, y]) if x.shape == y.shape else y
    if head:
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        x = keras.layers.Dense(CLASSES, activation="softmax", kernel_initializer=initial, name="predictions")(x)
    return keras.Model(inputs, x, name="tiny")
