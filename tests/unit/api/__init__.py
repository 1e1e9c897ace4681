"""The api package without a server: commands, requests, answers, keys."""
