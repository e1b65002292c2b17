"""The rules, by name."""

RULES = {}


def rule(function):
    """Registers a rule: a function from a Tree to an iterable of Findings."""
    RULES[function.__name__] = function
    return function
