"""The activations of torch.nn, one class each, by family.

A class defined in one of these files is exported here and from manualbp without being listed anywhere.
"""

from manualbp.activations.rectifiers import *
from manualbp.activations.smooth import *
from manualbp.activations.softmax import *
from manualbp.layer import Activation, catalogue

__all__ = list(catalogue(Activation))
