"""Decoding pictures of every format and mode, and refusing files that are not pictures."""

import contextlib
import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from forms import SIZE, sound_pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import photograph, png
from PIL import Image, ImageOps, features

from probes.images import decode
from probes.images.decode import UnreadableImage, in_order, quiet_decoders, read_picture, read_size, resize, unreadable
from probes.images.image_facts import open_picture

PHOTO = photograph(np.random.default_rng(0), (64, 48))
COLOURS = np.asarray(PHOTO)
GREYS = np.asarray(PHOTO.convert("L"))
SOUND = [name for name in sound_pictures() if name != "float.tif"]


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(image, kind="PNG", channels=3, **options):
    """Save a picture and read it back."""
    with quiet_decoders():
        return read_picture(io.BytesIO(encoded(image, kind, **options)), channels)


def reason(content):
    """Why bytes, or a file, are not a readable picture."""
    with quiet_decoders(), pytest.raises(UnreadableImage) as caught:
        read_picture(content if isinstance(content, Path) else io.BytesIO(content))
    message = str(caught.value)
    assert message.isprintable()
    assert 0 < len(message) < 80
    assert str(content) not in message
    return message


@pytest.mark.parametrize("name", SOUND)
def test_sound_pictures_of_all_formats_are_read(name):
    with quiet_decoders():
        assert read_picture(io.BytesIO(sound_pictures()[name])).size in (SIZE, SIZE[::-1])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "DIB", "TIFF", "PPM"])
def test_lossless_formats_are_read_exactly(kind):
    for image, expected in ((PHOTO, COLOURS), (PHOTO.convert("L"), np.repeat(GREYS[..., None], 3, axis=-1))):
        picture = read(image, kind)
        assert (picture.pixels.dtype, picture.size) == (np.uint8, (64, 48))
        np.testing.assert_array_equal(picture.pixels, expected)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "JPEG2000", "AVIF", "MPO"])
def test_lossy_formats_are_read_approximately(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this build of Pillow reads no AVIF")
    options = {"save_all": True, "append_images": [PHOTO.rotate(180)]} if kind == "MPO" else {}
    picture = read(PHOTO, kind, **options, **({} if kind == "JPEG2000" else {"quality": 95}))
    assert np.abs(picture.pixels.astype(int) - COLOURS).mean() < 4


def test_cmyk_is_converted_to_rgb():
    picture = read(PHOTO.convert("CMYK"), "JPEG", quality=95)
    assert np.abs(picture.pixels.astype(int) - COLOURS).mean() < 6


def test_the_content_decides_the_format_and_not_the_suffix(tmp_path):
    (tmp_path / "it's a\nпример.jpg").write_bytes(encoded(PHOTO, "PNG"))
    np.testing.assert_array_equal(read_picture(tmp_path / "it's a\nпример.jpg").pixels, COLOURS)


def test_one_bit_becomes_black_and_white():
    bits = PHOTO.convert("1")
    np.testing.assert_array_equal(read(bits).pixels[..., 1], np.where(np.asarray(bits), 255, 0))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF"])
def test_palette_indices_become_their_colours(kind):
    indexed = PHOTO.quantize(32)
    np.testing.assert_array_equal(read(indexed, kind).pixels, np.asarray(indexed.convert("RGB")))


def test_a_transparent_palette_entry_or_colour_is_composited_on_white():
    indexed = PHOTO.quantize(32)
    expected = np.where((np.asarray(indexed) == 5)[..., None], 255, np.asarray(indexed.convert("RGB")))
    np.testing.assert_array_equal(read(indexed, transparency=5).pixels, expected)
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (1, 2, 3))
    assert read(image, transparency=(1, 2, 3)).pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_composited_on_white_unless_alpha_is_requested(mode):
    image = PHOTO.convert(mode)
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    image.putalpha(Image.fromarray(alpha))
    opaque, share = np.asarray(PHOTO.convert(mode).convert("RGB")), alpha[..., None] / 255
    np.testing.assert_allclose(read(image).pixels, opaque * share + 255 * (1 - share), atol=1.0)
    np.testing.assert_array_equal(read(image, channels=4).pixels, np.concatenate([opaque, alpha[..., None]], axis=-1))


def test_the_channels_are_those_requested():
    np.testing.assert_array_equal(read(PHOTO, channels=1).pixels[..., 0], GREYS)
    assert (read(PHOTO, channels=4).pixels[..., 3] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_keep_the_high_byte(kind):
    wide = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    np.testing.assert_array_equal(read(Image.fromarray(wide), kind).pixels, np.repeat((wide >> 8)[..., None], 3, -1))


def test_sixteen_bits_in_colour_keep_the_high_byte():
    content = png(1, 1, bits=16, rows=b"\0" + bytes([200, 255, 100, 255, 50, 255]))
    assert read_picture(io.BytesIO(content)).pixels.tolist() == [[[200, 100, 50]]]


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_an_animation_is_its_first_frame(kind, options):
    first, second = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    picture = read(first, kind, save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(picture.pixels, np.asarray(first))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_rotated_upright_as_exif_asks(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(PHOTO, "JPEG", exif=exif)
    picture = read_picture(io.BytesIO(content))
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(picture.pixels, np.asarray(ImageOps.exif_transpose(image)))
    assert picture.rotated == (orientation > 1)


def test_a_broken_exif_block_does_not_affect_the_pixels():
    assert read(PHOTO, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken").size == (64, 48)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "P"])
def test_a_picture_converted_in_bands_is_the_same(mode, monkeypatch):
    image = PHOTO.convert("L").convert(mode) if mode.startswith("I") else PHOTO.convert(mode)
    if mode == "P":
        image.info["transparency"] = 5
    expected = decode._to_rgb(image)
    monkeypatch.setattr(decode, "_BAND", 7 * image.width)
    np.testing.assert_array_equal(decode._to_rgb(image), expected)


def test_the_range_of_32_bits_is_that_of_the_whole_picture_not_of_a_band(monkeypatch):
    pixels = np.zeros((20, 10), np.int32)
    pixels[15:] = 0x1234
    monkeypatch.setattr(decode, "_BAND", 50)
    rgb = decode._to_rgb(Image.fromarray(pixels))
    assert (rgb[:15] == 0).all()
    assert (rgb[15:] == 0x12).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_grey_pictures_are_distinguished_from_coloured_ones(kind):
    assert not read(PHOTO, kind).grey
    assert read(PHOTO.convert("L"), kind).grey
    assert read(PHOTO.convert("L").convert("RGB"), kind).grey


def test_a_tint_beyond_the_tolerance_is_a_colour():
    assert read(Image.new("RGB", (8, 8), (120, 120, 123))).grey
    assert not read(Image.new("RGB", (8, 8), (120, 120, 128))).grey


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 4)])
def test_arrays_are_read_like_files(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    picture = read_picture(pixels)
    assert (picture.size, picture.format) == (read_size(pixels), "array") == ((4, 5), "array")
    if shape != (5, 4, 4):
        np.testing.assert_array_equal(picture.rgb, np.broadcast_to(pixels.reshape(5, 4, -1), (5, 4, 3)))


def test_the_size_is_read_from_the_header_alone():
    assert read_size(io.BytesIO(png(300, 200))) == (300, 200)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"this is a cat\n" * 9, "not a picture in a known format"),
        (encoded(PHOTO, "ICO"), "not a picture in a known format"),
        (b"", "empty file"),
        (encoded(Image.fromarray(GREYS.astype(np.float32)), "TIFF"), "floating-point pixels, whose range is unknown"),
        *(
            (encoded(Image.fromarray(np.full((4, 4), value, np.int32)), "TIFF"), "pixels of more than 16 bits, whose")
            for value in (70_000, -1)
        ),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(content, expected):
    assert reason(content).startswith(expected)


def test_files_that_can_not_be_opened_are_refused_with_a_reason(tmp_path, forbid):
    (tmp_path / "folder.jpg").mkdir()
    assert reason(tmp_path / "missing.jpg") == "no such file"
    assert reason(tmp_path / "folder.jpg") in ("is a directory", "permission denied", "empty file")
    PHOTO.save(tmp_path / "x.jpg")
    forbid(tmp_path / "x.jpg")
    assert reason(tmp_path / "x.jpg") == "permission denied"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_a_truncated_picture_is_refused(kind):
    whole = encoded(PHOTO, kind)
    for share in (0.05, 0.5, 0.9):
        message = reason(whole[: int(len(whole) * share)])
    if kind in ("JPEG", "PNG"):
        assert "truncated" in message


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_changed_bytes_give_a_picture_or_a_reason(kind, changes):
    broken = bytearray(encoded(PHOTO, kind))
    for place, value in changes:
        broken[int(place * len(broken))] = value
    with quiet_decoders(), contextlib.suppress(UnreadableImage):
        assert read_picture(io.BytesIO(bytes(broken))).pixels.shape[2] == 3


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("b'Invalid token for this mode: \\x00'", "a header with broken numbers"),
        ("invalid literal for int() with base 10: b'1omment'", "a header with broken numbers"),
        ("decoder error -2", "broken data"),
        ("Odd \x00\x1b[31m text", "odd ??[31m text"),
        ("First line.\nSecond line.", "first line"),
        ("x" * 500, "x" * 99 + "…"),
    ],
)
def test_the_message_of_a_decoder_becomes_one_short_line(message, expected):
    assert str(unreadable(ValueError(message))) == expected


class OneImage:
    """A store in which every name opens the same image."""

    def __init__(self, opened):
        self.opened = opened

    def open(self, name):
        del name
        return self.opened()


def out_of_memory(*_, **__):
    raise MemoryError


def test_a_picture_that_needs_more_memory_than_there_is_is_unreadable(monkeypatch):
    with pytest.raises(UnreadableImage, match="more memory") as caught:
        open_picture(OneImage(out_of_memory), "x.jpg")
    assert caught.value.kind == "bomb"
    monkeypatch.setattr(decode, "_to_rgb", out_of_memory)
    with pytest.raises(UnreadableImage, match="more memory"):
        open_picture(OneImage(lambda: io.BytesIO(encoded(PHOTO, "PNG"))), "x.png")


def test_files_are_closed_after_reading(tmp_path):
    files = {
        "good.jpg": encoded(PHOTO, "JPEG"),
        "bad.jpg": encoded(PHOTO, "JPEG")[:300],
        "bomb.png": png(30_000, 30_000),
    }
    before = len(list(Path("/dev/fd").iterdir()))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with quiet_decoders(), contextlib.suppress(UnreadableImage):
            read_picture(tmp_path / name)
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("height", "width"), [(48, 64), (300, 200), (7, 5), (20, 300), (300, 20), (32, 32), (1, 1), (33, 31)]
)
def test_resizing_equals_the_layer_in_the_model(height, width):
    import keras

    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    layer = keras.layers.Resizing(32, 32, interpolation="bilinear", antialias=True)
    ours = resize(pixels, 32)
    assert (ours.shape, ours.dtype) == ((32, 32, 3), np.float32)
    np.testing.assert_allclose(ours, layer(pixels[None].astype(np.float32))[0], atol=1e-3)


def no_decoding_threads():
    """Whether all threads end within five seconds."""
    deadline = time.monotonic() + 5
    while running := [thread for thread in threading.enumerate() if thread.name.startswith("decode")]:
        if time.monotonic() > deadline:
            return False
        running[0].join(0.01)
    return True


def test_results_come_in_the_order_of_the_items():
    def slowest_first(number):
        time.sleep(0.01 * (number % 3 == 0))
        return number * number

    assert list(in_order(slowest_first, range(30), workers=4, ahead=8)) == [number * number for number in range(30)]
    assert list(in_order(str, [], workers=2, ahead=4)) == []
    assert no_decoding_threads()


def test_an_error_surfaces_at_its_item():
    results = in_order(lambda number: 1 / (number - 3), range(9), workers=3, ahead=8)
    assert [next(results) for _ in range(3)] == [1 / -3, 1 / -2, 1 / -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert no_decoding_threads()


def test_no_more_items_than_requested_are_decoded_ahead():
    begun = []
    results = in_order(begun.append, iter(range(100)), workers=2, ahead=5)
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 6
    results.close()


def test_closing_early_cancels_what_has_not_begun():
    begun, gate = [], threading.Event()

    def work(number):
        begun.append(number)
        return number == 0 or gate.wait(5)

    results = in_order(work, range(100), workers=2, ahead=50)
    assert next(results)
    results.close()
    gate.set()
    assert no_decoding_threads()
    assert len(begun) <= 5
