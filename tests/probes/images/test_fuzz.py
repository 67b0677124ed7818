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
from damage import write_damaged
from forms import hostile_pictures, sound_pictures
from pictures import write_images
from pyarrow import parquet

from probes.data.sources.open import open_source
from probes.errors import ProbeError

N = 2000
SOUND = [name for name in sound_pictures() if name != "float.tif"]

# Looks at all images of a folder and prints what came of it. All reasons are kept, not the first thousand alone.
LOOK = """
import json, sys
from probes import full_check
from probes.quality.findings import failures, oddities
from probes.quality.repeats import find_repeats, repeats
from probes.data.sources.folder import index_folder

full_check._REASONS = 10**6
index = index_folder(sys.argv[1])
seen = full_check.inspect_everything(index)
found = [*failures(seen), *repeats(seen, index, find_repeats(seen, index)), *oddities(seen)]
failed = [seen.names[place] for place in seen.rows["place"][seen.rows["failure"] >= 0]]
said = [[finding.kind, finding.n_files, finding.message] for finding in found]
print(json.dumps({"names": seen.names, "failed": failed, "reasons": seen.reasons, "findings": said}))
"""


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """2,000 damaged pictures in class folders, with a sound one of each form and those made to cost much."""
    folder = write_damaged(tmp_path_factory.mktemp("fuzz") / "data", N, seed=0)
    for name in SOUND:
        (folder / "flower" / f"sound {name}").write_bytes(sound_pictures()[name])
    (folder / "digit" / "nothing.jpg").touch()
    for name, (content, _) in hostile_pictures().items():
        (folder / "temple" / f"hostile {name}").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def run(folder, run_python, tmp_path_factory):
    """A process of its own that looks at them all: a crash, a hang or gigabytes are the end of it."""
    own = {**os.environ, "NETGRAFT_DATA": str(tmp_path_factory.mktemp("own"))}
    return run_python(LOOK, folder, timeout=120, preexec_fn=limit_memory, env=own)


@pytest.fixture(scope="module")
def seen(run):
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_process_lives_and_prints_nothing_on_standard_error(run):
    assert (run.returncode, run.stderr) == (0, "")


def test_every_damaged_picture_ends_in_facts_or_a_reason(seen):
    assert len(seen["names"]) == N + len(SOUND) + len(hostile_pictures()) + 1
    assert set(seen["reasons"]) == set(seen["failed"])
    assert 0.2 * N < len(seen["failed"]) < 0.8 * N


def test_every_reason_is_one_clean_line(seen):
    for reason in seen["reasons"].values():
        assert reason.isprintable()
        assert 3 < len(reason) <= 100
        assert not any(word in reason for word in ("traceback", "\\x", "error: ", "exception", "0x", "tempfile"))


def test_nothing_fails_for_want_of_memory(seen):
    assert not [name for name, reason in seen["reasons"].items() if "memory than there is" in reason]


def test_sound_pictures_among_them_are_read(seen):
    assert not [name for name in seen["failed"] if "/sound " in name]
    assert sum("/sound " in name for name in seen["names"]) == len(SOUND)


def test_pictures_that_would_cost_much_are_refused_for_what_they_are(seen):
    for name, (_, reason) in hostile_pictures().items():
        assert reason in seen["reasons"][f"temple/hostile {name}"]


def test_findings_tell_of_all_that_failed(seen):
    failures = {"unreadable", "empty", "truncated", "bomb"}
    assert sum(number for kind, number, _ in seen["findings"] if kind in failures) == len(seen["failed"])
    assert failures < {kind for kind, *_ in seen["findings"]}
    assert all(message.isprintable() for *_, message in seen["findings"])


def test_the_command_checks_a_folder_with_damaged_pictures(tmp_path, run_cli):
    folder = write_images(tmp_path / "data", {"flower": 12, "temple": 12})
    write_damaged(folder, 300, seed=1, classes=("flower", "temple"))
    own = {**os.environ, "NETGRAFT_DATA": str(tmp_path / "own")}
    done = run_cli("check", folder, "--full", "--json", "--input-size", "96", env=own)
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
def beside(two_classes, tmp_path):
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
def test_damaged_manifests_end_in_an_index_or_one_line(name, beside):
    errors = [error for _, error in opened(beside, name) if error is not None]
    assert 10 < len(errors) <= 40
    assert all(error.startswith("Expected ") and "\n" not in error for error in errors)


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.pq"])
def test_the_command_ends_well_with_damaged_manifests_that_can_be_read(name, beside, invoke, monkeypatch):
    monkeypatch.setenv("NETGRAFT_DATA", str(beside / "own"))
    ends = []
    for path, error in opened(beside, name):
        if error is None and len(ends) < 2:
            done = invoke("check", path, "--full", "--json", "--input-size", "64")
            if done.returncode == 0:
                assert done.stderr == ""
                assert "findings" in json.loads(done.stdout)
            else:
                assert done.stderr.startswith("Error: Expected ")
                assert done.stderr.count("\n") == 1
            ends.append(done.returncode)
    assert len(ends) == 2
    assert set(ends) <= {0, 1}
