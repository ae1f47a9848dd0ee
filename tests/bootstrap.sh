#!/bin/sh
# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Make the virtual environment every make target runs in: sh tests/bootstrap.sh DIRECTORY

set -eu
venv=$1
python=${PYTHON:-python3}

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "ansible-core 2.18 needs Python 3.11 or newer and $python is $version: try make PYTHON=python3.11" >&2
    exit 1
fi

# Debian and Ubuntu ship ensurepip apart from Python, and venv imports fine without it.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
    $sudo apt-get update
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "python$version-venv"
fi

rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --requirement tests/requirements.txt
