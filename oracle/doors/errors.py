"""What a door raises when the call itself is wrong; where the candidate is wrong there is a failing row instead."""


class DoorError(ValueError):
    """The arguments do not fit each other; the message says which, what is expected, and the likely fix."""
