"""What the pages of docs/ claim, held against the code: metrics, manifests, scripts, file names."""
