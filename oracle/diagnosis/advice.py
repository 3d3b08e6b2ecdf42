"""A diagnosis as plain data: what a process hands on, and a report holds."""

from dataclasses import dataclass
from typing import Any, Self

from oracle.diagnosis.diagnosis import Diagnosis, Line


@dataclass(frozen=True)
class Advice:
    """The diagnosis of one failing case in plain data, without the command that repeats it.

    location   where it goes wrong, in one line
    inferred   True where that is a conclusion from what is right and what is not
    matches    an entry for each mistake or likeness: name, position, explanation, effect, formula, symbol, sigmas; entries
               with the same number `match` reproduce the candidate together, others are alternatives
    lines      all of it in words, (kind, text), kinds as in `oracle.diagnosis.Line`
    """

    case: str
    location: str
    inferred: bool
    matches: tuple[dict[str, Any], ...]
    lines: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, case: str, diagnosis: Diagnosis, lines: tuple[Line, ...] | None = None) -> Self:
        """A diagnosis of this case; its own words unless there are others."""
        words = lines or diagnosis.lines(None)
        matches = (
            {**part._asdict(), "sigmas": match.sigmas, "match": number}
            for number, match in enumerate(diagnosis.matches)
            for part in match.parts
        )
        return cls(case, words[0].text, diagnosis.location.inferred, tuple(matches), words)
