"""Look into a built wheel: its top level is exactly the packages and the dist-info, with the references inside.

python .ci/check_wheel.py FOLDER
"""

import sys
import zipfile
from pathlib import Path

PACKAGES = {"netgraft", "recommender", "builders", "probes"}
NEEDED = {f"probes/similarity/reference/efficientnet_lite{number}.npz" for number in range(3)} | {
    "netgraft/py.typed",
    "probes/similarity/reference/standard_photos.npz",
    "recommender/py.typed",
    *(f"recommender/reports/html/{name}" for name in ("report.html.jinja", "report.css", "report.js")),
    "recommender/reports/html/reference_sets.csv",
}


def main(folder: Path) -> None:
    (wheel,) = folder.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    top = {name.split("/")[0] for name in names}
    info = {name for name in top if name.endswith(".dist-info")}
    if len(info) != 1 or top - info != PACKAGES:
        sys.exit(f"Expected the top level of {wheel.name} to be {sorted(PACKAGES)}. Received: {sorted(top)}.")
    if NEEDED - names:
        sys.exit(f"Expected {sorted(NEEDED - names)} in {wheel.name}. Received: a wheel without.")
    print(f"{wheel.name}: {sorted(top)}, {wheel.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
