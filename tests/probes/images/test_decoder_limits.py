"""Limits on what decoders use: memory, time, and what they print."""

import io
import threading

import numpy as np
import pytest
from forms import hostile_pictures, sound_pictures, tiff
from pictures import png

from probes.images.decode import UnreadableImage, quiet_decoders, read_picture, read_size
from probes.images.decoder_limits import PixelBudget

HOSTILE = hostile_pictures()
BROKEN = tiff(
    {256: (3, [16]), 257: (3, [16]), 258: (3, [8]), 259: (3, [5]), 262: (3, [1]), 273: (4, [8]), 279: (4, [9])}
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_small_file_that_would_cost_too_much_is_refused(name):
    content, reason = HOSTILE[name]
    assert len(content) < 200_000
    with quiet_decoders(), pytest.raises(UnreadableImage, match=reason):
        read_picture(io.BytesIO(content))


@pytest.mark.parametrize("name", ["tiles.tif", "lengths.bmp", "long.png", "tiles.jp2"])
def test_limits_of_the_header_are_checked_without_decoding(name):
    with quiet_decoders(), pytest.raises(UnreadableImage) as caught:
        read_size(io.BytesIO(HOSTILE[name][0]))
    assert caught.value.kind == "bomb"


@pytest.mark.parametrize("side", [9_460, 30_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_by_its_header(side):
    for read in (read_picture, read_size):
        with quiet_decoders(), pytest.raises(UnreadableImage, match=r"a decompression bomb$"):
            read(io.BytesIO(png(side, side)))


def test_the_largest_picture_is_no_bomb():
    assert read_size(io.BytesIO(png(9_459, 9_459))) == (9_459, 9_459)


@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg", "several.jpg"])
def test_bytes_after_a_jpeg_or_in_its_comment_are_not_counted_as_scans(name):
    whole, many = sound_pictures()[name], b"\xff\xda" * 1000
    comment = b"\xff\xfe" + (len(many) + 2).to_bytes(2, "big") + many
    expected = read_picture(io.BytesIO(whole)).pixels
    for content in (whole + many, whole[:2] + comment + whole[2:]):
        np.testing.assert_array_equal(read_picture(io.BytesIO(content)).pixels, expected)


def test_libtiff_prints_nothing_while_decoders_are_quiet(capfd):
    with quiet_decoders(), pytest.raises(UnreadableImage):
        read_picture(io.BytesIO(BROKEN))
    assert capfd.readouterr().err == ""
    with pytest.raises(UnreadableImage):
        read_picture(io.BytesIO(BROKEN))
    assert "code not yet in table" in capfd.readouterr().err


def test_threads_share_the_pixel_budget():
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


def test_a_picture_larger_than_the_budget_is_processed_alone():
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


def test_the_budget_is_released_after_an_error():
    budget = PixelBudget(10)
    with pytest.raises(ValueError, match="broken"), budget.take(10):
        raise ValueError("broken")
    with budget.take(10):
        pass
