"""`python -m speechless`: the same as the console script `speechless`."""

import sys

from speechless.cli import main

if __name__ == "__main__":
    sys.exit(main())
