"""The activations of torch.nn, one class each, by family.

A class defined in one of these files is exported here and from manualbp without being listed anywhere.
"""

from typing import TYPE_CHECKING

from manualbp.activations.clipped import *
from manualbp.activations.exponential import *
from manualbp.activations.gates import *
from manualbp.activations.gelu import *
from manualbp.activations.rectifiers import *
from manualbp.activations.sigmoids import *
from manualbp.activations.sloped import *
from manualbp.activations.softmax import *
from manualbp.activations.swish import *
from manualbp.layer import Activation, catalogue

if not TYPE_CHECKING:  # a type checker sees the imports themselves
    __all__ = list(catalogue(Activation))
