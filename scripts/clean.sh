#!/usr/bin/env bash
# Removes everything that the other targets made: the virtual environment, caches, and the demo's data.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -e var/demo.lock ] && ! flock --nonblock var/demo.lock true; then
    echo "A demo is running on var/: stop it first." >&2
    exit 1
fi

# For a checkout that is closed to other accounts, PostgreSQL's data lives elsewhere, behind a link.
if [ -L var/postgres ]; then
    rm -rf -- "$(readlink var/postgres)"
fi
rm -rf -- var models .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache ./*.egg-info
find . -name __pycache__ -type d -prune -exec rm -rf -- {} +
