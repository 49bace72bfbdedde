#!/usr/bin/env bash
# Fetches photographs with and without dogs for the detector's tests: those of Debian's package darknet, unpacked into
# .cache/pictures and not installed. Does nothing where they are already.
set -euo pipefail
cd "$(dirname "$0")/.."

target=.cache/pictures
[ ! -d "$target" ] || exit 0
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "No apt-get here: put the photographs of Debian's package darknet (usr/share/darknet/data) into $target." >&2
    exit 1
fi
mkdir -p .cache
work=$(mktemp -d .cache/pictures-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
# apt-get warns that it does not use its own account where that may not enter this directory.
if ! (cd "$work" && apt-get -qq download darknet 2>download.log && dpkg-deb -x darknet_*.deb .); then
    echo "The package darknet, whose photographs the detector's tests need, could not be fetched." >&2
    exit 1
fi
mv "$work/usr/share/darknet/data" "$target"
