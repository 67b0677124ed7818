"""Decoders kept within bounds: of memory, of time, and of what they print."""

import io
import threading

import numpy as np
import pytest
from forms import SIZE, hostile_pictures, sound_pictures, tiff
from PIL import Image

from probes.images import decode as images
from probes.images.decode import UnreadableImage, quiet_decoders, read_picture, read_size
from probes.images.decoder_limits import PixelBudget
from probes.images.image_facts import open_picture

HOSTILE = hostile_pictures()
BROKEN = tiff(
    {256: (3, [16]), 257: (3, [16]), 258: (3, [8]), 259: (3, [5]), 262: (3, [1]), 273: (4, [8]), 279: (4, [9])}
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_small_file_that_asks_for_too_much_is_refused(name):
    content, reason = HOSTILE[name]
    assert len(content) < 200_000
    with quiet_decoders(), pytest.raises(UnreadableImage, match=reason):
        read_picture(io.BytesIO(content))


@pytest.mark.parametrize("name", ["tiles.tif", "lengths.bmp", "long.png", "tiles.jp2"])
def test_it_is_refused_by_its_header(name):
    with quiet_decoders(), pytest.raises(UnreadableImage) as caught:
        read_size(io.BytesIO(HOSTILE[name][0]))
    assert caught.value.kind == "bomb"


@pytest.mark.parametrize("name", [name for name in sound_pictures() if name != "float.tif"])
def test_sound_pictures_of_all_forms_are_read(name):
    with quiet_decoders():
        assert read_picture(io.BytesIO(sound_pictures()[name])).size in (SIZE, SIZE[::-1])


@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg", "several.jpg"])
def test_what_lies_behind_a_jpeg_or_in_its_comment_is_not_taken_for_scans(name):
    whole = sound_pictures()[name]
    much = b"\xff\xda" * 1000
    comment = b"\xff\xfe" + (len(much) + 2).to_bytes(2, "big") + much
    expected = read_picture(io.BytesIO(whole)).pixels
    for content in (whole + much, whole[:2] + comment + whole[2:]):
        np.testing.assert_array_equal(read_picture(io.BytesIO(content)).pixels, expected)


def test_libtiff_prints_nothing_and_prints_again_afterwards(capfd):
    with quiet_decoders(), pytest.raises(UnreadableImage):
        read_picture(io.BytesIO(BROKEN))
    assert capfd.readouterr().err == ""
    with pytest.raises(UnreadableImage):
        read_picture(io.BytesIO(BROKEN))
    assert "code not yet in table" in capfd.readouterr().err


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "P"])
def test_a_picture_converted_in_bands_is_the_same(mode, monkeypatch):
    whole = Image.open(io.BytesIO(sound_pictures()["plain.png"]))
    image = whole.convert("L").convert(mode) if mode.startswith("I") else whole.convert(mode)
    if mode == "P":
        image.info["transparency"] = 5
    expected = images._to_rgb(image)
    monkeypatch.setattr(images, "_BAND", 7 * image.width)
    np.testing.assert_array_equal(images._to_rgb(image), expected)


def test_the_range_of_32_bits_is_that_of_the_whole_picture_not_of_a_band(monkeypatch):
    pixels = np.zeros((20, 10), np.int32)
    pixels[15:] = 0x1234
    monkeypatch.setattr(images, "_BAND", 50)
    rgb = images._to_rgb(Image.fromarray(pixels))
    assert (rgb[:15] == 0).all()
    assert (rgb[15:] == 0x12).all()


class Store:
    """Opens every image alike."""

    def __init__(self, opened):
        self.opened = opened

    def open(self, name):
        del name
        return self.opened()


def out_of_memory(*_, **__):
    raise MemoryError


def test_a_picture_that_needs_more_memory_than_there_is_is_unreadable(monkeypatch):
    with pytest.raises(UnreadableImage, match="more memory") as caught:
        open_picture(Store(out_of_memory), "x.jpg")
    assert caught.value.kind == "bomb"
    monkeypatch.setattr(images, "_to_rgb", out_of_memory)
    with pytest.raises(UnreadableImage, match="more memory"):
        open_picture(Store(lambda: io.BytesIO(sound_pictures()["plain.png"])), "x.png")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("b'Invalid token for this mode: \\x00'", "a header with broken numbers"),
        ("invalid literal for int() with base 10: b'1omment'", "a header with broken numbers"),
        ("decoder error -2", "broken data"),
        ("Odd \x00\x1b[31m text", "odd ??[31m text"),
        ("First line.\nSecond line.", "first line"),
        ("x" * 500, "x" * 99 + "…"),
    ],
)
def test_what_decoders_say_becomes_one_short_line(said, told):
    assert str(images.unreadable(ValueError(said))) == told


def test_threads_share_out_pixels():
    budget, lock, most, held = PixelBudget(10), threading.Lock(), [], []

    def work(pixels):
        with budget.take(pixels):
            with lock:
                held.append(pixels)
                most.append(sum(held))
            threading.Event().wait(0.005)
            with lock:
                held.remove(pixels)

    threads = [threading.Thread(target=work, args=(1 + number % 7,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert len(most) == 40
    assert 5 < max(most) <= 10


def test_a_picture_larger_than_the_budget_is_in_work_alone():
    budget, order = PixelBudget(10), []

    def work():
        with budget.take(1):
            order.append("other")

    with budget.take(1000):
        other = threading.Thread(target=work)
        other.start()
        other.join(0.05)
        order.append("large")
    other.join(5)
    assert order == ["large", "other"]


def test_pixels_come_back_after_an_error():
    budget = PixelBudget(10)
    with pytest.raises(ValueError, match="broken"), budget.take(10):
        raise ValueError("broken")
    with budget.take(10):
        assert budget._free == 0
