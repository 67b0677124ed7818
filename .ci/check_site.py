"""Look into a built site: no script, style, font or picture is loaded from elsewhere.

python .ci/check_site.py FOLDER
"""

import re
import sys
from pathlib import Path

_LOADED = (
    re.compile(r"<(?:script|img|iframe|source)[^>]+src=[\"']?(?:https?:)?//[^\"' >]+", re.IGNORECASE),
    re.compile(r"<link(?![^>]+rel=[\"']?canonical)[^>]+href=[\"']?(?:https?:)?//[^\"' >]+", re.IGNORECASE),
    re.compile(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^\"')]+", re.IGNORECASE),
)


def main(folder: Path) -> None:
    """Name every address that a page, a style or a picture would load."""
    pages = [path for path in sorted(folder.rglob("*")) if path.suffix in {".html", ".css", ".svg"}]
    found = [
        f"{path.relative_to(folder)}: {match[0]}"
        for path in pages
        for pattern in _LOADED
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    if not pages or found:
        sys.exit("\n".join([f"Expected a site in {folder} that loads nothing from elsewhere. Received:", *found]))
    print(f"{folder}: {len(pages)} pages, styles and pictures; all that they load is on the site")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
