"""Frozen cases: networks with every number that is right and how far off it may be, for gradients in any language.

A *case* document holds a network, its numbers and torch's, with what rounding allows for each. A port reads it, computes, and
writes an *answer* document. Answers are judged, located and diagnosed without torch.
"""

from oracle.vectors.document import Answer, Frozen
from oracle.vectors.reading import VectorsError

__all__ = ["Answer", "Frozen", "VectorsError"]
