"""JSON from somebody else: what it holds is checked key by key, and every refusal says which key and what is expected."""

import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

#: A larger JSON document is not read: arrays of that size belong in safetensors, which takes a tenth of it.
MOST_BYTES = 64 << 20
#: Of a value that is not what was expected, so much is shown.
SHOWN = 60
#: The digits of the largest float64, written as a whole number.
MOST_DIGITS = 309


class VectorsError(ValueError):
    """A file of vectors that is not taken; the message says which file, which key, and what is expected."""


@dataclass(frozen=True)
class At:
    """A value and where it stands, as `port.json: quantities.C.shape`."""

    value: Any
    file: str
    path: str = ""

    @property
    def where(self) -> str:
        """The file and the key in it."""
        return f"{self.file}: {self.path}" if self.path else self.file

    def refuse(self, expected: str) -> NoReturn:
        """Raise VectorsError: what is expected here, and what came."""
        shown = repr(self.value) if isinstance(self.value, str) else json.dumps(self.value, default=str)
        raise VectorsError(f"{self.where} takes {expected}; got {shown[:SHOWN]}{'...' * (len(shown) > SHOWN)}.")

    def at(self, key: str | int) -> "At":
        """What stands under a key that is there."""
        step = f"[{key}]" if isinstance(key, int) else "." * bool(self.path) + json.dumps(key)[1:-1][:SHOWN]
        return At(self.value[key], self.file, self.path + step)

    def keys(self, required: Collection[str], optional: Collection[str] = ()) -> "At":
        """Itself, if it is an object with these keys and no others."""
        if not isinstance(self.value, dict):
            self.refuse("an object with the keys " + ", ".join([*required, *optional]))
        for key in required:
            if key not in self.value:
                raise VectorsError(f"{self.where} takes the keys {', '.join([*required, *optional])}; {key} is missing.")
        for key in self.value:
            if key not in required and key not in optional:
                raise VectorsError(f"{self.where} takes the keys {', '.join([*required, *optional])}; got {key[:SHOWN]!r}.")
        return self

    def entries(self, expected: str) -> Iterator[tuple[str, "At"]]:
        """The keys of an object with what stands under each."""
        if not isinstance(self.value, dict):
            self.refuse(expected)
        return ((key, self.at(key)) for key in self.value)

    def items(self, expected: str) -> list["At"]:
        """The members of a list."""
        if not isinstance(self.value, list):
            self.refuse(expected)
        return [self.at(number) for number in range(len(self.value))]

    def text(self, expected: str = "a text", among: Sequence[str] = ()) -> str:
        """A text; one of a few where they are given."""
        if not isinstance(self.value, str) or (among and self.value not in among):
            self.refuse(expected if not among else " or ".join(among))
        return self.value

    def whole(self, expected: str = "a whole number from 0") -> int:
        """A whole number that is not negative."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            self.refuse(expected)
        return self.value


def shown(path: Path) -> str:
    """A path that can be printed, whatever bytes its name is made of."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of an ordinary file. Raises VectorsError for anything else, and for a file that is too large."""
    try:
        if not path.is_file():  # a device or a pipe may never end
            raise VectorsError(f"{shown(path)} is no file; name a file of vectors, or a folder of them.")
        size = path.stat().st_size
        if size > most:
            raise VectorsError(f"{shown(path)} has {size:,} bytes; up to {most:,} are read. Write safetensors, or smaller cases.")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        if isinstance(error, VectorsError):
            raise
        raise VectorsError(f"{shown(path)} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def parse(content: bytes, name: str) -> At:
    """The JSON document in these bytes, as strict as the standard: no NaN, no key twice, no number beyond float64."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise VectorsError(f"{name}: the key {twice[:SHOWN]!r} stands twice in one object; keep one of them.")
        return found

    def beyond(text: str) -> NoReturn:
        raise VectorsError(f'{name}: {text[:SHOWN]} is beyond float64; an infinity is written as the text "Infinity".')

    def number(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else beyond(text)

    def whole(text: str) -> int:
        count = len(text.removeprefix("-"))
        return int(text) if count <= MOST_DIGITS else beyond(f"{text[:10]}..., a whole number of {count:,} digits,")

    def constant(text: str) -> NoReturn:
        raise VectorsError(f'{name}: {text} is no JSON; write it as a text, "{text}".')

    try:
        text = content.decode("utf-8")
        value = json.loads(text, object_pairs_hook=once, parse_float=number, parse_int=whole, parse_constant=constant)
    except VectorsError:
        raise
    except UnicodeDecodeError as error:
        raise VectorsError(f"{name} takes JSON in UTF-8; byte {error.start} is not.") from error
    except RecursionError as error:
        raise VectorsError(f"{name} is nested too deeply; a document of vectors has 5 levels.") from error
    except ValueError as error:
        raise VectorsError(f"{name} is no JSON: {error}.") from error
    if b"\\ud" in content.lower():  # half a character, which cannot be shown, comes of nothing but such an escape
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise VectorsError(f"{name}: a text holds half of a surrogate pair, {error.object[error.start]!r}.") from error
    return At(value, name)
