#!/usr/bin/env bash
# Run a command as an ordinary user whom this machine does not know otherwise, in namespaces that end with it:
#   unshare --mount --pid --fork --kill-child as_user.sh FOLDER NUMBER [PATH...] -- COMMAND...
# FOLDER has the user's passwd, group and subid; every PATH is brought within the user's reach.
set -euo pipefail
folder=$1
number=$2
shift 2
kept=$folder/kept

mount --make-rprivate /
mount -t proc proc /proc
for name in passwd group; do mount --bind "$folder/$name" "/etc/$name"; done
for name in subuid subgid; do
    touch -a "/etc/$name"
    mount --bind "$folder/subid" "/etc/$name"
done

# Folders above a PATH that let nobody through, such as /root, are empty but for the PATHs.
mkdir "$kept"
mount -t tmpfs -o mode=755 kept "$kept"
paths=() closed=()
while [[ $1 != -- ]]; do
    mkdir "$kept/${#paths[@]}"
    mount --rbind "$1" "$kept/${#paths[@]}"
    paths+=("$1")
    shift
done
shift
above() { # PATH: the first folder on the way that is closed to others
    local way=
    local -a parts
    IFS=/ read -ra parts <<<"${1#/}"
    for part in "${parts[@]}"; do
        way+=/$part
        if (( !(0$(stat -c %a "$way") & 1) )); then echo "$way"; return; fi
    done
}
for path in "${paths[@]}"; do
    way=$(above "$path")
    if [[ -n $way ]]; then mount -t tmpfs -o mode=755 open "$way"; closed+=("$way"); fi
done
for at in "${!paths[@]}"; do
    for way in "${closed[@]}"; do
        if [[ ${paths[at]} == "$way"/* ]]; then
            mkdir -p "${paths[at]}"
            mount --rbind "$kept/$at" "${paths[at]}"
        fi
    done
done

# Podman's `--ipc host` wants a message queue folder, and rootless programs a fuse device that is open to all.
if [[ ! -d /dev/mqueue || $(stat -c %a /dev/fuse 2>/dev/null) != 666 ]]; then
    mkdir "$kept/dev"
    mount --rbind /dev "$kept/dev"
    mount -t tmpfs -o mode=755 dev /dev
    for entry in "$kept/dev"/*; do
        name=${entry##*/}
        if [[ -d $entry && ! -L $entry ]]; then
            mkdir "/dev/$name"
            mount --rbind "$entry" "/dev/$name"
        else
            cp -a "$entry" /dev/
        fi
    done
    mkdir -p /dev/mqueue
    rm -f /dev/fuse
    mknod -m 666 /dev/fuse c 10 229
fi
mount --make-rshared /

# Not by exec: the first process of a namespace has to take care of orphans, and bash does.
code=0
setpriv --reuid "$number" --regid "$number" --clear-groups "$@" || code=$?
exit "$code"
