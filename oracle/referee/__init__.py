"""The referee: true values and derivatives by ball arithmetic, from the forward definitions of torch's documentation alone.

It differentiates by power series, f(z + t), and so shares no derivative with manualbp and no code with torch.

>>> import numpy as np
>>> from manualbp import Sigmoid
>>> truth = elementwise(Sigmoid(), np.array([40.0]))
>>> float(truth.derivative.hi[0])
4.248354255291589e-18

Five questions: `elementwise` (an activation at any doubles), `features` (an activation over the features, and its
vector-Jacobian product), `loss` (value and gradient), `network` (one element of one quantity of a case), `trace` (every
quantity of a case). `ulp_error` measures somebody's answer against theirs. Where no precision suffices they raise `Undecided`,
and for a function without a definition `NoDefinition`. Not for threads: flint keeps its precision in one place.
"""

from oracle.referee.balls import Undecided, doubles, exact
from oracle.referee.chain import trace
from oracle.referee.definitions import DEFINITIONS
from oracle.referee.evaluate import elementwise, features
from oracle.referee.losses import loss
from oracle.referee.network import Element, Place, every_place, network
from oracle.referee.registry import Definition, NoDefinition, definition
from oracle.referee.truth import Numbers, Truth, ulp_error

__all__ = [
    "DEFINITIONS",
    "Definition",
    "Element",
    "NoDefinition",
    "Numbers",
    "Place",
    "Truth",
    "Undecided",
    "definition",
    "doubles",
    "elementwise",
    "every_place",
    "exact",
    "features",
    "loss",
    "network",
    "trace",
    "ulp_error",
]
