"""Write `9a567eb/*.json` again, with that version's own code: `python -m tests.skew.generate`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.skew.archive import DATA, run_old


def main() -> None:
    """One file a scenario; files of scenarios that are no more go."""
    made = run_old(Path(__file__).with_name("scenarios.py"), "record")
    DATA.mkdir(exist_ok=True)
    for old in DATA.glob("*.json"):
        old.unlink()
    for name, objects in made.items():
        text = json.dumps(objects, indent=1, sort_keys=True, ensure_ascii=False)
        (DATA / f"{name}.json").write_text(text + "\n")
    print(f"{len(made)} files in {DATA}")


if __name__ == "__main__":
    main()
