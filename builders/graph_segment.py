"""Registers the layer that models built on a SavedModel need: `import builders.graph_segment` before loading one."""

from builders.saved_model.segment_layer import GraphSegment

__all__ = ["GraphSegment"]
