#!/bin/sh
# Compile an environment's Python files and the standard library's, while an image is built: compile.sh FOLDER
#
# The byte code is taken as it is, without a look at the file it came from. What is bound to file times would be stale:
# reproducible builds set all times back, and a read-only root cannot mend it.
set -eu
python=$1/bin/python
"$python" -m compileall -q -f --invalidation-mode unchecked-hash "$1/lib"
# Published slim images leave the standard library's out.
"$python" -m compileall -q -f -x '/(test|tests|site-packages|dist-packages|lib2to3)/' --invalidation-mode unchecked-hash \
    "$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
