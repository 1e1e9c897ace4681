"""`speechless api start ...`: the same as `python -m speechless.api.server start ...`."""

from speechless.api import server
from speechless.api.server import main
from speechless.arguments import Parser
from speechless.entry import run


def build_parser() -> Parser:
    """The command line, with that of `start` below it; `start` may be left out."""
    parser = Parser(prog="speechless api", description="Serve a model.")
    commands = parser.add_subparsers(dest="command", metavar="start")
    commands.add_parser("start", help="serve a model", parents=[server.build_parser()], add_help=False)
    return parser


if __name__ == "__main__":
    run("api", main)
