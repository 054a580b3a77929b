#!/bin/sh
# Install exactly what a lock names into a new environment, while an image is built: install-lock.sh LOCK FOLDER
set -eu
lock=$1
folder=$2

# A site's own package index and certificates, where the build was given them.
if [ -s /run/secrets/pip_conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip_conf; fi
if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi

python3 -m venv "$folder"
"$folder/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --no-compile --no-deps \
    --only-binary :all: --require-hashes -r "$lock"

# Byte code that no time stamp makes stale: reproducible builds set all times back, and a read-only root cannot mend it.
"$folder/bin/python" -m compileall -q -f --invalidation-mode unchecked-hash "$folder/lib"
# The standard library's, which published slim images leave out.
"$folder/bin/python" -m compileall -q -x '/(test|tests|site-packages|dist-packages)/' --invalidation-mode unchecked-hash \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
