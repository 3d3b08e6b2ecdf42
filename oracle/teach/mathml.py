"""Formulas as browsers show them: MathML from the project's own plain notation, and from numbers.

`formula("delta[l] = dC/da[l] * g'(z[l])")` reads what the records, the mistakes and oracle.formulas write. What it cannot read it
shows as the text it is. `*` is the elementwise product, a space an ordinary one.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

#: A matrix is shown up to so many rows and columns; a sum up to so many terms.
SHOWN, TERMS = 6, 6

_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|[A-Za-z]+|<-|<=|>=|!=|.)", re.DOTALL)
_GREEK = {"delta": "δ", "alpha": "α", "beta": "β", "lambda": "λ"}
_SIGNS = {"*": "⊙", "-": "−", "<-": "←", "<=": "≤", ">=": "≥", "!=": "≠"}
_FUNCTIONS = {"exp", "log", "tanh", "sqrt", "min", "max", "sign", "cos"}
#: The notes' letters that carry the number of their layer, in brackets above.
_LAYERED = {"W", "w", "b", "z", "a", "n", "g", "delta"}
_CLOSES = {"(": ")", "[": "]", "{": "}", "|": "|"}


def tag(name: str, *children: str, **attributes: str) -> Markup:
    """An element; text among the children is escaped."""
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), given, Markup("").join(children))


def row(*children: str) -> Markup:
    """Several things that count as one."""
    return tag("mrow", *children)


def sign(text: str) -> Markup:
    """An operator."""
    return tag("mo", text)


def math(*children: str) -> Markup:
    """The whole of a formula, between words."""
    return tag("math", *children)


def digits(value: Any) -> str:
    """Three significant digits."""
    return f"{float(value):.3g}".replace("e-0", "e-").replace("e+0", "e+").replace("-", "−")


def number(value: Any) -> Markup:
    """A number with three digits, and with all of them for whoever asks; a negative one keeps its sign."""
    return tag("mn", digits(value), data_full=repr(float(value)))


def factor(value: Any) -> Markup:
    """A number that stands beside others: in parentheses where it is negative."""
    return row(sign("("), number(value), sign(")")) if float(value) < 0 else number(value)


def product(*values: Any) -> Markup:
    """Numbers multiplied."""
    return _joined("·", [factor(value) for value in values])


def difference(a: Any, b: Any) -> Markup:
    """One number less another."""
    return row(number(a), sign(_SIGNS["-"]), factor(b))


def total(terms: Sequence[Sequence[Any]]) -> Markup:
    """A sum of products; of a long one the first terms and the last."""
    if len(terms) == len(terms[0]) == 1:
        return number(terms[0][0])
    shown = [product(*term) for term in terms]
    if len(shown) > TERMS:
        shown = [*shown[: TERMS - 2], sign("⋯"), shown[-1]]
    return _joined("+", shown)


def _joined(between: str, parts: Iterable[Markup]) -> Markup:
    found: list[Markup] = []
    for part in parts:
        found += [sign(between), part] if found else [part]
    return row(*found)


def matrix(array: Any) -> Markup:
    """A matrix, which the stylesheet puts in brackets; of a large one the upper left corner, with its shape."""
    given = np.asarray(array, dtype=np.float64)
    whole = given.reshape(-1, 1) if given.ndim < 2 else given.reshape(given.shape[0], -1)
    rows = [_cells(line, whole.shape[1]) for line in whole[:SHOWN]]
    if len(whole) > SHOWN:
        rows.append(tag("mtr", tag("mtd", sign("⋮"))))
    body = tag("mtable", *rows, class_="matrix")
    cut = max(whole.shape) > SHOWN
    return tag("msub", body, tag("mtext", "×".join(map(str, given.shape)))) if cut else body


def _cells(line: Any, width: int) -> Markup:
    cells = [tag("mtd", number(value)) for value in line[:SHOWN]]
    return tag("mtr", *cells, *([tag("mtd", sign("⋯"))] if width > SHOWN else []))


def formula(text: str) -> Markup:
    """The MathML of a formula in plain notation."""
    try:
        reader = _Reader(text)
        return math(*reader.items(""))
    except (_UnreadableError, RecursionError):
        return math(tag("mtext", text))


class _UnreadableError(Exception):
    pass


class _Reader:
    """Reads left to right; a fraction takes the item before the stroke and the item behind it."""

    def __init__(self, text: str) -> None:
        found = [(match[1], match.start(1) > match.start()) for match in _TOKEN.finditer(text.strip())]
        self.tokens, self.at = found, 0

    @property
    def next(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def apart(self) -> bool:
        """Whether a space stands before the next token."""
        return self.at < len(self.tokens) and self.tokens[self.at][1]

    def take(self, wanted: str = "") -> str:
        if not self.next or (wanted and self.next != wanted):
            raise _UnreadableError
        self.at += 1
        return self.tokens[self.at - 1][0]

    def items(self, closing: str) -> list[Markup]:
        """Everything up to the closing bracket, or to the end."""
        found: list[Markup] = []
        while self.next != closing:
            if not self.next:
                raise _UnreadableError
            apart = self.apart()
            if self.next == "/" and found:
                self.take()
                found[-1] = tag("mfrac", _bare(found[-1]), _bare(self.item()))
            elif self.next in "+-=<>,;:.*·≈" or self.next in _SIGNS:
                found.append(sign(_SIGNS.get(self.take(), self.tokens[self.at - 1][0])))
            else:
                item = self.item()
                if found and apart and not found[-1].startswith("<mo>"):
                    found.append(Markup('<mspace width="0.2em"></mspace>'))
                found.append(item)
        return found

    def item(self) -> Markup:
        """One thing with what hangs on it: indices, powers, primes, the argument of a function."""
        word = self.take()
        if word in _CLOSES:
            inside = self.items(_CLOSES[word])
            self.take(_CLOSES[word])
            return self._scripts(row(sign(word), *inside, sign(_CLOSES[word])), "")
        if word in "-+":
            return row(sign(_SIGNS.get(word, word)), self.item())
        if word == "sum":
            return row(self._scripts(sign("∑"), ""), *self._argument(always=True))
        if word in _FUNCTIONS:
            return row(self._scripts(tag("mi", word), ""), *self._argument(always=word in {"log", "exp"}))
        if not word[0].isalnum():
            raise _UnreadableError
        if word[0].isdigit():
            return self._scripts(tag("mn", word), "")
        if re.fullmatch(r"d[A-Za-z]", word):
            found = row(tag("mi", "∂"), self._scripts(_letter(word[1:]), word[1:]))
        elif re.fullmatch(r"w\d+|[A-Za-z]", word) or word in _GREEK:
            found = self._scripts(_letter(word), word)
        else:
            found = self._scripts(tag("mtext", word), "")
        called = self.next == "(" and not self.apart()
        return row(found, *self._argument(always=False)) if called else found

    def _argument(self, *, always: bool) -> list[Markup]:
        """What a function is applied to."""
        if self.next == "(" and not self.apart():
            return [self.item()]
        return [Markup('<mspace width="0.2em"></mspace>'), self.item()] if always else []

    def _scripts(self, base: Markup, letter: str) -> Markup:
        below: list[Markup] = []
        above: list[Markup] = []
        while not self.apart():
            if self.next == "'":
                above.append(sign(self.take().replace("'", "′")))
            elif self.next == "_":
                self.take()
                below += [*([sign(",")] if below else []), self._script()]
            elif self.next == "^":
                self.take()
                above.append(self._script())
            elif self.next.isdigit() and letter and not above:
                below.append(tag("mn", self.take()))
            elif self.next == "[" and letter in _LAYERED and not self._indexes():
                self.take()
                above.append(row(sign("["), *self.items("]"), sign("]")))
                self.take("]")
            else:
                break
        if below and above:
            return tag("msubsup", base, row(*below), row(*above))
        if below or above:
            return tag("msub" if below else "msup", base, row(*below, *above))
        return base

    def _indexes(self) -> bool:
        """Whether the bracket holds indices or a label rather than the number of a layer."""
        end = next((at for at in range(self.at, len(self.tokens)) if self.tokens[at][0] == "]"), self.at)
        return any(token in {"y", ",", ":", "j"} for token, _ in self.tokens[self.at : end])

    def _script(self) -> Markup:
        if self.next in {"(", "{"}:
            closing = _CLOSES[self.take()]
            inside = self.items(closing)
            self.take(closing)
            return row(*inside)
        word = self.take()
        if not word[0].isalnum():
            raise _UnreadableError
        return tag("mn", word) if word[0].isdigit() else row(*map(_letter, word if len(word) == 2 else [word]))


def _letter(word: str) -> Markup:
    return tag("mi", _GREEK.get(word, word))


def _bare(item: Markup) -> Markup:
    """An item without the parentheses that a fraction makes needless."""
    opened, closed = Markup("<mrow><mo>(</mo>"), Markup("<mo>)</mo></mrow>")
    inner = item[len(opened) : -len(closed)]
    whole = item.startswith(opened) and item.endswith(closed) and inner.count(opened) == inner.count(closed)
    return Markup("<mrow>{}</mrow>").format(inner) if whole else item


def text(value: object, most: int = 120) -> Markup:
    """Text that comes from outside: escaped, and cut where it is very long."""
    given = str(value)
    return escape(given if len(given) <= most else f"{given[:most]}… ({len(given):,} characters)")
