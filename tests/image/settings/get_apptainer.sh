#!/usr/bin/env bash
# Put the real Apptainer into FOLDER: Debian sid's binary with its own C library, only its loader path changed.
# Nothing else of this machine changes.
set -euo pipefail
folder=$1
mirror=$2
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work"/{lists/partial,cache/archives/partial,packages}
: >"$work/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/sources.list"
options=(
    -qq
    -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferencesparts=-
    -o "Dir::State::lists=$work/lists" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
    -o Acquire::Languages=none -o APT::Sandbox::User=root
)
apt-get "${options[@]}" update
(cd "$work/packages" && apt-get "${options[@]}" download apptainer libc6 libseccomp2 libsqlite3-0 libgcc-s1)

rm -rf -- "$folder"
mkdir -p "$folder"
for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$folder"; done
libraries=$folder/usr/lib/x86_64-linux-gnu
for program in "$folder/usr/bin/apptainer" "$libraries/apptainer/bin/starter"; do
    patchelf --force-rpath --set-interpreter "$libraries/ld-linux-x86-64.so.2" --set-rpath "$libraries" "$program"
done
# It looks for its settings relative to its own place: the command from usr, the starter from usr/lib.
ln -s ../etc "$folder/usr/etc"
ln -s ../../etc "$folder/usr/lib/etc"
mkdir -p "$folder/usr/var/lib/apptainer/mnt/session" "$folder/usr/lib/var/lib/apptainer/mnt/session"
chmod -R a+rX "$folder"
"$folder/usr/bin/apptainer" --version >"$folder/version"
