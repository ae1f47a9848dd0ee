#!/bin/sh
# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Make the virtual environment of ansible-rulebook, and install the Java runtime that it needs if there is none:
# sh tests/rulebooks/bootstrap.sh DIRECTORY

set -eu
venv=$1
requirements=tests/rulebooks/requirements.txt

if ! command -v java > /dev/null; then
    sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
    $sudo apt-get update
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends default-jre-headless
fi

if ! cmp -s "$requirements" "$venv/requirements.txt"; then
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --requirement "$requirements"
    cp "$requirements" "$venv/requirements.txt"
fi
