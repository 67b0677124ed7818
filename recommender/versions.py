"""Versions of what the answer depends on."""

from importlib import metadata


def versions() -> dict[str, str]:
    """Versions of what the answer depends on."""
    return {
        name: metadata.version(name) for name in ("netgraft", "tensorflow", "keras", "scikit-learn", "numpy", "pillow")
    }
