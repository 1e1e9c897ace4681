#!/bin/sh
# Make sure that Python 3.11 or newer with its venv module is here. As root on Debian it is installed from Debian's
# own packages; elsewhere this says what to install. PYTHON names another interpreter than python3.
set -eu
python=${PYTHON:-python3}

usable() {
    "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

usable && exit 0

if [ "$python" = python3 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing python3 and python3-venv with apt-get"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y -o DPkg::Lock::Timeout=120 --no-install-recommends python3 python3-venv
    usable && exit 0
fi

found=$("$python" --version 2>&1) || found="no $python"
echo "setup: Python 3.11 or newer with the venv module is needed; this machine has: $found." >&2
echo "setup: on Debian or Ubuntu 'apt-get install python3 python3-venv' brings it; another interpreter is" >&2
echo "setup: named by PYTHON, for example 'make setup PYTHON=/opt/python3.12/bin/python3'." >&2
exit 1
