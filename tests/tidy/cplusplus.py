"""As much of C++ as the rules need: what is code, and where functions begin and end."""

import re

_TOKEN = re.compile(
    r"""
    //[^\n]*
    | /\*.*?\*/
    | R"(?P<delimiter>[^()\\\s]{0,16})\(.*?\)(?P=delimiter)"
    | "(?:\\.|[^"\\\n])*"
    | (?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'
    """,
    re.DOTALL | re.VERBOSE,
)


def blank(text, comments_only=False):
    """The text with comments (and literals) replaced by spaces, so that offsets stay."""

    def replace(match):
        token = match.group()
        if comments_only and not token.startswith("/"):
            return token
        return re.sub(r"[^\n]", " ", token)

    return _TOKEN.sub(replace, text)


def includes(text):
    """Yields (line, name, quoted) of every #include."""
    for number, line in enumerate(blank(text, comments_only=True).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', line)
        if match:
            yield number, match.group(1) or match.group(2), match.group(1) is not None


_SCOPE = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b")
# A constructor's head that ends in a member's name: the brace is that member's initializer.
_MEMBER_INITIALIZER = re.compile(r"\)\s*(?:noexcept\s*)?:(?!:).*[\w>]$", re.DOTALL)
_FUNCTION = re.compile(
    r"""
    \)[^;=()]*$                          # parameters and perhaps const, noexcept, override
    | \)\s*(?:noexcept\s*)?:(?!:)[^;]*$  # a constructor's initializers
    | \)\s*->[^;]*$
    | \)\s*requires\b[^;]*$
    """,
    re.VERBOSE,
)


def functions(text):
    """Yields (line, name, length) of every function body that is not inside another one.

    Lambdas and local classes belong to the function that holds them. `length` counts lines from
    the one with the opening brace to the one with the closing brace.
    """
    code = re.sub(
        r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*",
        lambda match: re.sub(r"[^\n]", " ", match.group()),
        blank(text),
        flags=re.MULTILINE,
    )
    head_start = 0
    depth_in_function = depth_in_initializer = 0
    begin = name = None
    for match in re.finditer(r"[{};]", code):
        symbol, position = match.group(), match.start()
        if depth_in_function:
            depth_in_function += {"{": 1, "}": -1}.get(symbol, 0)
            if depth_in_function == 0:
                first = code.count("\n", 0, begin) + 1
                yield first, name, code.count("\n", begin, position) + 1
        elif depth_in_initializer:
            depth_in_initializer += {"{": 1, "}": -1}.get(symbol, 0)
            continue
        elif symbol == "{":
            head = code[head_start:position].strip()
            if _MEMBER_INITIALIZER.search(head):
                depth_in_initializer = 1
                continue
            if _is_function(head):
                depth_in_function, begin, name = 1, position, _name(head)
        head_start = position + 1


def _is_function(head):
    if "(" not in head:
        return False
    # A class whose macro or template argument has parentheses, but not a function that returns a
    # struct by its elaborated name.
    before_parameters = head.split("(", 1)[0]
    if _SCOPE.search(before_parameters) and not re.search(r"\b(operator|auto)\b", head):
        return False
    return _FUNCTION.search(head) is not None


def _name(head):
    match = re.search(r"([\w:~]+|operator[^\s(]+)\s*\(", head)
    return match.group(1) if match else "function"
