"""What is measured of ours: `python -m benchmarks.store.move put|get URI FOLDER`, as a stage calls it."""

from __future__ import annotations

import sys
from pathlib import Path

from speechless.contract import Format, Source
from speechless.store import ManifestFields, store_for

if __name__ == "__main__":
    action, uri, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if action == "put":
        store_for(uri).publish(folder, uri, ManifestFields(format=Format.DATASET))
    else:
        store_for(uri).open(Source(uri=uri), folder)
