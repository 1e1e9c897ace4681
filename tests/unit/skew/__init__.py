"""Today's plans over what the version before left, that version's plans over what today's leave, and their contract."""
