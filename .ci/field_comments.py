"""The comment of a record's field is its text in the reference of Python: `size: int  # in px`."""

from typing import Any

from griffe import Attribute, Docstring, Extension


class FieldComments(Extension):
    """Takes the comment behind a field, or the lines of comments above it, where there is no docstring."""

    def on_attribute_instance(self, *, attr: Attribute, **_: Any) -> None:
        """Give a field of a class its text."""
        if attr.docstring is not None or attr.lineno is None or attr.parent is None or not attr.parent.is_class:
            return
        lines = attr.parent.module.lines_collection[attr.filepath]
        behind = lines[attr.lineno - 1].partition("  # ")[2]
        above: list[str] = []
        number = attr.lineno - 2
        while not behind and lines[number].strip().startswith("# "):
            above.insert(0, lines[number].strip()[2:])
            number -= 1
        if text := behind or " ".join(above):
            attr.docstring = Docstring(text[0].upper() + text[1:].rstrip(".") + ".", parent=attr)
