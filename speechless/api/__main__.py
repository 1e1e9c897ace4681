"""`speechless api start ...`: the same as `python -m speechless.api.server start ...`."""

from speechless.api.server import main
from speechless.entry import run

if __name__ == "__main__":
    run("api", main)
