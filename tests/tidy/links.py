"""Refuses a program that links a library which its layer may not use.

python3 links.py PROGRAM FORBIDDEN...
"""

import re
import subprocess
import sys


def main():
    program, *forbidden = sys.argv[1:]
    section = subprocess.run(
        ["readelf", "--dynamic", program], capture_output=True, text=True, check=True
    ).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", section)
    print(f"{program} needs {', '.join(needed)}")
    wrong = [name for name in needed if any(name.startswith(prefix) for prefix in forbidden)]
    for name in wrong:
        print(f"it may not link {name}")
    return 0 if needed and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
