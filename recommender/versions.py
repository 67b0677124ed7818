"""Versions of the packages that the answer depends on."""

from importlib import metadata


def versions() -> dict[str, str]:
    """Package name -> version."""
    return {
        name: metadata.version(name) for name in ("netgraft", "tensorflow", "keras", "scikit-learn", "numpy", "pillow")
    }
