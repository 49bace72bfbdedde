#!/usr/bin/env bash
# Makes the virtual environment and installs WIM-Z with one extra of setup.cfg into it.
#
#   scripts/setup-venv.sh VENV EXTRA [PYTHON]
#
# Without PYTHON, the first of python3, python3.13, python3.12, python3.11 that fits is taken.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1
extra=$2
wanted=${3:-}

version() { # prints MAJOR.MINOR of a Python that fits, fails for any other
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2]); sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

describe() {
    "$1" -c 'import sys; print("is %d.%d" % sys.version_info[:2])' 2>/dev/null || echo "does not run"
}

find_python() {
    local candidate
    for candidate in ${wanted:-python3 python3.13 python3.12 python3.11}; do
        if version "$candidate" >/dev/null; then
            echo "$candidate"
            return
        fi
    done
    {
        if [ -n "$wanted" ]; then
            echo "WIM-Z needs Python 3.11, 3.12 or 3.13, and $wanted $(describe "$wanted")."
        else
            echo "WIM-Z needs Python 3.11, 3.12 or 3.13, and found none (python3 $(describe python3))."
        fi
        echo "Install one (on Debian, Ubuntu and Pi OS: apt-get install python3), or name it: make PYTHON=/path/to/python3.12 demo"
    } >&2
    return 1
}

python=$(find_python)
number=$(version "$python")

if [ "$(version "$venv/bin/python" || true)" != "$number" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    # Debian keeps what `python -m venv` needs in a package of its own.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        scripts/system-packages.sh "python$number-venv"
    fi
    echo "Making $venv with Python $number"
    "$python" -m venv --clear "$venv"
fi

echo "Installing the Python packages into $venv (a minute or two the first time)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --editable ".[$extra]"
