"""Run the tutorial's commands on real pictures, and put what they print into the tutorial and into docs/images/.

python .ci/record_output.py DATASETS

DATASETS holds the folder `hymenoptera` with the photographs of ants and of bees. Four of them and a photograph of a
temple become the new pictures of the tutorial.
"""

import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text
from sklearn.datasets import load_sample_image

DOCS = Path(__file__).parents[1] / "docs"
RECOMMEND = "recommend ants_and_bees"
SHOWN = {RECOMMEND: 40}  # lines of an output that is shortened
DRAWN = {RECOMMEND: "recommend.svg"}
FIRST_SCREEN = 24  # lines of a picture
NEW = (10, 100)  # which photographs of each class are not learned from
WIDTH = 80
ENVIRONMENT = {**os.environ, "COLUMNS": str(WIDTH), "TF_CPP_MIN_LOG_LEVEL": "3"}
# A command, and the block of what it prints.
_SHOWN = re.compile(r"(?<=```sh\n)(recommend [^\n]+)(\n```\n\n```text\n)(.*?)(?=\n```)", re.DOTALL)
# Rich names fonts of another site in its pictures, without which the reader's own take their place, and itself.
_OTHERS = re.compile(r"@font-face \{.*?\}\s*|<!-- Generated with Rich.*?-->", re.DOTALL)


def main(datasets: Path) -> None:
    """Run all commands of the tutorial, one after the other."""
    tutorial = DOCS / "tutorial.md"
    with tempfile.TemporaryDirectory() as work:
        write_pictures(datasets / "hymenoptera", Path(work))
        page = printed(RECOMMEND, work)

        def recorded(block: re.Match[str]) -> str:
            command = block[1]
            text = page if command == RECOMMEND else printed(command, work)
            text = text.rpartition(page.splitlines()[-1])[2].strip("\n") if text != page else page  # it comes first
            lines = text.splitlines()
            if len(lines) > (most := SHOWN.get(command, len(lines))):
                lines = [*lines[:most], "…"]
            return command + block[2] + "\n".join(lines)

        tutorial.write_text(_SHOWN.sub(recorded, tutorial.read_text(encoding="utf-8")), encoding="utf-8")
        for command, name in DRAWN.items():
            draw(command, work, DOCS / "images" / name)


def printed(command: str, folder: str) -> str:
    """What a command prints on standard output."""
    print(command, flush=True)
    done = subprocess.run(
        shlex.split(command), cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    )
    return done.stdout.decode().strip("\n")


def write_pictures(source: Path, target: Path) -> None:
    """Two folders: `ants_and_bees` to learn from, `new_pictures` to predict."""
    new = target / "new_pictures"
    new.mkdir()
    for name in ("ants", "bees"):
        folder = target / "ants_and_bees" / name
        folder.mkdir(parents=True)
        for number, path in enumerate(sorted((source / name).iterdir())):
            kept = new / f"{name[:-1]}_{NEW.index(number) + 1}{path.suffix}" if number in NEW else folder / path.name
            shutil.copy(path, kept)
    Image.fromarray(load_sample_image("china.jpg")).save(new / "temple.jpg")


def draw(command: str, folder: str, target: Path) -> None:
    """Run a command on a terminal, and draw what it prints as SVG."""
    ours, theirs = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    with subprocess.Popen(
        shlex.split(command), cwd=folder, env=environment, stdout=theirs, stderr=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        read = bytearray()
        while part := _read(ours):
            read += part
    if process.returncode:
        sys.exit(f"Expected `{command}` to end with 0. Received: {process.returncode}.")
    lines = read.decode().replace("\r\n", "\n").strip("\n").split("\n")[:FIRST_SCREEN]
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(Text(f"$ {command}\n", "bold"), Text.from_ansi("\n".join([*lines, "…"])))
    target.write_text(_OTHERS.sub("", console.export_svg(title="netgraft", unique_id="page")), encoding="utf-8")


def _read(descriptor: int) -> bytes:
    """What has been printed; nothing at the end, which Linux reports as an error."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
