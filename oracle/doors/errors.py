"""What a door raises when the call itself is wrong; where the candidate is wrong there is a failing row instead."""


class DoorError(ValueError):
    """The arguments do not fit each other; the message says which, what is expected, and the likely fix."""


class FormError(ValueError):
    """What a candidate returns has another form than is asked of it: a failing row, which says so in these words."""
