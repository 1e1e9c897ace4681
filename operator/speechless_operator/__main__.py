"""`python -m speechless_operator`: the same as the console script `speechless-operator`."""

import sys

from speechless_operator.main import main

if __name__ == "__main__":
    sys.exit(main())
