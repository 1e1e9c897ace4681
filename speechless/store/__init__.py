"""Where artifacts live: open a source by its digest, publish a result atomically. `file://` and `pvc://` so far.

`store_for(uri, mounts)` gives the `Store` that serves a URI; the functions here are what stages call.
"""

from speechless.store.base import ManifestFields, Opened, Published, Store, store_for
from speechless.store.digest import Tick, digest_tree, verify
from speechless.store.manifest import read_manifest

__all__ = [
    "ManifestFields",
    "Opened",
    "Published",
    "Store",
    "Tick",
    "digest_tree",
    "read_manifest",
    "store_for",
    "verify",
]
