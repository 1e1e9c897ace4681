"""Against a real API server with its controllers and scheduler, and no node: no pod ever runs here."""
