#!/bin/sh
# Install mien with its server, in the versions of constraints.txt, into a virtual environment of its own.
#
#     deploy/install.sh /opt/mien            torch for CPUs
#     deploy/install.sh /opt/mien cu130      torch for CUDA 13.0, with its libraries
#     deploy/install.sh /opt/mien default    torch as pip's own configuration finds it
#
# PYTHON: the interpreter (3.11 or newer). EXTRAS: of mien, separated by commas.
set -eu

target=${1:?usage: deploy/install.sh FOLDER [cpu|cuNNN|default]}
torch=${2:-cpu}
extras=${EXTRAS:-serve,speech,faces,small}
root=$(cd "$(dirname "$0")/.." && pwd)

case $torch in
default) index='' ;;
cpu | cu[0-9]*) index="--extra-index-url https://download.pytorch.org/whl/$torch" ;;
*)
    echo "$torch: expected cpu, default, or a build of torch for CUDA, e.g. cu130" >&2
    exit 2
    ;;
esac

"${PYTHON:-python3}" -m venv "$target"
# $index is two words or none
# shellcheck disable=SC2086
"$target/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --quiet \
    --constraint "$root/constraints.txt" $index "$root[$extras]"
"$target/bin/mien" serve --help >/dev/null
echo "$target/bin/mien"
