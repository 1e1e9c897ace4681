#!/bin/sh
# Build the documentation (`build`, into site/) or show it on a local port (`serve`); a warning of the build is an error.
# Arguments after the first go to mkdocs. The notice that is switched off is about the tool's future: docs/decisions.md.
set -eu
cd "$(dirname "$0")/.."
export NO_MKDOCS_2_WARNING=1

case "${1-}" in
build)
    shift
    exec .venv/bin/mkdocs build --strict --quiet "$@"
    ;;
serve)
    shift
    exec .venv/bin/mkdocs serve "$@"
    ;;
*)
    echo "docs: say 'hack/docs.sh build' or 'hack/docs.sh serve'" >&2
    exit 2
    ;;
esac
