"""Where artifacts live: open a source by its digest, publish a result atomically, keep checkpoints.

`store_for(uri, access)` gives the `Store` that reaches a URI; the functions here are what stages call.
"""

from speechless.store.base import Access, Checkpoint, Checkpoints, ManifestFields, Opened, Published, Store
from speechless.store.checkpoints import FolderCheckpoints
from speechless.store.digest import Tick, digest_tree, sampled_digest, verify
from speechless.store.manifest import read_manifest
from speechless.store.stores import store_for

__all__ = [
    "Access",
    "Checkpoint",
    "Checkpoints",
    "FolderCheckpoints",
    "ManifestFields",
    "Opened",
    "Published",
    "Store",
    "Tick",
    "digest_tree",
    "read_manifest",
    "sampled_digest",
    "store_for",
    "verify",
]
