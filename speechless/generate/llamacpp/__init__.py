"""llama.cpp: its tools where they are installed, its Python binding where they are not, and its file format."""
