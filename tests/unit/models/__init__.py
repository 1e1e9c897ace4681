"""What a model's files say of it, from files that are made on the spot."""
