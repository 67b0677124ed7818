"""What the checks find in the data sets, and whether planted copies make the expected accuracy rise.

python benchmarks/checks.py [SET ...]

For each data set every image is inspected (`recommend check --full`), and findings are counted by kind. Then, of at
most 1,000 of its images, a copy of each is planted under another name, once as it is and once saved again as a JPEG of
quality 80;
the expected accuracy should not rise beyond its standard error. One JSON line a set in results/checks.jsonl; a run
resumes.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import ResultFile, data_sets
from PIL import Image

from probes.data.sampling import draw_sample
from recommender import recommend

IMAGES = 1000


def doubled(paths: list[Path], target: Path, copy: Callable[[Path, Path], None] | None) -> Path:
    """A folder of links to images, and a copy of each."""
    for number, path in enumerate(paths):
        (target / path.parent.name).mkdir(exist_ok=True)
        (target / path.parent.name / path.name).symlink_to(path.resolve())
        if copy is not None:
            copy(path.resolve(), target / path.parent.name / f"copy {number}.jpg")
    return target


def resaved(path: Path, target: Path) -> None:
    Image.open(path).convert("RGB").save(target, quality=80)


def main(names: list[str]) -> None:
    results = ResultFile("checks.jsonl", ("set",))
    for name, index in data_sets(tuple(names)):
        if results.has(name):
            continue
        folder = Path(index.source)
        found = recommend(folder, check="full", max_images=IMAGES)
        row = {
            "set": name,
            "images": index.n_images,
            "findings": {finding.kind: finding.n_files for finding in found.findings},
            "seconds": found.seconds,
        }
        draw = draw_sample(index.files, IMAGES, 0)
        chosen = [
            folder / file for quota, files in zip(draw.quota, draw.candidates, strict=True) for file in files[:quota]
        ]
        for kind, copy in (
            ("plain", None),
            ("same", lambda path, target: target.symlink_to(path)),
            ("resaved", resaved),
        ):
            with tempfile.TemporaryDirectory() as target:
                again = recommend(doubled(chosen, Path(target), copy), max_images=2 * IMAGES)
            row[kind] = {
                "accuracy": again.expected_accuracy,
                "standard_error": again.probe.standard_error,
                "counted": again.measurements.size.n_images,
            }
        results.add(row)
        print(row)


if __name__ == "__main__":
    main(sys.argv[1:])
