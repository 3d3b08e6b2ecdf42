"""The activations of torch.nn, one class each, by family.

A class defined in one of these files is exported here and from manualbp without being listed anywhere.
"""

from typing import TYPE_CHECKING

from manualbp.activations.rectifiers import *
from manualbp.activations.smooth import *
from manualbp.activations.softmax import *
from manualbp.layer import Activation, catalogue

if not TYPE_CHECKING:  # a type checker sees the imports themselves
    __all__ = list(catalogue(Activation))
