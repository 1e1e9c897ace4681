"""One list of versions from the locks of what is tested, for `pip install -c requirements/constraints.txt '.[train]'`.

python3 hack/constraints.py            writes requirements/constraints.txt
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements/library.txt", "images/operator/requirements.txt")
"""What the library's tests run on, and the operator's image. Of a package that is in both, the first counts."""
TARGET = "requirements/constraints.txt"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<rest>[^\\]+)", re.MULTILINE)


def constraints() -> str:
    """The text of the file."""
    pins: dict[str, list[str]] = {}
    for lock in LOCKS:
        # A lock has several lines of a package that differs from one Python to another.
        here: dict[str, list[str]] = {}
        for found in _PIN.finditer((ROOT / lock).read_text(encoding="utf-8")):
            here.setdefault(found["name"], []).append(f"{found['name']}=={found['rest'].strip()}")
        pins = here | pins
    head = (
        "# The versions that are tested: pip install -c requirements/constraints.txt '.[train]'\n"
        "# Made from the locks by `make lock`; never edited by hand.\n"
    )
    return head + "".join(f"{line}\n" for name in sorted(pins) for line in pins[name])


if __name__ == "__main__":
    (ROOT / TARGET).write_text(constraints(), encoding="utf-8")
    print(f"lock: {TARGET}")
