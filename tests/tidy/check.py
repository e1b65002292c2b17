"""Checks the repository against its own style rules and lists every bound in it.

python3 tests/tidy/check.py [FOLDER] [--bounds] [--rules]
"""

import argparse
import pathlib
import sys

import rules_layers  # noqa: F401  registers its rules
import rules_structure
import rules_text
import tree as trees
from registry import RULES


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("folder", nargs="?", default=root)
    parser.add_argument("--bounds", action="store_true", help="only list the bounds")
    parser.add_argument("--rules", action="store_true", help="only list the rules")
    arguments = parser.parse_args()
    if arguments.rules:
        print("\n".join(RULES))
        return 0

    tree = trees.load(arguments.folder)
    print("Bounds:")
    for path, _, name, value, why in rules_structure.bounds(tree):
        print(f"  {path.rsplit('/', 1)[0]:<18} {name:<40} {value:<28} {why}")
    if arguments.bounds:
        return 0

    for finding in rules_text.long_files(tree):
        print(f"note: {finding}")
    count = 0
    for name, rule in RULES.items():
        for finding in rule(tree):
            print(f"{finding} [{name}]")
            count += 1
    print(f"{len(tree.texts)} files, {len(RULES)} rules, {count} findings")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
