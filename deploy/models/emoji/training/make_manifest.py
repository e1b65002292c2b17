"""Writes SHA256SUMS over every file of the model folder; check it with `sha256sum -c SHA256SUMS`.

    python make_manifest.py --model ../
"""

import argparse
import hashlib
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    model = parser.parse_args().model
    files = sorted(path.relative_to(model).as_posix() for path in model.rglob("*")
                   if path.is_file() and "__pycache__" not in path.parts)
    lines = [f"{hashlib.sha256((model / name).read_bytes()).hexdigest()}  {name}\n"
             for name in files if name != "SHA256SUMS"]
    (model / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
