"""Train the built model with Keras alone: it is an ordinary model, and what is frozen stays frozen.

python examples/train_with_keras.py FOLDER [EPOCHS]
"""

import sys

import keras

import netgraft


def main(folder: str, epochs: str = "5") -> None:
    found = netgraft.recommend(folder)
    model = found.build()
    data = keras.utils.image_dataset_from_directory(folder, image_size=(224, 224), batch_size=32)
    model.fit(data, epochs=int(epochs), class_weight=found.class_weight)


if __name__ == "__main__":
    main(*sys.argv[1:])
