"""The report in a browser: no error, no request, no horizontal scrolling; skipped where there is no Chromium."""

import re
import shutil

import pytest

from recommender.comparison.compare import compare

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
USED = """<script>
document.title = [document.documentElement.scrollWidth, innerWidth].join(" of ");
document.querySelector("#map [data-row]").dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
document.querySelector("#compared th button").click();
</script></body>"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def comparison(tiny_found):
    return compare(tiny_found, budget=2.0)


@pytest.mark.parametrize("width", [390, 1280])
def test_it_shows_without_an_error_and_fits_the_window(comparison, tmp_path, run_python, width):
    comparison.save_report(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "used.html").write_text(text.replace("</body>", USED), encoding="utf-8")
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},900",
        "--virtual-time-budget=2000",
        "--dump-dom",
        (tmp_path / "used.html").as_uri(),
    ]
    done = run_python(
        "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)", *command, timeout=300
    )
    assert done.returncode == 0
    assert "CONSOLE" not in done.stderr
    wide, window = map(int, re.search(r"<title>(\d+) of (\d+)</title>", done.stdout).groups())
    assert wide <= window
    assert re.search(r'<div id="tip" style="[^"]+"><img src="data:image/jpeg', done.stdout)
    assert len(re.findall(r'<th[^>]* aria-sort="ascending"', done.stdout)) == 1
