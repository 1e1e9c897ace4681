"""What the documents show: every command on a page, where a test runs it, and what is checked of it offline."""
