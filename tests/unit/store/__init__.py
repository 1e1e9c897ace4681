"""The store: URIs, digests, and publishing that is whole or nothing."""
