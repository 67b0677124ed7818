"""Near duplicates: edited copies are found, similar pictures are not, and groups equal a naive comparison."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import photograph
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from sklearn.datasets import load_digits, load_sample_images

from probes.images.perceptual_hash import HASH_BYTES, NO_HASH, perceptual_hash
from probes.quality.near_duplicates import components, near_duplicates


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(buffer).convert("RGB")


EDITS = {
    "png": lambda x: saved(x, "PNG"),
    "jpeg 95": lambda x: saved(x, "JPEG", quality=95),
    "jpeg 50": lambda x: saved(x, "JPEG", quality=50),
    "webp": lambda x: saved(x, "WEBP", quality=75),
    "half the size": lambda x: x.resize((x.width // 2, x.height // 2)),
    "double the size": lambda x: x.resize((x.width * 2, x.height * 2)),
    "brighter": lambda x: ImageEnhance.Brightness(x).enhance(1.1),
    "darker": lambda x: ImageEnhance.Brightness(x).enhance(0.9),
    "more contrast": lambda x: ImageEnhance.Contrast(x).enhance(1.1),
    "less contrast": lambda x: ImageEnhance.Contrast(x).enhance(0.9),
    "grey": lambda x: x.convert("L"),
    "small, bright and jpeg": lambda x: saved(ImageEnhance.Brightness(x.resize((110, 83))).enhance(1.1), "JPEG"),
    "cropped by 1 %": lambda x: x.crop((1, 0, x.width - 1, x.height - 1)),
}


def hash_of(image):
    return perceptual_hash(np.asarray(image))


@pytest.fixture(scope="module")
def photographs():
    """The two photographs, and crops of them."""
    rng = np.random.default_rng(0)
    crops = [photograph(rng, (320, 240), source).resize((160, 120)) for source in (0, 1) for _ in range(10)]
    return [*(Image.fromarray(pixels).resize((160, 107)) for pixels in load_sample_images().images), *crops]


@pytest.fixture(scope="module")
def hashes(photographs):
    return [hash_of(image) for image in photographs]


@pytest.mark.parametrize("edit", EDITS)
def test_edited_photographs_are_found_and_no_others(edit, photographs, hashes):
    pairs = near_duplicates([*hashes, *(hash_of(EDITS[edit](image)) for image in photographs)])
    assert pairs == [(i, i + len(hashes)) for i in range(len(hashes))]


def test_a_photograph_of_twelve_megapixels_is_near_its_thumbnail(photographs, hashes):
    assert near_duplicates([*hashes, hash_of(photographs[1].resize((4000, 3000)))]) == [(1, len(hashes))]


def test_mirror_images_are_not_near_duplicates(photographs, hashes):
    assert near_duplicates([*hashes, *(hash_of(ImageOps.mirror(image)) for image in photographs)]) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 32])
def test_no_two_handwritten_digits_are_near_duplicates(size):
    digits = [Image.fromarray((pixels * 15.9).astype(np.uint8)) for pixels in load_digits().images]
    assert near_duplicates([hash_of(digit.resize((size, size))) for digit in digits]) == []


def blank_pictures():
    noise = np.random.default_rng(0).integers(-1, 2, (90, 120, 3))
    ramp = np.linspace(0, 255, 120).astype(np.uint8)
    return {
        "white": np.full((90, 120, 3), 255, np.uint8),
        "black and grey": np.zeros((90, 120), np.uint8),
        "one pixel": np.full((1, 1, 3), 77, np.uint8),
        "of faint noise": (128 + noise).astype(np.uint8),
        "a ramp": np.tile(ramp, (90, 1)),
        "a bar code": np.tile(255 * (ramp // 7 % 2), (90, 1)),
        "a ramp upwards": np.tile(ramp[:, None], (1, 90)),
    }


@pytest.mark.parametrize("name", blank_pictures())
def test_pictures_without_detail_have_no_hash_and_are_in_no_pair(name):
    blank = perceptual_hash(blank_pictures()[name])
    assert blank == NO_HASH
    assert near_duplicates([blank, blank]) == []


def disc(colour):
    image = Image.new("RGB", (120, 120), "white")
    ImageDraw.Draw(image).ellipse((30, 20, 70, 70), fill=colour)
    return image


def test_shapes_that_differ_only_in_colour_are_different_and_a_grey_copy_is_near():
    assert near_duplicates([hash_of(disc(colour)) for colour in ("red", "blue", "green", "orange")]) == []
    assert near_duplicates([hash_of(disc("red")), hash_of(disc("red").convert("L"))]) == [(0, 1)]


def test_a_grey_picture_has_one_hash_however_many_channels_it_has(photographs):
    grey = np.asarray(photographs[0].convert("L"))
    assert perceptual_hash(grey) == perceptual_hash(grey[..., None]) == perceptual_hash(np.stack([grey] * 3, -1))


def test_the_bits_of_the_hash_keep_their_order():
    """Journals on disk hold them."""
    ramp = (np.add.outer(np.arange(64) ** 2, 5 * np.arange(64)) % 256).astype(np.uint8)
    assert perceptual_hash(ramp)[:32].hex() == "bc230243053b0c16965065af11f7f2dd3295b5b2b6c5e4b2e7bce8ed4dd54924"


def random_prints(rng, n, *, ones=0.5):
    """Fingerprints of shape (n, 64) without colour; `ones` is the share of bits that are one."""
    prints = np.zeros((n, HASH_BYTES), np.uint8)
    prints[:, :32] = np.packbits(rng.random((n, 256)) < ones, axis=1)
    return prints


def flipped(rng, prints, most):
    """The same with up to `most` bits flipped in each row."""
    bits = np.unpackbits(prints, axis=1)
    for row, number in zip(bits, rng.integers(0, most + 1, len(bits)), strict=True):
        row[rng.choice(256, number, replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def groups_of(prints):
    hashes = [row.tobytes() for row in prints]
    return components(len(hashes), near_duplicates(hashes))


def naive_groups(prints):
    """All pairs compared one by one, and the limit that the definition gives."""
    bits = np.unpackbits(prints[:, :32], axis=1)
    distinct = np.unique(bits, axis=0)
    far = sorted(d for i, one in enumerate(distinct) for d in (one != distinct[i + 1 :]).sum(1).tolist() if d > 40)
    limit = min(40, int(0.4 * far[int(np.ceil(max(0.1 * len(distinct), 5))) - 1]))
    group = list(range(len(bits)))
    for i, one in enumerate(bits):
        differ = one != bits[i + 1 :]
        for j in i + 1 + np.flatnonzero((differ.sum(1) <= limit) & (differ[:, :64].sum(1) <= 6)):
            old, new = max(group[i], group[j]), min(group[i], group[j])
            group = [new if number == old else number for number in group]
    return np.unique(group, return_inverse=True)[1], limit


@pytest.mark.parametrize(("ones", "least_limit", "most_limit"), [(0.5, 36, 40), (0.85, 16, 26)])
def test_groups_equal_those_of_a_naive_comparison_of_all_pairs(ones, least_limit, most_limit):
    rng = np.random.default_rng(1)
    seeds = random_prints(rng, 500, ones=ones)
    near, far = flipped(rng, seeds[:60], 12), flipped(rng, seeds[60:120], 45)
    prints = np.concatenate([seeds, near, far, flipped(rng, near[:20], 12)])
    expected, limit = naive_groups(prints)
    assert least_limit <= limit <= most_limit
    assert 500 < expected.max() + 1 < 580  # some copies are found, some are too far
    assert (groups_of(prints) == expected).all()


@pytest.mark.parametrize("n", [500, 2500])  # the larger one is sampled to find what is usual
def test_groups_do_not_depend_on_the_order_of_the_pictures(n):
    rng = np.random.default_rng(2)
    seeds = random_prints(rng, n)
    prints = np.concatenate([seeds, flipped(rng, seeds[: n // 5], 45)])
    order = rng.permutation(len(prints))
    one, other = groups_of(prints), groups_of(prints[order])
    assert one.max() + 1 < len(prints)
    assert len({*zip(one[order].tolist(), other.tolist(), strict=True)}) == one.max() + 1 == other.max() + 1


def test_crowds_of_copies_are_linked_with_one_pair_a_copy():
    rng = np.random.default_rng(3)
    one, other = random_prints(rng, 2)
    crowd = flipped(rng, np.tile(other, (1500, 1)), 6)
    pairs = near_duplicates(
        [row.tobytes() for row in np.concatenate([random_prints(rng, 2000), np.tile(one, (3000, 1)), crowd])]
    )
    assert len(pairs) == 2999 + 1499
    assert np.bincount(components(6500, pairs)).tolist() == [1] * 2000 + [3000, 1500]


def test_all_pictures_of_one_bucket_are_compared():
    rng = np.random.default_rng(4)
    prints = random_prints(rng, 1200)
    prints[:, :8] = prints[0, :8]
    prints[-1] = flipped(rng, prints[2:3], 1)[0]
    prints[-1, :8] = prints[0, :8]
    assert near_duplicates([row.tobytes() for row in prints]) == [(2, 1199)]


def test_pairs_are_sorted_with_the_lesser_index_first(hashes):
    one, other, third = hashes[:3]
    assert near_duplicates([other, one, third, other, one, other]) == [(0, 3), (0, 5), (1, 4)]


@pytest.mark.parametrize("hashes", [[], [bytes(range(64))], [NO_HASH] * 3, [NO_HASH, bytes(range(64))]])
def test_fewer_than_two_hashes_make_no_pair(hashes):
    assert near_duplicates(hashes) == []


@settings(deadline=None)
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_components_are_those_of_a_naive_search_and_numbered_by_their_first_members(graph):
    n, pairs = graph
    group = list(range(n))
    for i, j in pairs:
        group = [group[i] if number == group[j] else number for number in group]
    numbers = {}
    assert components(n, pairs).tolist() == [numbers.setdefault(one, len(numbers)) for one in group]
