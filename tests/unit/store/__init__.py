"""The store: URIs, digests, and publishing that is whole or nothing."""

from pathlib import Path

NOWHERE = Path("/nowhere")
"""Where a source would be brought: one that is here is read where it lies, and nothing is written."""
