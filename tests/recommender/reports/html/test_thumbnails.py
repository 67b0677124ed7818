"""Thumbnails come from any form of data, and are few and small."""

import data_forms
import numpy as np
import pytest

from probes.data.sources.open import open_source
from recommender.reports.html.thumbnails import MOST, read_thumbnails


@pytest.mark.parametrize(
    "form", ["csv_manifest", "zip_archive", "tfrecord", "webdataset", "parquet_images", "arrays", "tf_pixels"]
)
def test_every_form_of_data_has_thumbnails(form, tmp_path):
    items = data_forms.write_items(tmp_path / "items", {"train": 3})
    (tmp_path / "data").mkdir()
    data, options = getattr(data_forms, form)(items, tmp_path / "data")
    index = open_source(data, **options)
    names = [name for of_class in index.files for name in of_class]
    found = read_thumbnails(index, names, {})
    assert list(found) == names
    assert all(uri.startswith("data:image/jpeg;base64,/9j/") for uri in found.values())


def test_no_more_are_read_than_the_limits_allow():
    class Squares:
        def open(self, _name):
            return np.zeros((8, 8, 3), np.uint8)

    index = type("Index", (), {"store": Squares()})
    names = [f"{number}" for number in range(300)]
    assert list(read_thumbnails(index, names, dict.fromkeys(names, (8, 8)))) == names[:MOST]
    large = {"3": (20_000, 20_000)}
    assert list(read_thumbnails(index, names[:5] * 2, large)) == ["0", "1", "2", "4"]
