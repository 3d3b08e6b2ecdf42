"""Gradients of neural networks, derived and written by hand in NumPy.

A network is a chain of immutable records; `backpropagate` returns every value and every gradient on the way:

>>> import numpy as np
>>> import manualbp as mb
>>> network = mb.Network.dense((3, 4, 2), mb.Tanh(), mb.Identity(), mb.MSELoss())
>>> params = mb.init(network, seed=0)
>>> trace = mb.backpropagate(network, params, x=np.ones((3, 5)), target=np.zeros((2, 5)))
>>> trace["dC/dW[1]"].shape
(4, 3)

`manualbp.textbook` holds the same mathematics in the notes' own forms, written independently.
"""

from manualbp.activations import *
from manualbp.backpropagation import Quantity, Trace, backpropagate, descend
from manualbp.layer import Activation, Layer, catalogue
from manualbp.linear import Linear
from manualbp.loss import Loss
from manualbp.losses import *
from manualbp.networks import Network, init
