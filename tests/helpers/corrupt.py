"""Damage as disks and cut-off downloads do it, for tests of what reads files."""

import random


def corruptions(good, n, seed=0):
    """Damaged versions of a file's bytes.

    Args:
        good: the bytes.
        n: how many versions.
        seed: of the damage.

    Yields:
        The bytes cut off, or with single bytes changed, or with a stretch replaced by noise of another length; half of
        the damage is near the ends, where archives keep their directories.
    """
    rng = random.Random(seed)
    for number in range(n):
        bad = bytearray(good)
        near = min(1500, len(bad))
        ranges = (range(len(bad)), range(near), range(len(bad) - near, len(bad)))
        where = ranges[rng.choice((0, 0, 1, 2))]
        if number % 4 == 0:
            del bad[rng.choice(where) :]
        elif number % 4 == 1:
            at = rng.choice(where)
            bad[at : at + rng.randrange(600)] = rng.randbytes(rng.randrange(600))
        else:
            for _ in range(rng.choice((1, 5, 50))):
                at = rng.choice(where)
                bad[at] = rng.choice((0, 255, rng.randrange(256), bad[at] ^ 1 << rng.randrange(8)))
        yield bytes(bad)
