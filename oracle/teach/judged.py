"""One number or array beside autograd's, with the oracle's judgement of the general chain where torch is the one that is off."""

from typing import Any

import numpy as np

from oracle.check import END_TO_END
from oracle.discrepancy import Discrepancy, measure
from oracle.mutants.trial import Bench
from oracle.verdict import Verdict


class Judge:
    """What is compared with a case's quantities, by symbol."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.quantities = {quantity.symbol: quantity for quantity in bench.reference.quantities()}
        self._rows = {row.symbol: row for row in bench.right if row.comparison == END_TO_END}

    def autograd(self, symbol: str, at: Any = ()) -> Any:
        """Autograd's array, or one element of it."""
        return np.asarray(self.bench.reference[symbol])[at]

    def __call__(self, symbol: str, found: Any, at: Any = ()) -> Discrepancy:
        """How far a number or an array is from autograd's.

        Where the referee finds autograd inaccurate, or a kink allows either, what the general chain has too is judged as that.
        """
        wanted, scale = self.autograd(symbol, at), self.bench.scale.through[self.quantities[symbol]]
        scale = np.broadcast_to(scale, np.shape(self.bench.reference[symbol]))[at]
        found = None if found is None else np.asarray(found).astype(wanted.dtype)
        result, settled = measure(found, wanted, scale), Verdict(self._rows[symbol].verdict)
        if result.verdict.fails and settled in (Verdict.REFERENCE, Verdict.KINK):
            as_by_hand = measure(found, np.asarray(self.bench.honest[symbol])[at], scale)
            return result._replace(verdict=settled) if as_by_hand.verdict == Verdict.AGREE else result
        return result
