"""Classify a picture with a saved model. TensorFlow and Keras suffice: netgraft is not needed.

python examples/use_the_model.py MODEL.keras PICTURE
"""

import sys

import keras


def main(model_path: str, picture_path: str) -> None:
    model = keras.models.load_model(model_path)
    picture = keras.utils.img_to_array(keras.utils.load_img(picture_path))  # any size, pixels 0 to 255
    probabilities = model.predict(picture[None], verbose=0)[0]
    print(probabilities.argmax(), probabilities.max())


if __name__ == "__main__":
    main(*sys.argv[1:])
