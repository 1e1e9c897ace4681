"""Version skew: what an older version wrote, kept as data, and that version's own code to read what today's writes."""
