"""Arrays in JSON: a shape and the numbers row by row, as the shortest decimals and as hexadecimal floats."""

import math
import re
from decimal import ROUND_CEILING, Context, Decimal
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.case import DTYPES
from oracle.vectors.reading import At, VectorsError

#: What JSON has no number for.
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
#: C prints a float so with %a; Java, Rust, Julia, Go and Python write and read it too.
HEX = re.compile(r"[+-]?(0x[0-9a-f]+(\.[0-9a-f]*)?(p[+-]?\d{1,5})?|nan|inf|infinity)", re.IGNORECASE)
#: An array of vectors is no larger than this.
MOST_AXES, MOST_ELEMENTS = 8, 1 << 32
#: Digits of an allowance, rounded up.
DIGITS = Context(prec=3, rounding=ROUND_CEILING)


class Tensor(NamedTuple):
    """An array that was not written as JSON, and what is allowed for each of its elements."""

    array: NDArray[Any]
    allowed: NDArray[Any] | None = None


def shortest(value: Any, dtype: np.dtype[Any]) -> float:
    """The float64 with the fewest decimal digits that rounds to this number of the dtype."""
    exact = float(value)
    if dtype == np.float64:
        return exact  # Python prints it with the fewest digits
    for digits in range(1, 18):
        short = float(f"{exact:.{digits}g}")
        if dtype.type(short) == value:
            return short
    return exact


def hexadecimal(value: float) -> str:
    """0x1.8p+1, without the zeros at the end."""
    mantissa, _, exponent = float(value).hex().partition("p")
    return (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + "p" + exponent


def written(array: Any) -> dict[str, Any]:
    """An array as a JSON object. Its numbers are finite."""
    array = np.asarray(array)
    flat = array.ravel()  # row by row
    form: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.dtype.kind in "iu":
        return form | {"dtype": "int64", "decimal": flat.tolist()}
    return form | {"decimal": [shortest(value, array.dtype) for value in flat], "hex": [hexadecimal(value) for value in flat]}


def rounded_up(allowed: NDArray[np.float64]) -> list[float]:
    """Allowances with three digits, never less than they are."""
    return [float(DIGITS.create_decimal(Decimal(value))) for value in allowed.ravel().tolist()]


def read(at: At, dtypes: tuple[str, ...], default: str = "", *, allowances: bool = False) -> tuple[NDArray[Any], Any]:
    """The array at this place, of one of these dtypes, and its allowances or None. Raises VectorsError.

    Every number is rounded to the dtype; where both forms are given they have to round to the same. With a default, that of the
    case, the dtype may be left out, and what has another is rounded to it.
    """
    if isinstance(at.value, Tensor):
        array, allowed = _from_tensor(at.value, at, dtypes, allowances=allowances)
    else:
        array, allowed = _from_json(at, dtypes, default, allowances=allowances)
    return _rounded(array, default, at) if default else array, allowed


def _from_json(at: At, dtypes: tuple[str, ...], default: str, *, allowances: bool) -> tuple[NDArray[Any], Any]:
    at.keys(
        ("shape",) if default else ("dtype", "shape"), ("decimal", "hex", *("dtype",) * bool(default), *("allowed",) * allowances)
    )
    dtype = at.at("dtype").text(among=dtypes) if "dtype" in at.value else default
    shape = read_shape(at.at("shape"))
    count = math.prod(shape)
    numbers = (_integers if dtype == "int64" else partial(_floats, dtype=dtype))(at, count)
    allowed = None
    if "allowed" in at.value:
        allowed = np.array(
            [_allowance(each) for each in _members(at.at("allowed"), count, "one allowance for each number")]
        ).reshape(shape)
    elif allowances:
        raise VectorsError(f"{at.where} takes the key allowed, the error that each number may have; it is missing.")
    return numbers.reshape(shape), allowed


def read_shape(at: At) -> tuple[int, ...]:
    """The sizes of an array's axes. Raises VectorsError, also for what no memory holds."""
    shape = tuple(each.whole() for each in at.items("a list of sizes"))
    if len(shape) > MOST_AXES or math.prod(size or 1 for size in shape) > MOST_ELEMENTS:
        at.refuse(f"up to {MOST_AXES} sizes of an array of up to {MOST_ELEMENTS:,} numbers")
    return shape


def _from_tensor(tensor: Tensor, at: At, dtypes: tuple[str, ...], *, allowances: bool) -> tuple[NDArray[Any], Any]:
    array, allowed = tensor
    if str(array.dtype) not in dtypes:
        raise VectorsError(f"{at.where} takes the dtype {' or '.join(dtypes)}; got {array.dtype}.")
    if (allowed is not None) != allowances:
        raise VectorsError(f"{at.where} takes {'a tensor' if allowances else 'no tensor'} of allowed errors beside it.")
    if allowed is not None and not (allowed.dtype == np.float64 and allowed.shape == array.shape and (allowed >= 0).all()):
        raise VectorsError(f"{at.where}: the allowed errors are float64 numbers from 0, in the array's shape {array.shape}.")
    return array, allowed


def _rounded(array: NDArray[Any], dtype: str, at: At) -> NDArray[Any]:
    """The numbers in this dtype. Raises VectorsError for one that it cannot hold."""
    narrow, beyond = _narrowed(array, dtype)
    if beyond.any():
        number = int(beyond.argmax())
        raise VectorsError(
            f"{at.where} takes numbers that {dtype}, the dtype of the case, can hold; number {number} is {array.flat[number]}."
        )
    return narrow


def _narrowed(array: NDArray[Any], dtype: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The numbers in this dtype, and which of them are finite and it cannot hold."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = array.astype(DTYPES[dtype])
        return narrow, np.isfinite(array.astype(np.float64)) & ~np.isfinite(narrow.astype(np.float64))


def _members(at: At, count: int, what: str) -> list[At]:
    members = at.items(f"a list: {what}")
    if len(members) != count:
        raise VectorsError(f"{at.where} takes {what}: {count} for this shape; got {len(members)}.")
    return members


def _allowance(at: At) -> float:
    value = at.value
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        at.refuse("an allowed error, a number from 0")
    return _number(at)


def _integers(at: At, count: int) -> NDArray[Any]:
    at.keys(("dtype", "shape", "decimal"))
    members = _members(at.at("decimal"), count, "one number for each element")
    for each in members:
        if isinstance(each.value, bool) or not isinstance(each.value, int) or abs(each.value) >= 2**63:
            each.refuse("a whole number of 64 bits")
    return np.array([each.value for each in members], dtype=np.int64)


def _floats(at: At, count: int, dtype: str) -> NDArray[Any]:
    forms = {"decimal": _number, "hex": _hexadecimal}
    given = [form for form in forms if form in at.value]
    if not given:
        raise VectorsError(f"{at.where} takes the numbers as decimal, as hex, or as both; it has neither.")
    found = []
    for form in given:
        members = _members(at.at(form), count, "one number for each element")
        wide = np.array([forms[form](each) for each in members], dtype=np.float64)
        narrow, beyond = _narrowed(wide, dtype)
        if beyond.any():
            members[int(beyond.argmax())].refuse(
                f'a number that {dtype} can hold; an infinity is written "Infinity", in hex "inf"'
            )
        found.append(narrow)
    first, *others = found
    for other in others:
        apart = ~((first == other) | (np.isnan(first) & np.isnan(other)))
        if apart.any():
            number = int(apart.argmax())
            raise VectorsError(
                f"{at.where}: decimal and hex are one number twice; number {number} is "
                f"{at.value['decimal'][number]} in decimal and {at.value['hex'][number]} in hex."
            )
    return first


def _number(at: At) -> float:
    value = at.value
    if isinstance(value, str) and value in NOT_FINITE:
        return NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        hint = " (JavaScript writes null for NaN)" if value is None else ""
        at.refuse(f'a number, or "NaN", "Infinity", "-Infinity"{hint}')
    try:
        return float(value)
    except OverflowError:
        at.refuse("a number that float64 can hold")


def _hexadecimal(at: At) -> float:
    value = at.value
    if not isinstance(value, str) or len(value) > 64 or not HEX.fullmatch(value):
        at.refuse("a hexadecimal float such as 0x1.8p+1, or nan, inf, -inf")
    try:
        return float.fromhex(value)
    except (OverflowError, ValueError):
        at.refuse("a hexadecimal float that float64 can hold")
