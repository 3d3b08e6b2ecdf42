"""The losses of torch.nn, one class each, by family, and the notes' own squared error.

A class defined in one of these files is exported here and from manualbp without being listed anywhere.
"""

from typing import TYPE_CHECKING

from manualbp.layer import catalogue
from manualbp.loss import Loss
from manualbp.losses.adaptive import *
from manualbp.losses.binary import *
from manualbp.losses.classification import *
from manualbp.losses.embedding import *
from manualbp.losses.fused import *
from manualbp.losses.likelihood import *
from manualbp.losses.margin import *
from manualbp.losses.regression import *
from manualbp.losses.sequence import *

if not TYPE_CHECKING:  # a type checker sees the imports themselves
    __all__ = list(catalogue(Loss))
