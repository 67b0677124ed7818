"""What tests share: data sets and two ways to run the command."""

import contextlib
import ctypes
import gc
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, settings
from pictures import write_images

from recommender.cli.recommend import main

ROOT = Path(__file__).parent.parent
COMMAND = Path(sys.executable).with_name("recommend")
_MUCH_MEMORY = 1.5e9  # bytes

# A busy machine is no error, and no test writes into the folders of whoever runs it.
settings.register_profile("netgraft", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("netgraft")
_FOLDERS = tempfile.TemporaryDirectory(prefix="netgraft_tests_")
SHARED = Path(os.environ.setdefault("NETGRAFT_TESTS", _FOLDERS.name))  # workers inherit that of what starts them
os.environ["NETGRAFT_CACHE"] = str(SHARED / "cache")
os.environ["NETGRAFT_DATA"] = str(Path(_FOLDERS.name) / "data")


@dataclass(frozen=True, kw_only=True)
class Run:
    """How the command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(autouse=True, scope="module")
def _freed():
    """What Keras keeps of a session would pile up to gigabytes over all files; freeing takes seconds."""
    yield
    if _resident_bytes() < _MUCH_MEMORY:
        return
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # where the C library is not glibc
        ctypes.CDLL(None).malloc_trim(0)  # else freed memory stays with the process


def _resident_bytes():
    """Memory of this process; unlimited where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("inf")
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="session")
def shared_datasets():
    """The folder of real data sets; tests that need it are skipped where it is missing."""
    shared = Path(os.environ.get("NETGRAFT_SHARED", ROOT.parent / "shared"))
    folder = shared / "datasets"
    if not folder.is_dir():
        pytest.skip(f"needs the real data sets in {folder}; $NETGRAFT_SHARED may name another place than {shared}")
    return folder


@pytest.fixture
def forbid():
    """Takes all permissions from a file or folder until the test ends; skips where that does not stop this user."""
    forbidden = []

    def forbid(path):
        forbidden.append((path, path.stat().st_mode))
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip(f"this user may read everything, {path.name} too")

    yield forbid
    for path, mode in forbidden:
        path.chmod(mode)


@pytest.fixture(scope="session")
def two_classes(tmp_path_factory):
    """A folder with eight pictures of each of two classes."""
    return write_images(tmp_path_factory.mktemp("data") / "two_classes", {"flower": 8, "temple": 8})


def run_process(*arguments, timeout=600, **options):
    """Run a program to its end; bytes that are no UTF-8 pass through as surrogates."""
    done = subprocess.run(
        [os.fspath(argument) if isinstance(argument, os.PathLike) else str(argument) for argument in arguments],
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=timeout,
        **options,
    )
    return Run(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


@pytest.fixture(scope="session")
def run_cli():
    """Run the installed command in a process of its own, as a user does: `run_cli(folder, "--json", cwd=...)`."""
    assert COMMAND.exists(), f"{COMMAND} is missing: install the project with `pip install -e .[dev]`"
    return lambda *arguments, **options: run_process(COMMAND, *arguments, **options)


@pytest.fixture(scope="session")
def run_python():
    """Run Python code in a process of its own: `run_python(code, *arguments)`."""
    return lambda code, *arguments, **options: run_process(sys.executable, "-c", code, *arguments, **options)


@pytest.fixture(scope="session")
def invoke():
    """Run the command in this process, which loads TensorFlow only once; an error that is our bug surfaces."""

    def invoke(*arguments):
        done = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
        return Run(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr)

    return invoke


@pytest.fixture(scope="session")
def shared_imagenet(shared_datasets):
    """The folder of 1,000 ImageNet pictures, one for each class."""
    return shared_datasets.parent / "imagenet_sample"


@pytest.fixture(scope="session")
def tiny_file():
    """A saved network of a few blocks, to be given as `--backbone`; all workers share it, and convert it once."""
    path = SHARED / "tiny.keras"
    if not path.exists():
        from tiny import tiny_network

        made = SHARED / f"{os.getpid()}.keras"
        tiny_network().save(made)
        made.replace(path)
    return path


@pytest.fixture(scope="session")
def tiny_decided(two_classes, tiny_file):
    """A recommendation measured once with the tiny network. Never change it."""
    from recommender import recommend

    return recommend(two_classes, backbone=tiny_file)


@pytest.fixture(scope="session")
def tiny_found(tiny_decided):
    """The same measurements with a frozen model. Never change it."""
    from recommender.rules.scenario import Amount, Scenario

    frozen = Scenario.of(Amount.LIMITED, tiny_decided.verdict.similarity)
    return tiny_decided.with_scenario(frozen, by_trial=True)
