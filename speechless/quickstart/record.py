"""What has been done already, so that a second run takes up where the first one was stopped."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from speechless.quickstart.steps import Step

FILE = "quickstart.json"


class Record:
    """The steps that ended well in a folder, each with what it was asked, and how long it took."""

    def __init__(self, folder: Path) -> None:
        """Read what is there; a record that cannot be read counts for nothing."""
        self._file = folder / FILE
        self._folder = folder
        self._known: dict[str, dict[str, object]] = {}
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(found, dict):
            self._known = {name: entry for name, entry in found.items() if isinstance(entry, dict)}

    def seconds(self, step: Step) -> float:
        """How long a step took when it was done."""
        found = self._known.get(step.name, {}).get("seconds")
        return float(found) if isinstance(found, int | float) else 0.0

    def knows(self, step: Step) -> bool:
        """Whether a step was ever begun here: what it made is ours to take away."""
        return step.name in self._known

    def done(self, step: Step, before: str) -> bool:
        """Whether a step was done after the same steps before it (`before`: their key), and what it made is there."""
        same = self._known.get(step.name, {}).get("key") == self.key(step, before)
        return same and bool(step.made) and all((self._folder / path).exists() for path in step.made)

    def begun(self, step: Step, before: str) -> bool:
        """Whether it was begun, with the same words, and did not end."""
        return self._known.get(step.name, {}).get("began") == self.key(step, before)

    def begin(self, step: Step, before: str) -> None:
        """A step begins."""
        self._known[step.name] = {"began": self.key(step, before)}
        self._write()

    def end(self, step: Step, before: str, seconds: float) -> None:
        """A step ended well."""
        self._known[step.name] = {"key": self.key(step, before), "seconds": round(seconds, 1)}
        self._write()

    def key(self, step: Step, before: str) -> str:
        """What a step is asked, after which others: a change of one makes all behind it anew."""
        read = [
            file.read_text(encoding="utf-8") for path in step.reads if (file := self._folder / path).is_file()
        ]
        asked = json.dumps([before, *step.words, sorted(step.env.items()), read])
        return hashlib.sha256(asked.encode()).hexdigest()[:16]

    def _write(self) -> None:
        partial = self._file.with_name(f".{FILE}")
        partial.write_text(json.dumps(self._known, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, self._file)
