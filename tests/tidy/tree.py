"""The files of the repository, as the rules see them."""

import pathlib
import subprocess
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    path: str
    line: int
    message: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.message}"


@dataclass
class Tree:
    """Path -> text of every text file; made from a folder, or in memory by the rules' own tests."""

    texts: dict
    executables: set = field(default_factory=set)
    # Paths of files that are not text, for links that lead to them.
    binaries: set = field(default_factory=set)

    def select(self, *suffixes, under=""):
        """Paths with one of the suffixes, in order; `under` is a folder with its slash."""
        return [
            path
            for path in sorted(self.texts)
            if path.startswith(under) and path.endswith(suffixes)
        ]

    def lines(self, path):
        return self.texts[path].splitlines()

    def exists(self, path):
        """Whether there is such a file, or a folder with a file in it."""
        path = path.rstrip("/")
        everything = (*self.texts, *self.binaries)
        return path in everything or any(other.startswith(path + "/") for other in everything)


def load(root):
    """The files that git tracks or would track; where there is no git, all but build folders."""
    root = pathlib.Path(root)
    listing = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0:
        paths = {name for name in listing.stdout.decode().split("\0") if name}
    else:
        paths = {
            str(path.relative_to(root))
            for path in root.rglob("*")
            if not str(path.relative_to(root)).startswith((".git/", "build"))
        }
    tree = Tree({})
    for path in paths:
        full = root / path
        if not full.is_file():
            continue
        try:
            tree.texts[path] = full.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            tree.binaries.add(path)
        if full.stat().st_mode & 0o100:
            tree.executables.add(path)
    return tree
