"""Decoding pictures of every kind, and refusing files that are none."""

import contextlib
import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import photograph, png
from PIL import Image, ImageOps, features

from probes.images.decode import UnreadableImage, in_order, quiet_decoders, read_picture, read_size, resize

PHOTO = photograph(np.random.default_rng(0), (64, 48))
COLOURS = np.asarray(PHOTO)
GREYS = np.asarray(PHOTO.convert("L"))


@pytest.fixture
def read(tmp_path):
    """Saves a picture under a name and reads it back as netgraft does."""

    def read(image, name, **options):
        image.save(tmp_path / name, **options)
        with quiet_decoders():
            return read_picture(tmp_path / name)

    return read


@pytest.fixture
def reason(tmp_path):
    """Reads bytes that are no readable picture, and returns the reason."""

    def reason(content, name):
        (tmp_path / name).write_bytes(content)
        return refused(tmp_path / name)

    return reason


def refused(path):
    with quiet_decoders(), pytest.raises(UnreadableImage) as caught:
        read_picture(path)
    message = str(caught.value)
    assert "\n" not in message
    assert 0 < len(message) < 80
    assert str(path) not in message
    return message


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.dib", "x.tif", "x.ppm", "x.PNG", "it's a\nпример.tiff"])
def test_lossless_colours_are_read_exactly(read, name):
    picture = read(PHOTO, name)
    assert picture.pixels.dtype == np.uint8
    np.testing.assert_array_equal(picture.pixels, COLOURS)
    assert picture.size == (64, 48)


@pytest.mark.parametrize("name", ["x.jpg", "x.jpeg", "x.jfif", "x.webp", "x.jp2", "x.avif"])
def test_lossy_colours_are_read_nearly(read, name):
    if name.endswith(".avif") and not features.check("avif"):
        pytest.skip("this build of Pillow reads no AVIF")
    picture = read(PHOTO, name, quality=95) if not name.endswith(".jp2") else read(PHOTO, name)
    assert picture.pixels.shape == COLOURS.shape
    assert np.abs(picture.pixels.astype(int) - COLOURS).mean() < 4


def test_the_content_tells_the_format_and_not_the_suffix(tmp_path):
    (tmp_path / "x.jpg").write_bytes(encoded(PHOTO, "PNG"))
    np.testing.assert_array_equal(read_picture(tmp_path / "x.jpg").pixels, COLOURS)


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.pgm"])
def test_grey_becomes_three_equal_channels(read, name):
    picture = read(PHOTO.convert("L"), name)
    np.testing.assert_array_equal(picture.pixels, np.repeat(GREYS[..., None], 3, axis=-1))


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.pbm"])
def test_one_bit_becomes_black_and_white(read, name):
    bits = PHOTO.convert("1")
    picture = read(bits, name)
    np.testing.assert_array_equal(picture.pixels[..., 1], np.where(np.asarray(bits), 255, 0))


@pytest.mark.parametrize("name", ["x.png", "x.gif", "x.tif"])
def test_a_palette_is_looked_up(read, name):
    indexed = PHOTO.quantize(32)
    np.testing.assert_array_equal(read(indexed, name).pixels, np.asarray(indexed.convert("RGB")))


def test_a_transparent_palette_entry_is_white(read):
    indexed = PHOTO.quantize(32)
    gone = np.asarray(indexed) == 5
    expected = np.where(gone[..., None], 255, np.asarray(indexed.convert("RGB")))
    np.testing.assert_array_equal(read(indexed, "x.png", transparency=5).pixels, expected)


def test_a_transparent_colour_is_white(read):
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (1, 2, 3))
    assert read(image, "x.png", transparency=(1, 2, 3)).pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_laid_on_white(read, mode):
    image = PHOTO.convert(mode)
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    image.putalpha(Image.fromarray(alpha))
    share = alpha[..., None] / 255
    opaque = np.asarray(PHOTO.convert(mode).convert("RGB"))
    np.testing.assert_allclose(read(image, "x.png").pixels, opaque * share + 255 * (1 - share), atol=1.0)


def test_inks_become_colours(read):
    picture = read(PHOTO.convert("CMYK"), "x.jpg", quality=95)
    assert np.abs(picture.pixels.astype(int) - COLOURS).mean() < 6


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_sixteen_bits_follow_the_high_byte(read, name):
    wide = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    picture = read(Image.fromarray(wide), name)
    np.testing.assert_array_equal(picture.pixels, np.repeat((wide >> 8)[..., None], 3, axis=-1))


def test_sixteen_bits_in_colour_follow_the_high_byte(tmp_path):
    (tmp_path / "x.png").write_bytes(png(1, 1, bits=16, rows=b"\0" + bytes([200, 255, 100, 255, 50, 255])))
    assert read_picture(tmp_path / "x.png").pixels.tolist() == [[[200, 100, 50]]]


@pytest.mark.parametrize(
    ("name", "options"), [("x.gif", {}), ("x.webp", {"lossless": True}), ("x.png", {}), ("x.tif", {})]
)
def test_an_animation_is_its_first_frame(read, name, options):
    first, second = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    picture = read(first, name, save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(picture.pixels, np.asarray(first))


def test_a_camera_s_file_of_several_pictures_is_its_first(read):
    picture = read(PHOTO, "x.jpg", format="MPO", save_all=True, append_images=[PHOTO.rotate(180)], quality=95)
    assert np.abs(picture.pixels.astype(int) - COLOURS).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(read, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    corners = Image.fromarray(np.array([[10, 20, 30], [40, 50, 60]], np.uint8)).convert("RGB")
    upright = {
        1: [[10, 20, 30], [40, 50, 60]],
        2: [[30, 20, 10], [60, 50, 40]],
        3: [[60, 50, 40], [30, 20, 10]],
        4: [[40, 50, 60], [10, 20, 30]],
        5: [[10, 40], [20, 50], [30, 60]],
        6: [[40, 10], [50, 20], [60, 30]],
        7: [[60, 30], [50, 20], [40, 10]],
        8: [[30, 60], [20, 50], [10, 40]],
    }
    assert read(corners, "x.png", exif=exif).pixels[..., 0].tolist() == upright[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_pillow_turns_it(read, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read(PHOTO, "x.jpg", exif=exif)
    with Image.open(tmp_path / "x.jpg") as image:
        np.testing.assert_array_equal(picture.pixels, np.asarray(ImageOps.exif_transpose(image)))


def test_a_broken_exif_block_does_not_cost_the_picture(read):
    assert read(PHOTO, "x.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken").size == (64, 48)


def test_the_header_alone_tells_the_size(tmp_path):
    (tmp_path / "x.png").write_bytes(png(300, 200))
    assert read_size(tmp_path / "x.png") == (300, 200)


@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
def test_grey_pictures_are_told_from_coloured_ones(read, name):
    assert not read(PHOTO, name).grey
    assert read(PHOTO.convert("L"), name).grey
    assert read(PHOTO.convert("L").convert("RGB"), name).grey


def test_a_tint_is_a_colour(read):
    assert not read(Image.new("RGB", (8, 8), (120, 120, 128)), "x.png").grey
    assert read(Image.new("RGB", (8, 8), (120, 120, 123)), "x.png").grey


def test_a_text_file_is_no_picture(reason):
    assert reason(b"this is a cat\n" * 9, "x.jpg") == "not a picture in a known format"


def test_a_picture_in_a_format_that_is_not_expected_is_none(reason):
    assert reason(encoded(PHOTO, "ICO"), "x.jpg") == "not a picture in a known format"


def test_an_empty_file_is_no_picture(reason):
    assert reason(b"", "x.jpg") == "empty file"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_truncated_picture_is_refused(reason, kind, share):
    whole = encoded(PHOTO, kind)
    assert reason(whole[: int(len(whole) * share)], f"x.{kind.lower()}")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncation_is_named(reason, kind):
    whole = encoded(PHOTO, kind)
    assert "truncated" in reason(whole[: len(whole) // 2], "x")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_flipped_bytes_never_escape_as_another_error(tmp_path, kind):
    rng, whole = np.random.default_rng(0), np.frombuffer(encoded(PHOTO, kind), np.uint8)
    for _ in range(40):
        broken = whole.copy()
        broken[rng.integers(len(whole), size=8)] = rng.integers(256, size=8)
        (tmp_path / "x").write_bytes(broken.tobytes())
        with quiet_decoders(), contextlib.suppress(UnreadableImage):
            assert read_picture(tmp_path / "x").pixels.shape[2] == 3


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(GREYS.astype(np.float32)).save(tmp_path / "x.tif")
    assert refused(tmp_path / "x.tif").startswith("floating-point")


@pytest.mark.parametrize("value", [70_000, -1])
def test_pixels_of_unknown_range_are_refused(tmp_path, value):
    Image.fromarray(np.full((4, 4), value, np.int32)).save(tmp_path / "x.tif")
    assert refused(tmp_path / "x.tif").startswith("pixels of more than 16 bits")


@pytest.mark.parametrize("side", [9_460, 30_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, side):
    path = tmp_path / "x.png"
    path.write_bytes(png(side, side))
    assert path.stat().st_size < 100
    assert refused(path).endswith("a decompression bomb")
    with quiet_decoders(), pytest.raises(UnreadableImage, match="bomb"):
        read_size(path)


def test_the_largest_picture_is_no_bomb(tmp_path):
    (tmp_path / "x.png").write_bytes(png(9_459, 9_459))
    assert read_size(tmp_path / "x.png") == (9_459, 9_459)


def test_a_missing_file_is_refused(tmp_path):
    assert refused(tmp_path / "x.jpg") == "no such file"


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "x.jpg").mkdir()
    assert refused(tmp_path / "x.jpg") in ("is a directory", "permission denied", "empty file")


def test_a_file_that_may_not_be_read_is_refused(tmp_path, forbid):
    PHOTO.save(tmp_path / "x.jpg")
    forbid(tmp_path / "x.jpg")
    assert refused(tmp_path / "x.jpg") == "permission denied"


def open_files():
    return len(list(Path("/dev/fd").iterdir()))


def test_files_are_closed_again(tmp_path):
    PHOTO.save(tmp_path / "good.jpg")
    (tmp_path / "bad.jpg").write_bytes(encoded(PHOTO, "JPEG")[:300])
    (tmp_path / "bomb.png").write_bytes(png(30_000, 30_000))
    before = open_files()
    read_picture(tmp_path / "good.jpg")
    refused(tmp_path / "bad.jpg")
    refused(tmp_path / "bomb.png")
    assert open_files() == before


@pytest.mark.parametrize(
    ("height", "width"), [(48, 64), (300, 200), (7, 5), (20, 300), (300, 20), (32, 32), (1, 1), (33, 31)]
)
def test_resizing_equals_the_layer_in_the_model(height, width):
    import keras

    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    layer = keras.layers.Resizing(32, 32, interpolation="bilinear", antialias=True)
    ours = resize(pixels, 32).numpy()
    assert (ours.shape, ours.dtype) == ((32, 32, 3), np.float32)
    np.testing.assert_allclose(ours, layer(pixels[None].astype(np.float32))[0], atol=1e-3)


def decoding_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def wait_until(true, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return true()


def test_results_come_in_the_order_of_the_items():
    def slowest_first(number):
        time.sleep(0.02 * (number % 3 == 0))
        return number * number

    results = list(in_order(slowest_first, range(30), workers=4, ahead=8))
    assert results == [number * number for number in range(30)]
    assert wait_until(lambda: not decoding_threads())


def test_no_items_give_no_results():
    assert list(in_order(str, [], workers=2, ahead=4)) == []


def test_an_error_surfaces_at_its_item():
    results = in_order(lambda number: 1 / (number - 3), range(9), workers=3, ahead=8)
    assert [next(results) for _ in range(3)] == [1 / -3, 1 / -2, 1 / -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert wait_until(lambda: not decoding_threads())


def test_no_more_than_asked_is_decoded_ahead():
    begun = []
    results = in_order(begun.append, iter(range(100)), workers=2, ahead=5)
    next(results)
    time.sleep(0.1)
    assert len(begun) <= 6
    results.close()


def test_leaving_early_stops_the_threads_and_cancels_what_has_not_begun():
    begun, gate = [], threading.Event()

    def work(number):
        begun.append(number)
        return number == 0 or gate.wait(5)

    results = in_order(work, range(100), workers=2, ahead=50)
    assert next(results)
    results.close()
    gate.set()
    assert wait_until(lambda: not decoding_threads())
    assert len(begun) <= 5
