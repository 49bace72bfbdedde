#!/usr/bin/env bash
# Installs those of the named Debian packages that this machine lacks, and starts none of their services.
#
#   scripts/system-packages.sh PACKAGE...
#
# Runs apt-get as root, or through sudo. Says what to do where neither works.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

is_here() { # as a package, or as a program from elsewhere
    local program
    if [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; then
        return 0
    fi
    case $1 in
        coturn) program=turnserver ;;
        chromium) program=chromium-browser ;; # the name on Ubuntu
        *) program=$1 ;;
    esac
    command -v "$1" >/dev/null || command -v "$program" >/dev/null
}

missing=()
for package in "$@"; do
    is_here "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command="apt-get install --no-install-recommends ${missing[*]}"

if ! command -v apt-get >/dev/null; then
    echo "WIM-Z needs ${missing[*]}, and this system has no apt-get. Install the like with its own package manager." >&2
    exit 1
fi

if [ "$(id -u)" -ne 0 ]; then
    # A password may be asked for only where somebody can type it.
    ask=()
    [ -t 0 ] || ask=(--non-interactive)
    if ! command -v sudo >/dev/null || ! sudo "${ask[@]}" true; then
        {
            echo "WIM-Z needs ${missing[*]}, and this account may not install packages (it is not root, and sudo does not work)."
            echo "Ask somebody who may to run:  $command"
        } >&2
        exit 1
    fi
    exec sudo "$0" "${missing[@]}"
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
our_policy=
cleanup() {
    rm -f "$log"
    if [ -n "$our_policy" ]; then
        rm -f "$policy"
    fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ ! -e "$policy" ]; then
    # The packages' own scripts ask this one before they start a service (Debian policy, 9.3.3.1); 101 forbids it.
    our_policy=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt() {
    apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq "$@" >>"$log" 2>&1 </dev/null
}

installable() {
    apt-cache show --no-all-versions "$1" >/dev/null 2>&1
}

echo "Installing ${missing[*]} (apt-get)"
apt update || true # an old list may do; if not, the installation says so
for i in "${!missing[@]}"; do
    if [ "${missing[i]}" = chromium ] && ! installable chromium && installable chromium-browser; then
        missing[i]=chromium-browser
    fi
done
if ! apt install --yes --no-install-recommends "${missing[@]}"; then
    tail -n 20 "$log" >&2
    echo "WIM-Z could not install ${missing[*]}. The reason is above; this is the command:  $command" >&2
    exit 1
fi

# Not now, and not at the next boot either: tests start their own, on ports of their own.
for package in "${missing[@]}"; do
    case $package in
        nginx | coturn | mosquitto)
            if command -v systemctl >/dev/null; then
                systemctl --quiet disable "$package.service" >>"$log" 2>&1 || true
            fi
            if command -v update-rc.d >/dev/null; then
                update-rc.d "$package" disable >>"$log" 2>&1 || true
            fi
            ;;
    esac
done
