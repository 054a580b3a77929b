#!/bin/sh
# Install exactly what a lock names into a new environment, while an image is built: install-lock.sh LOCK FOLDER
set -eu
lock=$1
folder=$2

# A site's own package index and certificates, where the build was given them.
secrets=${SECRETS:-/run/secrets}
if [ -s "$secrets/pip_conf" ]; then export PIP_CONFIG_FILE=$secrets/pip_conf; fi
if [ -s "$secrets/ca_bundle" ]; then export PIP_CERT=$secrets/ca_bundle; fi

python3 -m venv "$folder"
"$folder/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --no-compile --no-deps \
    --only-binary :all: --require-hashes -r "$lock"
