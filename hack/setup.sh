#!/bin/sh
# Make .venv: the tools of requirements/dev.txt, exactly, and this checkout as an editable install.
# Does nothing when the last run's inputs are still the same. A .venv that an interrupted run left half made is mended.
set -eu
cd "$(dirname "$0")/.."
stamp=.venv/setup-stamp

# Two runs at a time would write into one .venv: the second waits.
if command -v flock >/dev/null; then
    exec 9<requirements/dev.txt
    flock 9
fi

# The folder belongs to the key: the scripts in .venv/bin carry its path, so a checkout that moved needs a new .venv.
key=$({ pwd; cat hack/setup.sh requirements/uv.txt requirements/dev.txt pyproject.toml speechless/__init__.py; } |
    sha256sum | cut -d ' ' -f 1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ] && .venv/bin/python -c '' 2>/dev/null; then
    echo "setup: .venv is up to date"
    exit 0
fi

hack/ensure-python.sh
rm -f "$stamp"
if [ "$(cat .venv/setup-place 2>/dev/null)" != "$PWD" ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo "setup: making .venv"
    "${PYTHON:-python3}" -m venv --clear .venv
    pwd >.venv/setup-place
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements/dev.txt
# The build back end is among the pinned tools, so nothing is downloaded for this step.
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
echo "$key" >"$stamp"
echo "setup: .venv is ready"
