#!/bin/sh
# setup.sh [dev|library]: make .venv (the tools of requirements/dev.txt) or .venv-library (torch and all that the stages
# need, requirements/library.txt), exactly as locked, with this checkout as an editable install.
# Does nothing when the last run's inputs are still the same. What an interrupted run left half made is mended.
set -eu
cd "$(dirname "$0")/.."
case "${1:-dev}" in
    dev) env=.venv ;;
    library) env=.venv-library ;;
    *) echo "setup: no environment '$1': there are dev and library" >&2; exit 2 ;;
esac
lock=requirements/${1:-dev}.txt
stamp=$env/setup-stamp

# Two runs at a time would write into one folder: the second waits.
if command -v flock >/dev/null; then
    exec 9<"$lock"
    flock 9
fi

# The folder belongs to the key: the scripts in its bin/ carry its path, so a checkout that moved needs a new one.
key=$({ pwd; cat hack/setup.sh requirements/uv.txt "$lock" pyproject.toml speechless/__init__.py; } |
    sha256sum | cut -d ' ' -f 1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ] && "$env/bin/python" -c '' 2>/dev/null; then
    echo "setup: $env is up to date"
    exit 0
fi

hack/ensure-python.sh
# A package index that cannot be reached, or a full disk, in one line.
failed() {
    echo "setup: $env could not be made: the lines above say why. It needs a package index (pip's own settings count," >&2
    echo "setup: such as PIP_INDEX_URL) and $needs MB of disk; the same command again goes on from here." >&2
    exit 1
}
[ "$env" = .venv ] && needs=800 || needs=7000
free=$(df -Pm . | awk 'NR == 2 { print $4 }')
if [ ! -d "$env" ] && [ "$free" -lt "$needs" ]; then
    echo "setup: $env needs $needs MB of disk, and $PWD has $free MB: free some, or use another checkout." >&2
    exit 1
fi
[ "$env" = .venv ] || echo "setup: torch and what the stages need, 5 GB: seconds from a cache, minutes from a network"
rm -f "$stamp"
if [ "$(cat "$env/setup-place" 2>/dev/null)" != "$PWD" ] || ! "$env/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "setup: making $env"
    # Never into what a link leads to: that is the environment of another checkout.
    [ ! -L "$env" ] || rm "$env"
    "${PYTHON:-python3}" -m venv --clear "$env"
    pwd >"$env/setup-place"
fi
# As pip: a network with a certificate authority of its own is set up in the system's certificates, and an index of one's
# own in pip's variables and files. uv reads neither by itself.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
pip_says() {
    "$env/bin/python" -m pip config get "global.$1" 2>/dev/null || true
}
index=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-$(pip_says index-url)}}}
extra=${UV_INDEX:-${UV_EXTRA_INDEX_URL:-${PIP_EXTRA_INDEX_URL:-$(pip_says extra-index-url)}}}
insecure=${UV_INSECURE_HOST:-${PIP_TRUSTED_HOST:-$(pip_says trusted-host)}}
if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
if [ -n "$extra" ]; then export UV_INDEX="$extra"; fi
if [ -n "$insecure" ]; then export UV_INSECURE_HOST="$insecure"; fi
# Where Python may not keep what it compiled, each start would compile torch and its like anew, 20 s long: once is enough.
if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then export UV_COMPILE_BYTECODE=1; fi
"$env/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt || failed
"$env/bin/uv" pip sync --quiet --python "$env/bin/python" --require-hashes "$lock" || failed
# The build back end is among the pinned tools, so nothing is downloaded for this step.
"$env/bin/uv" pip install --quiet --python "$env/bin/python" --no-deps --no-build-isolation --editable .
echo "$key" >"$stamp"
echo "setup: $env is ready"
