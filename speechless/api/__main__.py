"""`speechless api start ...`: the same as `python -m speechless.api.server start ...`."""

import sys

from speechless.api.server import main

if __name__ == "__main__":
    sys.exit(main())
