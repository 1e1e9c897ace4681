"""What a test runs to kill: `python -m tests.store.child publish|open|locate URI FOLDER`. Its last line is JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from speechless.contract import Format, Source
from speechless.data.places import locate_data
from speechless.errors import StageError
from speechless.store import ManifestFields, claim, digest_tree, oci, store_for


def main(action: str, uri: str, folder: Path) -> dict[str, object]:
    """Do it; what came of it."""
    # A test does not wait as people do.
    claim.BEAT, claim.PATIENCE, claim.LOOK, oci.SETTLE = 0.1, 1.0, 0.1, 0.5
    store = store_for(uri)
    try:
        if action == "locate":  # by the cache that the environment names; the folder says when to end
            path = locate_data(uri).path
            print(json.dumps({"path": str(path), "digest": digest_tree(path)[0]}), flush=True)
            while folder.exists():
                time.sleep(0.05)
            return {"ended": True}
        if action == "publish":
            store.prepare(uri)
            made = store.publish(folder, uri, ManifestFields(format=Format.DATASET))
            return {"digest": made.artifact.digest, "reused": made.reused}
        return {"digest": store.open(Source(uri=uri), folder).digest}
    except StageError as problem:
        return {"reason": problem.reason.value, "message": problem.message}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
