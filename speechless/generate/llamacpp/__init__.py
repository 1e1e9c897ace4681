"""llama.cpp: its own programs, its server out of a wheel where they are not installed, and its file format."""
