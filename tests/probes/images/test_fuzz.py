"""Damaged pictures and manifests by the thousand: each ends in facts, a finding or a clear error."""

import gzip
import io
import json
import os
import resource
from pathlib import Path

import pyarrow
import pytest
from corrupt import corruptions
from damage import damaged_pictures, write_damaged
from forms import hostile_pictures, sound_pictures
from pictures import write_images
from pyarrow import parquet

from probes.data.sources.open import open_source
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage, quiet_decoders
from probes.images.image_facts import inspect

N = 2000
SOUND = [name for name in sound_pictures() if name != "float.tif"]

# Inspects all images of a folder and prints the findings. All reasons are kept, not only the first thousand.
INSPECT = """
import json, sys
from probes.data.sources.folder import index_folder
from probes.images import inspect_all
from probes.quality.checked_data import InspectedData
from probes.quality.checks import files, odd_pictures, repeats
from probes.quality.repeats import find_repeats

inspect_all._REASONS = 10**6
index = index_folder(sys.argv[1])
seen = inspect_all.inspect_everything(index)
data = InspectedData(index=index, seen=seen, repeats=find_repeats(seen, index))
checks = (files.unreadable, repeats.check, odd_pictures.check)
found = [finding for check in checks for finding in check(data)]
failed = [seen.names[place] for place in seen.rows["place"][seen.rows["failure"] >= 0]]
reported = [[finding.kind, finding.n_files, finding.message] for finding in found]
print(json.dumps({"names": seen.names, "failed": failed, "reasons": seen.reasons, "findings": reported}))
"""


def is_clean(reason):
    """Whether a reason is one line in plain words."""
    internal = ("traceback", "\\x", "error: ", "exception", "0x", "tempfile")
    return reason.isprintable() and 3 < len(reason) <= 100 and not any(word in reason for word in internal)


class Memory:
    """A store of files in memory."""

    def __init__(self, files):
        self.files = files

    def open(self, name):
        return io.BytesIO(self.files[name])


def test_damaged_pictures_end_in_facts_or_a_reason():
    files = dict(damaged_pictures(150, seed=3))
    with quiet_decoders():
        found = dict(inspect(Memory(files), list(files), range(len(files))))
    reasons = [str(facts) for facts in found.values() if isinstance(facts, UnreadableImage)]
    assert len(found) == len(files)
    assert 0.2 < len(reasons) / len(files) < 0.8
    assert [reason for reason in reasons if not is_clean(reason)] == []


@pytest.fixture(scope="module")
def run(run_python, tmp_path_factory):
    """A process with limited memory that inspects 2,000 damaged pictures, sound ones and those that cost much."""
    folder = write_damaged(tmp_path_factory.mktemp("fuzz") / "data", N, seed=0)
    for name in SOUND:
        (folder / "flower" / f"sound {name}").write_bytes(sound_pictures()[name])
    (folder / "digit" / "nothing.jpg").touch()
    for name, (content, _) in hostile_pictures().items():
        (folder / "temple" / f"hostile {name}").write_bytes(content)
    own = {**os.environ, "NETGRAFT_DATA": str(tmp_path_factory.mktemp("own"))}
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))  # noqa: E731
    return run_python(INSPECT, folder, timeout=120, preexec_fn=limit, env=own)


@pytest.mark.slow
def test_thousands_of_damaged_pictures_are_inspected_in_bounded_memory_and_time(run):
    assert (run.returncode, run.stderr) == (0, "")
    seen = json.loads(run.stdout)
    assert len(seen["names"]) == N + len(SOUND) + len(hostile_pictures()) + 1
    assert set(seen["reasons"]) == set(seen["failed"])
    assert 0.2 * N < len(seen["failed"]) < 0.8 * N
    assert [reason for reason in seen["reasons"].values() if not is_clean(reason)] == []
    assert not [reason for reason in seen["reasons"].values() if "memory than there is" in reason]


@pytest.mark.slow
def test_among_them_sound_pictures_are_read_and_costly_ones_refused(run):
    seen = json.loads(run.stdout)
    assert sum("/sound " in name for name in seen["names"]) == len(SOUND)
    assert not [name for name in seen["failed"] if "/sound " in name]
    for name, (_, reason) in hostile_pictures().items():
        assert reason in seen["reasons"][f"temple/hostile {name}"]


@pytest.mark.slow
def test_findings_count_all_that_failed(run):
    seen = json.loads(run.stdout)
    failures = {"unreadable", "empty", "truncated", "bomb"}
    assert sum(number for kind, number, _ in seen["findings"] if kind in failures) == len(seen["failed"])
    assert failures < {kind for kind, *_ in seen["findings"]}
    assert all(message.isprintable() for *_, message in seen["findings"])


@pytest.mark.slow
def test_the_command_checks_a_folder_with_damaged_pictures(tmp_path, run_cli, tiny_file):
    folder = write_images(tmp_path / "data", {"flower": 12, "temple": 12})
    write_damaged(folder, 300, seed=1, classes=("flower", "temple"))
    own = {**os.environ, "NETGRAFT_DATA": str(tmp_path / "own")}
    done = run_cli("check", folder, "--full", "--json", "--backbone", tiny_file, env=own)
    assert (done.returncode, done.stderr) == (0, "")
    found = {finding["kind"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert {"unreadable", "truncated", "bomb"} < set(found)
    assert found["unreadable"]["n_files"] > 50


ROWS = [
    (f"{name}/{number:04}.jpg", name, "val" if number % 4 == 3 else "train", f"{name} {number // 2}", 1.0)
    for number in range(8)
    for name in ("flower", "temple")
]
COLUMNS = ("path", "label", "split", "group", "weight")


def text(delimiter):
    lines = [delimiter.join(map(str, row)) for row in (COLUMNS, *ROWS)]
    return "\r\n".join([*lines, ""]).encode()


def columnar(**options):
    table = pyarrow.table(dict(zip(COLUMNS, zip(*ROWS, strict=True), strict=True)))
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, **options)
    return buffer.getvalue()


MANIFESTS = {
    "list.csv": text(","),
    "list.tsv": text("\t"),
    "list.csv.gz": gzip.compress(text(","), mtime=0),
    "list.parquet": columnar(compression="zstd"),
    "list.pq": columnar(compression="none", use_dictionary=False, row_group_size=3),
}


@pytest.fixture
def pictures_beside(two_classes, tmp_path):
    """A folder in which manifests find the pictures that they name."""
    for name in ("flower", "temple"):
        (tmp_path / name).symlink_to(two_classes / name)
    return tmp_path


def opened(folder, name):
    """Forty damaged manifests of a kind, one after the other at the same place: the path, and the error if there is."""
    for content in corruptions(MANIFESTS[name], 40, seed=2):
        path = Path(folder, name)
        path.write_bytes(content)
        try:
            open_source(path)
        except ProbeError as error:
            yield path, str(error)
        else:
            yield path, None


@pytest.mark.parametrize("name", MANIFESTS)
def test_damaged_manifests_end_in_an_index_or_one_line(name, pictures_beside):
    errors = [error for _, error in opened(pictures_beside, name) if error is not None]
    assert 10 < len(errors) <= 40
    assert all(error.startswith("Expected ") and "\n" not in error for error in errors)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.pq"])
def test_the_command_ends_well_with_damaged_manifests_that_can_be_read(
    name, pictures_beside, invoke, monkeypatch, tiny_file
):
    monkeypatch.setenv("NETGRAFT_DATA", str(pictures_beside / "own"))
    ends = []
    for path, error in opened(pictures_beside, name):
        if error is None and len(ends) < 2:
            done = invoke("check", path, "--full", "--json", "--backbone", tiny_file)
            if done.returncode == 0:
                assert done.stderr == ""
                assert "findings" in json.loads(done.stdout)
            else:
                assert done.stderr.startswith("Error: Expected ")
                assert done.stderr.count("\n") == 1
            ends.append(done.returncode)
    assert len(ends) == 2
    assert set(ends) <= {0, 1}
