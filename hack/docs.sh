#!/bin/sh
# Build the documentation (`build`, into site/) or show it on a local port (`serve`); a warning of the build is an error.
# Arguments after the first go to mkdocs. The notice that is switched off is about the tool's future: docs/decisions.md.
set -eu
cd "$(dirname "$0")/.."
export NO_MKDOCS_2_WARNING=1

case "${1-}" in
build)
    shift
    # Not --quiet: it takes the warnings away before --strict sees them.
    if ! words=$(.venv/bin/mkdocs build --strict "$@" 2>&1); then
        printf '%s\n' "$words" | grep -v '^INFO ' >&2
        exit 1
    fi
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
