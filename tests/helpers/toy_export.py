"""A format of exports as a user would add it, for tests and for docs/extending.md."""

from builders.export.formats import ExportFormat


class KerasHDF5(ExportFormat):
    """The network in Keras's older file format."""

    name, title, suffix = "h5", "Keras HDF5", ".h5"

    def write(self, network, path, pictures):  # noqa: ARG002
        network.save(path)

    def run(self, path, pictures):
        import keras

        from builders.export.formats import resized

        network = keras.models.load_model(path, compile=False)
        height, width = network.input_shape[1:3]
        return network.predict(resized(pictures, height, width), verbose=0)
