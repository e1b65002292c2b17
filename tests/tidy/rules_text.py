"""Rules that look at one file at a time."""

import ast
import re
import subprocess

import cplusplus
from registry import rule
from tree import Finding

CODE = (".cc", ".h", ".cu", ".cuh", ".py", ".sh", ".proto", ".cmake", "CMakeLists.txt")
CPLUSPLUS = (".cc", ".h", ".cu", ".cuh")
# Kernels are one long function by nature.
LONG_FUNCTIONS = ("_sm80.cu", "_sm90.cu")

FILE_LINES_AIM = 500
FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 69
COLUMNS_MAX = 100


@rule
def file_length(tree):
    for path in tree.select(*CODE):
        count = len(tree.lines(path))
        if count > FILE_LINES_MAX:
            yield Finding(path, 1, f"{count} lines; at most {FILE_LINES_MAX} (split it)")


def long_files(tree):
    """Files past the aim but within the limit: told, not refused."""
    for path in tree.select(*CODE):
        count = len(tree.lines(path))
        if FILE_LINES_AIM < count <= FILE_LINES_MAX:
            yield Finding(path, 1, f"{count} lines; the aim is {FILE_LINES_AIM}")


@rule
def function_length(tree):
    for path in tree.select(*CPLUSPLUS):
        if not path.endswith(LONG_FUNCTIONS):
            for line, name, length in cplusplus.functions(tree.texts[path]):
                yield from _function(path, line, name, length)
    for path in tree.select(".py"):
        try:
            module = ast.parse(tree.texts[path])
        except SyntaxError:
            continue  # python_syntax tells it
        for node in ast.walk(module):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = node.end_lineno - node.lineno + 1
                yield from _function(path, node.lineno, node.name, length)


def _function(path, line, name, length):
    if length > FUNCTION_LINES_MAX:
        yield Finding(path, line, f"{name} has {length} lines; at most {FUNCTION_LINES_MAX}")


@rule
def columns(tree):
    for path in tree.select(*CODE):
        for number, line in enumerate(tree.lines(path), 1):
            if len(line) > COLUMNS_MAX:
                yield Finding(path, number, f"{len(line)} columns; at most {COLUMNS_MAX}")


@rule
def whitespace(tree):
    for path in sorted(tree.texts):
        text = tree.texts[path]
        if path == "LICENSE" or path.endswith((".json", ".txt")) and not path.endswith(CODE):
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if "\t" in line:
                yield Finding(path, number, "a tab")
            if line != line.rstrip():
                yield Finding(path, number, "white space at the end of the line")
        if text and not text.endswith("\n"):
            yield Finding(path, text.count("\n") + 1, "no newline at the end of the file")


@rule
def todo_reason(tree):
    word = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b(?!: .{20})")
    for path in tree.select(*CODE):
        for number, line in enumerate(tree.lines(path), 1):
            if word.search(line):
                yield Finding(path, number, "a to-do without a reason (\"TO" "DO: why not now\")")


@rule
def machine_paths(tree):
    """Nothing of the machine that it was written on."""
    folder = re.compile(r"(?:^|[^\w.$}~:/-])/(?:home|root|work|farm|Users|mnt|tmp)/\w")
    host = re.compile(
        r"\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|deb\.debian\.org"
        r"|archive\.ubuntu\.com|proxy\.golang\.org)"
    )
    for path in sorted(tree.texts):
        for number, line in enumerate(tree.lines(path), 1):
            if folder.search(line):
                yield Finding(path, number, "a path of one machine")
            if host.search(line):
                yield Finding(path, number, "the host of a package registry")


@rule
def file_names(tree):
    for path in sorted((*tree.texts, *tree.binaries)):
        if re.search(r"_(?:v\d+|new|old|opt|final|copy|tmp)\.\w+$", path):
            yield Finding(path, 1, "a version in the name: say what differs (_sm90) instead")
        if path.endswith(CPLUSPLUS) and not re.fullmatch(r"[a-z0-9_.]+", path.rsplit("/", 1)[-1]):
            yield Finding(path, 1, "names of C++ files are lower_case")


@rule
def header_guards(tree):
    for path in tree.select(".h", ".cuh"):
        if not re.search(r"^#pragma once$", tree.texts[path], re.MULTILINE):
            yield Finding(path, 1, "no #pragma once")


@rule
def pragmas(tree):
    for path in tree.select(*CPLUSPLUS):
        for number, line in enumerate(tree.lines(path), 1):
            if re.match(r"\s*#\s*pragma\s+(?!once\b|(GCC )?unroll\b)", line):
                yield Finding(path, number, "a #pragma other than once and unroll")


@rule
def skips_say_why(tree):
    for path in tree.select(".cc", ".cu"):
        code = cplusplus.blank(tree.texts[path], comments_only=True)
        for match in re.finditer(r"GTEST_SKIP\(\)(?!\s*<<)|\bDISABLED_\w+", code):
            line = code.count("\n", 0, match.start()) + 1
            yield Finding(path, line, "a test that is skipped without saying why")


@rule
def python_syntax(tree):
    for path in tree.select(".py"):
        try:
            ast.parse(tree.texts[path])
        except SyntaxError as error:
            yield Finding(path, error.lineno or 1, f"not Python: {error.msg}")


@rule
def shell_scripts(tree):
    for path in sorted(tree.texts):
        text = tree.texts[path]
        if not path.endswith(".sh") and not re.match(r"#!.*\b(?:ba)?sh\b", text):
            continue
        if not text.startswith("#!/usr/bin/env bash\n"):
            yield Finding(path, 1, "the first line must be #!/usr/bin/env bash")
        if not re.search(r"^set -euo pipefail$", text, re.MULTILINE):
            yield Finding(path, 1, "no `set -euo pipefail`")
        if path not in tree.executables:
            yield Finding(path, 1, "not executable")
        syntax = subprocess.run(
            ["bash", "-n"], input=text, capture_output=True, text=True, check=False
        )
        if syntax.returncode != 0:
            match = re.search(r"line (\d+): (.*)", syntax.stderr)
            line, what = match.groups() if match else (1, syntax.stderr)
            yield Finding(path, int(line), f"not bash: {what}")
