"""scipy.special, loaded at the first use of one of its functions.

Importing it takes longer than importing NumPy and all of manualbp together, and a network of ReLUs never asks for it.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    from scipy import special

    function = getattr(special, name)
    globals()[name] = function  # from now on an ordinary attribute: no import, no look-up
    return function
