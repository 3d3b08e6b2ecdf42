"""Backpropagation as the notes derive it: twice, and then joined. Nothing here is shared with the general chain.

* `version1`: matrices, one layer at a time.
* `version2`: scalars, one node at a time, on a network whose nodes are numbered; w47 joins node 4 to node 7.
* `joined`: the two steps from layer l to l-1, with their names, and the update. This is the summary to remember.
* `notes333`: the notes' 3-3-3 network with numbers, every weight and bias under its name.

The names are the notes' own: W, b, z, a, g, delta, y, m, C, alpha. Layers count from 1 to L, so every collection over
layers is a dictionary, and W[l] in the code is W[l] on paper.
"""

from manualbp.textbook import joined, notes333, version1, version2

__all__ = ["joined", "notes333", "version1", "version2"]
