"""Pages of the documentation site that are made of other files of the repository.

The changelog and the guide for contributors become pages. A link to another file outside `docs/` leads to a page with
the text of that file.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
LANGUAGES = {".py": "python", ".json": "json", ".jsonl": "json", ".toml": "toml"}
_LINK = re.compile(r"(?<=\]\()(?!https?:)([^)#\s]+)")
_OUT_OF_THE_SEARCH = "---\nsearch:\n  exclude: true\n---\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for page, path in PAGES.items():
        text = (ROOT / path).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    outside = {found for page in files.documentation_pages() for found in _outside(page.src_uri, page.content_string)}
    for path in sorted(outside - set(PAGES.values())):
        files.append(File.generated(config, _page_of(path), content=_text(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links to files outside `docs/` to their pages."""
    here = posixpath.dirname(page.file.src_uri)

    def replaced(link: re.Match[str]) -> str:
        path = _outside_path(page.file.src_uri, link[0])
        return link[0] if path is None else posixpath.relpath(_page_of(path), here or ".")

    return _LINK.sub(replaced, markdown)


def _page_of(path: str) -> str:
    own = {source: page for page, source in PAGES.items()}
    return own.get(path, f"source/{path}.md")


def _outside(page: str, markdown: str) -> set[str]:
    return {path for link in _LINK.findall(markdown) if (path := _outside_path(page, link)) is not None}


def _outside_path(page: str, link: str) -> str | None:
    """The path from the repository's root of what a page links to, if that lies outside `docs/` and exists."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    inside = path.split("/")[0] in ("docs", "..") or page in PAGES
    return None if inside or not (ROOT / path).exists() else path


def _text(path: str) -> str:
    """The page of a file or of a folder."""
    there = ROOT / path
    if there.is_dir():
        names = sorted(one.name for one in there.iterdir() if not one.name.startswith(("_", ".")))
        return f"{_OUT_OF_THE_SEARCH}# {path}\n\n" + "\n".join(f"- `{name}`" for name in names)
    text = there.read_text(encoding="utf-8")
    return f"{_OUT_OF_THE_SEARCH}# {path}\n\n``````{LANGUAGES.get(there.suffix, 'text')}\n{text}\n``````\n"
