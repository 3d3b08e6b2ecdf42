"""When two numbers are the same as far as a dtype can show."""

from dataclasses import replace
from typing import Any

import numpy as np

from oracle.case import Case, float_info
from oracle.roundoff import unit_roundoff

#: Numbers that differ by less than this part of themselves in float64 are the same number, computed in another order.
SAME = 2.0**-30
#: And so are those that differ by so many unit roundoffs of the case's own dtype: there the difference cannot show.
ROUNDING = 16.0


def in_float64(case: Case) -> Case:
    """The case with the same numbers in float64."""

    def wide(array: Any) -> Any:
        return array.astype(np.float64) if array.dtype == case.dtype else array

    params = tuple({name: wide(own) for name, own in given.items()} for given in case.params)
    return replace(
        case, params=params, x=wide(case.x), target=wide(case.target), grad_loss=np.asarray(case.grad_loss, np.float64)
    )


def same(found: Any, wanted: Any, dtype: Any = np.float64, blur: Any = 0.0) -> bool:
    """Whether two arrays have one shape, and no element so far apart that numbers of this dtype could show it.

    `blur` is how far off each element is anyway. NaN is like NaN.
    """
    if found is None or wanted is None or np.shape(found) != np.shape(wanted):
        return found is None and wanted is None
    found, wanted = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    info = float_info(np.dtype(dtype))
    share, step = max(SAME, ROUNDING * unit_roundoff(np.dtype(dtype))), ROUNDING * float(info.smallest_subnormal)
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(found), np.abs(wanted))
        near = np.isfinite(size) & (
            np.abs(found - wanted) <= share * size + step + ROUNDING * np.nan_to_num(blur, posinf=0.0)
        )  # next to infinity nothing is near
    return bool((near | (found == wanted) | (np.isnan(found) & np.isnan(wanted))).all())
