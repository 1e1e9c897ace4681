#!/bin/sh
# List the targets of the Makefile, one line each: `name: ... ## what it does`, under the headings `##@ heading`.
set -eu
cd "$(dirname "$0")/.."
awk -F ':.*## ' '
    /^##@ /             { printf "\n%s\n", substr($0, 5) }
    /^[a-z][a-z0-9_-]*:.*## / { printf "  %-24s %s\n", $1, $2 }
' Makefile
