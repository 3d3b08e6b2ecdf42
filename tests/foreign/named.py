"""What a report says of a wrong gradient, for tests."""


def names(report):
    """The mistakes, or likenesses, that the report names."""
    return {match["name"] for advice in report.diagnoses for match in advice.matches}


def wrong(report):
    """The symbols of the quantities that fail, in the case that was compared first."""
    failing = report.failing
    return set(failing[failing["case"] == report.cases[0]]["symbol"])


def lines(report):
    """All advice as one text."""
    return "\n".join(text for advice in report.diagnoses for _, text in advice.lines)
