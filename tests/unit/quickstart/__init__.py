"""The quickstart: its chain, its record, its words."""
