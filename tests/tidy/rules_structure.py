"""Rules about the tree as a whole."""

import posixpath
import re

import cplusplus
from registry import rule
from tree import Finding

SOURCES = (".cc", ".cu")
HEADERS = (".h", ".cuh")


@rule
def dead_sources(tree):
    """Every source file is in a CMakeLists.txt at or above it."""
    listed = set()
    for path in tree.select("CMakeLists.txt"):
        folder = posixpath.dirname(path)
        text = _expand_loops(re.sub(r"#[^\n]*", "", tree.texts[path]))
        for name in re.findall(r"[\w./-]+\.(?:cc|cu|proto)\b", text):
            listed.add(posixpath.normpath(posixpath.join(folder, name)))
    for path in tree.select(*SOURCES, ".proto"):
        if path not in listed:
            yield Finding(path, 1, "in no CMakeLists.txt")


def _expand_loops(text):
    """The CMake code with the body of each foreach() over words written out for every word."""

    def expand(loop):
        variable, *words = loop.group(1).split()
        return "".join(loop.group(2).replace(f"${{{variable}}}", word) for word in words)

    return re.sub(r"(?<!end)foreach\(([^)$]+)\)(.*?)endforeach\(\)", expand, text, flags=re.DOTALL)


@rule
def dead_headers(tree):
    included = set()
    for path in tree.select(*SOURCES, *HEADERS):
        included.update(name for _, name, _ in cplusplus.includes(tree.texts[path]))
    for path in tree.select(*HEADERS):
        if not any(path == name or path.endswith("/" + name) for name in included):
            yield Finding(path, 1, "included nowhere")


@rule
def dead_scripts(tree):
    """Every script is named by another file."""
    for path in sorted(tree.texts):
        if not path.endswith((".py", ".sh")):
            continue
        name = posixpath.basename(path)
        words = [re.escape(name)]
        if name.endswith(".py"):
            words.append(rf"(?:import|from)\s+(?:[\w.]+\.)?{re.escape(name[:-3])}\b")
        pattern = re.compile("|".join(words))
        others = (text for other, text in tree.texts.items() if other != path)
        if name != "__init__.py" and not any(pattern.search(text) for text in others):
            yield Finding(path, 1, "named by no other file")


@rule
def tests_mirror_sources(tree):
    """tests/unit/<layer>/x_test.cc tests src/<layer>/x.*; x_property_test.cc and real_x_test.cc
    may, too."""
    for path in tree.select("_test.cc", under="tests/unit/"):
        layer = path.split("/")[2]
        if layer == "proto":  # tests the .proto files, all of them together
            continue
        stem = posixpath.basename(path)[: -len("_test.cc")]
        stems = {
            posixpath.basename(source).split(".")[0]
            for source in tree.select(*SOURCES, *HEADERS, under=f"src/{layer}/")
            + tree.select(".h", under="include/darkroom/")
        }
        if not any(f"_{source}_" in f"_{stem}_" for source in stems):
            yield Finding(path, 1, f"src/{layer}/ has no {stem}.h or {stem}.cc")
    for path in tree.select("_test.cc", under="tests/kernels/ops/"):
        op = posixpath.basename(path)[: -len("_test.cc")]
        if not tree.exists(f"kernels/ops/{op}"):
            yield Finding(path, 1, f"kernels/ops/ has no {op}/")


_CONSTEXPR = r"(?:inline |static )*constexpr "
_CONSTANT = re.compile(
    rf"^[ \t]*{_CONSTEXPR}[\w:<> ]+?\b(k\w+?)(?:\[\w*\])?\s*(?:=\s*([^;]+)|\{{([^;]*)\}});",
    re.MULTILINE,
)
_BOUND_NAME = re.compile(r"(?:Max|Capacity|Timeout)(?:$|[A-Z])")


def bounds(tree):
    """Yields (path, line, name, value, why) of every constant in a limits.h."""
    for path in tree.select("limits.h"):
        text = tree.texts[path]
        code = cplusplus.blank(text, comments_only=True)
        lines = text.splitlines()
        for match in _CONSTANT.finditer(code):
            line = code.count("\n", 0, match.start(1)) + 1
            why = []
            above = line - 2
            while above >= 0 and re.match(rf"\s*(?://|{_CONSTEXPR})", lines[above]):
                if lines[above].lstrip().startswith("//"):
                    why.insert(0, lines[above].strip()[2:].strip())
                elif why:
                    break
                above -= 1
            behind = lines[line - 1].partition("//")[2].strip()
            value = " ".join((match.group(2) or match.group(3) or "").split())
            yield path, line, match.group(1), value, behind or " ".join(why)


@rule
def bounds_in_limits(tree):
    """Every bound has a name, in its layer's limits.h."""
    for path in tree.select(*SOURCES, *HEADERS, under="src/") + tree.select(
        *SOURCES, *HEADERS, under="kernels/"
    ):
        if path.endswith("limits.h"):
            continue
        code = cplusplus.blank(tree.texts[path])
        for match in _CONSTANT.finditer(code):
            # A number that is not whole clamps a value; it bounds no queue, loop or buffer.
            if re.search(r"\b(?:float|double)\b", match.group()):
                continue
            if _BOUND_NAME.search(match.group(1)):
                line = code.count("\n", 0, match.start(1)) + 1
                yield Finding(path, line, f"{match.group(1)} belongs in the layer's limits.h")


@rule
def bounds_explained(tree):
    for path, line, name, _, why in bounds(tree):
        if not why:
            yield Finding(path, line, f"{name} has no comment that says what it bounds")


@rule
def bounds_used(tree):
    """A bound that nothing reads is not a bound."""
    words = set()
    for path in tree.select(*SOURCES, *HEADERS):
        code = cplusplus.blank(tree.texts[path])
        if path.endswith("limits.h"):
            # Another bound may be made of this one.
            code = re.sub(r"constexpr [\w:<> ]+?\bk\w+", "", code)
        words.update(re.findall(r"\bk[A-Z]\w*", code))
    for path, line, name, _, _ in bounds(tree):
        if name not in words:
            yield Finding(path, line, f"{name} is used nowhere")


def _anchors(text):
    """GitHub's anchors of the headings of a Markdown file."""
    for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@rule
def document_links(tree):
    for path in tree.select(".md"):
        text = re.sub(r"^```.*?^```", lambda m: "\n" * m.group().count("\n"), tree.texts[path],
                      flags=re.DOTALL | re.MULTILINE)
        for match in re.finditer(r"\]\(([^)\s]+)\)", text):
            target, _, anchor = match.group(1).partition("#")
            if re.match(r"\w+:", target):
                continue
            line = text.count("\n", 0, match.start()) + 1
            full = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            if target and not tree.exists(full):
                yield Finding(path, line, f"the link leads nowhere: {match.group(1)}")
            elif anchor and anchor not in _anchors(tree.texts.get(full if target else path, "")):
                yield Finding(path, line, f"no such heading: {match.group(1)}")


@rule
def document_paths(tree):
    """A file that a document names in `code` is there."""
    named = re.compile(r"`((?:src|include|proto|kernels|tests|deploy|docs)/[\w./-]+)`")
    for path in tree.select(".md"):
        for number, line in enumerate(tree.lines(path), 1):
            for name in named.findall(line):
                if not tree.exists(name):
                    yield Finding(path, number, f"no such file: {name}")


@rule
def documents_linked(tree):
    """Every document can be reached: another one links it."""
    linked = set()
    for path in tree.select(".md"):
        for target in re.findall(r"\]\(([^)#\s]+)", tree.texts[path]):
            full = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            linked.update((full, full + "/README.md", full + "/index.md"))
    for path in tree.select(".md"):
        if path not in linked and path != "README.md":
            yield Finding(path, 1, "no document links this one")
