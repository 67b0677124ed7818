"""Near duplicates: edited copies are found, look-alikes are not."""

import io

import numpy as np
import pytest
from pictures import photograph
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from sklearn.datasets import load_digits, load_sample_images

from probes.images.perceptual_hash import HASH_BYTES, NO_HASH, perceptual_hash
from probes.quality.near_duplicates import components, near_duplicates

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


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(buffer).convert("RGB")


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


def groups_of(hashes, **options):
    return components(len(hashes), near_duplicates(hashes, **options))


def random_prints(rng, n, *, ones=0.5):
    """Fingerprints of shape (n, 64) without colour; `ones` is the share of bits that are one."""
    prints = np.zeros((n, HASH_BYTES), np.uint8)
    prints[:, :32] = np.packbits(rng.random((n, 256)) < ones, axis=1)
    return prints


def flipped(rng, prints, most):
    """The same with up to `most` bits flipped, each row its own number of them."""
    bits = np.unpackbits(prints, axis=1)
    for row, count in zip(bits, rng.integers(0, most + 1, len(bits)), strict=True):
        row[rng.choice(256, count, replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def naive_limit(bits):
    """0.4 of the distance within which a tenth of the pictures has another, beyond 40 bits; 40 at most."""
    distances = sorted(far for i, one in enumerate(bits) for far in (one != bits[i + 1 :]).sum(1).tolist() if far > 40)
    wanted = int(np.ceil(max(0.1 * len(bits), 5)))
    return min(40, int(0.4 * distances[wanted - 1]))


def naive_groups(prints):
    """All pairs, one by one, and the groups by relabelling."""
    bits = np.unpackbits(prints[:, :32], axis=1)
    limit = naive_limit(np.unique(bits, axis=0))
    group = list(range(len(bits)))
    for i, one in enumerate(bits):
        differ = one != bits[i + 1 :]
        for j in i + 1 + np.flatnonzero((differ.sum(1) <= limit) & (differ[:, :64].sum(1) <= 6)):
            old, new = max(group[i], group[j]), min(group[i], group[j])
            group = [new if number == old else number for number in group]
    return np.unique(group, return_inverse=True)[1], limit


@pytest.mark.parametrize(("ones", "least_limit", "most_limit"), [(0.5, 36, 40), (0.85, 16, 26)])
def test_groups_equal_those_of_the_naive_comparison_of_all_pairs(ones, least_limit, most_limit):
    rng = np.random.default_rng(1)
    seeds = random_prints(rng, 500, ones=ones)
    near, far = flipped(rng, seeds[:60], 12), flipped(rng, seeds[60:120], 45)
    prints = np.concatenate([seeds, near, far, flipped(rng, near[:20], 12)])
    expected, limit = naive_groups(prints)
    assert least_limit <= limit <= most_limit
    assert 500 < expected.max() + 1 < 580  # some copies are found, some are too far
    assert (groups_of([row.tobytes() for row in prints]) == expected).all()


def test_groups_do_not_depend_on_the_order_of_the_pictures():
    rng = np.random.default_rng(2)
    seeds = random_prints(rng, 2500)
    prints = np.concatenate([seeds, flipped(rng, seeds[:500], 45)])
    order = rng.permutation(len(prints))
    one = groups_of([row.tobytes() for row in prints])
    other = groups_of([row.tobytes() for row in prints[order]])
    assert one.max() + 1 < len(prints)
    assert len({*zip(one[order].tolist(), other.tolist(), strict=True)}) == one.max() + 1 == other.max() + 1


@pytest.mark.parametrize("edit", EDITS)
def test_edited_photographs_are_found_and_no_others(edit, photographs, hashes):
    pairs = near_duplicates([*hashes, *(hash_of(EDITS[edit](image)) for image in photographs)])
    assert pairs == [(i, i + len(hashes)) for i in range(len(hashes))]


def test_a_photograph_of_twelve_megapixels_is_near_its_thumbnail(photographs, hashes):
    assert near_duplicates([*hashes, hash_of(photographs[1].resize((4000, 3000)))]) == [(1, len(hashes))]


def test_mirrored_photographs_are_found_on_request(photographs, hashes):
    both = [*hashes, *(hash_of(ImageOps.mirror(image)) for image in photographs)]
    assert near_duplicates(both) == []
    assert near_duplicates(both, mirrored=True) == [(i, i + len(hashes)) for i in range(len(hashes))]


@pytest.mark.parametrize("size", [8, 32])
def test_no_two_handwritten_digits_are_near_duplicates(size):
    digits = [Image.fromarray((pixels * 15.9).astype(np.uint8)) for pixels in load_digits().images]
    assert len(digits) == 1797
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


def disc(colour, centre=60):
    image = Image.new("RGB", (120, 120), "white")
    ImageDraw.Draw(image).ellipse((centre - 30, 20, centre + 10, 70), fill=colour)
    return image


def test_shapes_that_differ_in_colour_alone_are_different():
    assert near_duplicates([hash_of(disc(colour)) for colour in ("red", "blue", "green", "orange")]) == []


def test_a_grey_copy_of_a_coloured_shape_is_near_it():
    assert near_duplicates([hash_of(disc("red")), hash_of(disc("red").convert("L"))]) == [(0, 1)]


def test_a_grey_picture_has_one_hash_however_many_channels_it_comes_in(photographs):
    grey = np.asarray(photographs[0].convert("L"))
    one = perceptual_hash(grey)
    assert len(one) == HASH_BYTES
    assert one == perceptual_hash(grey[..., None]) == perceptual_hash(np.repeat(grey[..., None], 3, -1))


def test_crowds_of_copies_are_linked_with_one_pair_a_copy():
    rng = np.random.default_rng(3)
    one, other = random_prints(rng, 2)
    crowd = flipped(rng, np.tile(other, (4000, 1)), 6)
    prints = np.concatenate([random_prints(rng, 6000), np.tile(one, (10_000, 1)), crowd])
    pairs = near_duplicates([row.tobytes() for row in prints])
    assert len(pairs) == 9_999 + 3_999
    assert np.bincount(components(len(prints), pairs)).tolist() == [1] * 6000 + [10_000, 4000]


def test_pictures_that_none_of_the_bits_set_apart_but_the_high_ones_are_compared_all():
    rng = np.random.default_rng(4)
    prints = random_prints(rng, 1200)
    prints[:, :8] = prints[0, :8]
    prints[1:] = np.concatenate([prints[1:-1], flipped(rng, prints[1:2], 1)])
    prints[-1, :8] = prints[0, :8]
    assert near_duplicates([row.tobytes() for row in prints]) == [(1, 1199)]


def test_pairs_are_sorted_with_the_lesser_index_first(hashes):
    assert near_duplicates([hashes[1], hashes[0], hashes[2], hashes[1], hashes[0], hashes[1]]) == [
        (0, 3),
        (0, 5),
        (1, 4),
    ]


@pytest.mark.parametrize("hashes", [[], [bytes(range(64))], [NO_HASH] * 3, [NO_HASH, bytes(range(64))]])
def test_fewer_than_two_hashes_make_no_pair(hashes):
    assert near_duplicates(hashes) == []


def test_a_fingerprint_of_another_length_is_refused():
    with pytest.raises(ValueError, match="64 bytes"):
        near_duplicates([bytes(range(64)), bytes(range(32))])


def test_components_are_numbered_by_their_first_members():
    assert components(7, [(1, 4), (4, 6), (2, 5)]).tolist() == [0, 1, 2, 3, 1, 2, 1]


@pytest.mark.parametrize("n", [0, 1, 4])
def test_without_pairs_each_picture_is_a_group_of_its_own(n):
    assert components(n, []).tolist() == list(range(n))
