"""A sample of the names of a list that is too long to be held."""

import random
from collections import Counter

from probes.data.image_index import TEST, TRAIN, VALIDATION, Entry
from probes.data.name_sample import NameSample
from probes.data.sampling import SPARE_FILES, draw_splits, quotas
from probes.data.sources import manifest
from probes.data.sources.open import open_source


def entries(**counts):
    return [Entry(f"{label}/{number}.jpg", label, TRAIN) for label, n in counts.items() for number in range(n)]


def sampled(listed, max_images=40, seed=0):
    sample = NameSample(max_images=max_images, seed=seed)
    sample.add(listed)
    return sample


def test_every_entry_is_counted():
    listed = [*entries(a=900, b=100), Entry("v", "a", VALIDATION), Entry("t", "b", TEST)]
    assert sampled(listed).counts == {(TRAIN, "a"): 900, (TRAIN, "b"): 100, (VALIDATION, "a"): 1, (TEST, "b"): 1}


def test_the_sample_depends_on_names_and_seed_but_not_on_the_order():
    listed = entries(a=900, b=100)
    shuffled = random.Random(0).sample(listed, len(listed))
    in_parts = NameSample(max_images=40, seed=0)
    in_parts.add(shuffled[:300])
    in_parts.add(shuffled[300:])
    assert sampled(listed).entries() == sampled(shuffled).entries() == in_parts.entries()
    assert sampled(listed).entries() != sampled(listed, seed=1).entries()


def test_each_class_has_twice_its_share_so_that_broken_images_can_be_replaced():
    kept = Counter(entry.label for entry in sampled(entries(a=9000, b=1000), max_images=400).entries())
    assert (kept["a"], kept["b"]) == tuple(2 * share for share in quotas((9000, 1000), 400))


def test_a_rare_class_keeps_its_few_images():
    kept = Counter(entry.label for entry in sampled(entries(common=20_000, rare=5)).entries())
    assert kept["rare"] == 5
    assert kept["common"] <= 2 * 40


def test_memory_does_not_grow_with_the_list():
    sample = NameSample(max_images=10, seed=0)
    sample.add(Entry(str(number), number % 3) for number in range(50_000))
    held = len(sample._lowest) + sum(map(len, sample._of_class.values()))
    assert held <= 2 * 4 * 10 + 3 * (2 + SPARE_FILES)


def test_a_long_manifest_is_sampled_with_the_counts_of_all_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "MOST_LISTED", 100)
    named = {"train": [("1", 300), ("2", 100)], "val": [("1", 9), ("2", 9)]}
    rows = [
        f"{split} {label} {number}.png,{label},{split}"
        for split, sizes in named.items()
        for label, n in sizes
        for number in range(n)
    ]
    table = tmp_path / "labels.csv"
    table.write_text("path,label,split\n" + "\n".join(rows))
    index = open_source(str(table), max_images=40)
    assert index.class_counts == (300, 100)
    assert index.split_sizes() == {"train": 400, "validation": 18}
    assert index.numbers == (1, 2)
    assert draw_splits(index, 40, 0).train.quota == (22, 8)
    assert sum(map(len, index.files)) < 400
