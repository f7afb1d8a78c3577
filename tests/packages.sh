#!/bin/sh
# Debian packages that the tests need: a browser, what builds the real pool, a container registry, systemd's check of units. Without root or sudo
# nothing is installed and nothing fails: the tests that miss something say so themselves.
missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v debootstrap >/dev/null 2>&1 || [ -x /usr/sbin/debootstrap ] || missing="$missing debootstrap"
command -v docker-registry >/dev/null 2>&1 || missing="$missing docker-registry"
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then sudo=""
elif sudo -n true 2>/dev/null; then sudo="sudo -n"
else
    echo "not installed, as there is neither root nor sudo without a password:$missing" >&2
    exit 0
fi
echo "installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
{ $sudo apt-get update && $sudo apt-get install -y --no-install-recommends $missing fonts-dejavu-core; } >/dev/null ||
    echo "could not install$missing" >&2
exit 0
