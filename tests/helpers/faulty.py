"""A small sound data set, and a copy of it in which every kind of fault is planted."""

import colorsys
import shutil
from pathlib import Path

import numpy as np
from pictures import photograph, png
from PIL import Image

CLASSES = ("aster", "birch", "clover", "daisy", "elder")
PER_SPLIT = {"train": 30, "val": 6, "test": 6}
_HUES = np.linspace(0, 1, len(CLASSES), endpoint=False)


def picture(rng, kind, size=(96, 72)):
    """A crop of a photograph, in the tint of its class and of the same brightness and contrast as all others."""
    luma = np.asarray(photograph(rng, size, source=CLASSES.index(kind) % 2).convert("L"), np.float64)
    luma = 120 + 40 * (luma - luma.mean()) / max(luma.std(), 1.0)
    tint = np.array(colorsys.hsv_to_rgb(_HUES[CLASSES.index(kind)], 0.6, 1.0))
    tint /= tint @ (0.299, 0.587, 0.114)
    return Image.fromarray(np.clip(luma[..., None] * (0.4 + 0.6 * tint), 0, 255).astype(np.uint8))


def write_sound(folder):
    """Five classes in three splits, with nothing wrong."""
    rng = np.random.default_rng(0)
    for split, number in PER_SPLIT.items():
        for kind in CLASSES:
            below = Path(folder, split, kind)
            below.mkdir(parents=True)
            for place in range(number):
                picture(rng, kind).save(below / f"{place:02}.jpg", quality=92)
    return Path(folder)


def _shortcuts(train):
    """One class each that is given away by its format, its size, its mode or its brightness."""
    for path in sorted((train / "aster").iterdir()):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    for path in sorted((train / "birch").iterdir()):
        Image.open(path).resize((128, 96)).save(path, quality=92)
    for path in sorted((train / "clover").iterdir()):
        Image.open(path).convert("L").save(path, quality=92)
    for path in sorted((train / "daisy").iterdir()):
        Image.open(path).point(lambda value: value * 0.35).save(path, quality=92)


def write_faulty(sound, folder):
    """A copy of the sound data set with every fault that a folder can have.

    Returns:
        The folder, and for each kind of finding how many files it should name; None where that is open.
    """
    folder = Path(shutil.copytree(sound, folder))
    train, val, test = (folder / split for split in ("train", "val", "test"))
    rng = np.random.default_rng(1)
    _shortcuts(train)
    elder = train / "elder"
    whole = (elder / "00.jpg").read_bytes()
    (elder / "text.jpg").write_text("this is an elder")
    (elder / "cut off.jpg").write_bytes(whole[: len(whole) // 2])
    (elder / "nothing.jpg").touch()
    (elder / "bomb.png").write_bytes(png(30_000, 30_000))
    Image.open(elder / "01.jpg").resize((97, 73)).rotate(90, expand=True).save(elder / "misnamed.jpg", format="PNG")
    shutil.copyfile(elder / "02.jpg", elder / "same.jpg")
    Image.open(elder / "03.jpg").save(elder / "nearly.jpg", quality=60)
    shutil.copyfile(elder / "04.jpg", train / "birch" / "conflict.jpg")
    Image.open(elder / "05.jpg").save(train / "birch" / "near conflict.jpg", quality=60)
    shutil.copyfile(elder / "06.jpg", val / "elder" / "leak.jpg")
    Image.open(elder / "07.jpg").resize((120, 90)).save(test / "elder" / "near leak.jpg")
    Image.new("RGB", (96, 72), (90, 90, 90)).save(elder / "blank.jpg")
    picture(rng, "elder", (620, 420)).save(elder / "large.jpg")
    picture(rng, "elder", (300, 72)).save(elder / "wide.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(rng, "elder").rotate(90, expand=True).save(elder / "lying.jpg", exif=turned)
    picture(rng, "elder").save(elder / "labelled wrong.jpg", quality=92)
    (elder / "labelled wrong.jpg").rename(train / "daisy" / "labelled wrong.jpg")
    (train / "ferns").mkdir()
    for place in range(5):
        picture(rng, "birch").transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(train / "ferns" / f"{place}.jpg")
    (train / "gorse").mkdir()
    (elder / "notes.txt").touch()
    return folder, {
        "unreadable": 1,
        "truncated": 1,
        "empty": 1,
        "bomb": 1,
        "misnamed": 1,
        "duplicate": 1,
        "near_duplicate": 1,
        "conflict": 2,
        "near_conflict": 2,
        "leak": 1,
        "near_leak": 1,
        "blank": 1,
        "odd_size": 1,
        "odd_aspect": 1,
        "rotated": 1,
        "mixed_modes": 30,
        "imbalance": None,
        "small_class": 5,
        "shortcut_format": 30,
        "shortcut_size": None,
        "shortcut_mode": 30,
        "shortcut_brightness": None,
        "label_error": None,
        "passed_over": 1,
        "empty_class": 0,
        "validation": None,  # ferns and gorse are in training alone
    }
