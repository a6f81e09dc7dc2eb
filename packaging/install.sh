#!/bin/sh
# Install, upgrade or remove NovaPulse: ./install.sh [--prefix DIR] [--no-restart]
#                                       ./install.sh --uninstall [--purge] [--prefix DIR]
# Needs no network, no Python and no root file system of its own. Run again, it
# changes nothing that is right already; your configuration and data stay.
# Exit codes: 0 ok, 2 usage, 65 damaged files, 69 not for this machine, 77 not root.
set -eu

PREFIX=/opt/novapulse
CONFIG=/etc/novapulse
STATE=/var/lib/novapulse
LOGS=/var/log/novapulse
UNITS=/usr/local/lib/systemd/system
LINK=/usr/local/bin/novapulse
BASH_COMPLETION=/usr/local/share/bash-completion/completions/novapulse
ZSH_COMPLETION=/usr/local/share/zsh/site-functions/_novapulse
FISH_COMPLETION=/usr/local/share/fish/vendor_completions.d/novapulse.fish
TMPFILES=/etc/tmpfiles.d/novapulse.conf

say() { echo "$*" >&2; }

fail() {  # CODE WHAT TRY
    say "error: $2"
    say "  try: $3"
    exit "$1"
}

usage() {
    sed -n '2,3s/^# *//p' "$HERE/install.sh" >&2
    exit 2
}

is_booted() { [ -d /run/systemd/system ]; }

fact() {  # NAME: a value of release.json
    sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$HERE/release.json"
}

check_machine() {
    [ "$(uname -sm)" = "Linux x86_64" ] \
        || fail 69 "this is for Linux on x86_64, not $(uname -sm)" "use an external machine of that kind"
    needed=$(fact glibc)
    present=$(getconf GNU_LIBC_VERSION 2> /dev/null | sed 's/^glibc //')
    [ -n "$present" ] || fail 69 "this machine's C library is not glibc" "use a distribution with glibc"
    oldest=$(printf '%s\n%s\n' "$needed" "$present" | sort -V | sed -n 1p)
    [ "$oldest" = "$needed" ] \
        || fail 69 "it needs glibc $needed or newer, here is $present" "use a newer release of the system"
}

check_files() {
    for manifest in "$HERE/manifest.sha256" "$HERE/stores/manifest.sha256"; do
        [ -f "$manifest" ] || continue
        (cd "$(dirname "$manifest")" && sha256sum --check --quiet manifest.sha256 >&2) \
            || fail 65 "these files are not what was packed" "unpack the archive again, compare SHA256SUMS"
    done
    [ -f "$HERE/manifest.sha256" ] \
        || fail 65 "there is no manifest.sha256 beside install.sh" "unpack the whole archive"
}

make_user() {
    if command -v systemd-sysusers > /dev/null; then
        systemd-sysusers "$HERE/systemd/novapulse.sysusers"
    elif ! getent passwd novapulse > /dev/null; then
        useradd --system --user-group --home-dir "$STATE" --no-create-home \
            --shell /usr/sbin/nologin novapulse
    fi
}

place_release() {
    [ "$HERE" != "$RELEASE" ] || return 0
    if [ -d "$RELEASE" ] && same_files "$HERE" "$RELEASE"; then
        return 0
    fi
    mkdir -p "$PREFIX/releases"
    partial="$PREFIX/releases/.partial-$VERSION"
    rm -rf "$partial"
    mkdir "$partial"
    # What is not in the manifests does not belong to it.
    (cd "$HERE" && copy_listed "$partial")
    chown -R root:root "$partial"
    sync -f "$partial" 2> /dev/null || sync
    if [ -d "$RELEASE" ]; then
        rm -rf "$PREFIX/releases/.former-$VERSION"
        mv "$RELEASE" "$PREFIX/releases/.former-$VERSION"
    fi
    mv "$partial" "$RELEASE"
    rm -rf "$PREFIX/releases/.former-$VERSION"
}

copy_listed() {  # TARGET: in the source's directory
    {
        echo manifest.sha256
        cut -c67- manifest.sha256
        if [ -f stores/manifest.sha256 ]; then
            echo stores/manifest.sha256
            cut -c67- stores/manifest.sha256 | sed 's#^#stores/#'
        fi
    } | tar -cf - --no-recursion -T - | tar -xf - --no-same-owner -C "$1"
    chmod -R u=rwX,go=rX "$1"
}

same_files() {  # A B: the same manifests, and B is what its manifest says
    for part in manifest.sha256 stores/manifest.sha256; do
        if [ -f "$1/$part" ] || [ -f "$2/$part" ]; then
            cmp -s "$1/$part" "$2/$part" || return 1
            (cd "$(dirname "$2/$part")" && sha256sum --check --status manifest.sha256) || return 1
        fi
    done
}

switch() {
    old=$(readlink "$PREFIX/current" 2> /dev/null || true)
    new="releases/$VERSION"
    [ "$old" != "$new" ] || return 0
    # ln alone would leave a moment without the link.
    ln -s "$new" "$PREFIX/.current.new"
    mv -T "$PREFIX/.current.new" "$PREFIX/current"
    if [ -n "$old" ]; then
        ln -s "$old" "$PREFIX/.previous.new"
        mv -T "$PREFIX/.previous.new" "$PREFIX/previous"
    fi
}

forget_older_releases() {
    previous=$(readlink "$PREFIX/previous" 2> /dev/null || true)
    for release in "$PREFIX"/releases/* "$PREFIX"/releases/.partial-* "$PREFIX"/releases/.incoming-*; do
        case "releases/$(basename "$release")" in
            "releases/$VERSION" | "$previous") ;;
            *)
                # An upgrade unpacks beside the releases, and its script runs from there.
                case "$HERE/" in "$release"/*) ;; *) rm -rf "$release" ;; esac
                ;;
        esac
    done
}

place() {  # SOURCE TARGET: with the chosen prefix in it, in one step
    mkdir -p "$(dirname "$2")"
    sed "s#/opt/novapulse#$PREFIX#g" "$1" > "$2.new"
    chmod 644 "$2.new"
    mv "$2.new" "$2"
}

place_system_files() {
    for unit in "$RELEASE"/systemd/*.service "$RELEASE"/systemd/*.socket "$RELEASE"/systemd/*.timer; do
        place "$unit" "$UNITS/$(basename "$unit")"
    done
    place "$RELEASE/systemd/novapulse.tmpfiles" "$TMPFILES"
    place "$RELEASE/completion/novapulse.bash" "$BASH_COMPLETION"
    place "$RELEASE/completion/_novapulse" "$ZSH_COMPLETION"
    place "$RELEASE/completion/novapulse.fish" "$FISH_COMPLETION"
    mkdir -p "$(dirname "$LINK")"
    ln -sfn "$PREFIX/current/novapulse" "$LINK"
}

place_configuration() {
    mkdir -p "$CONFIG" "$STATE"
    chown root:novapulse "$CONFIG"
    chmod 750 "$CONFIG"
    chown novapulse:novapulse "$STATE"
    chmod 700 "$STATE"
    if [ ! -e "$CONFIG/config.toml" ]; then
        cp "$RELEASE/config.toml.example" "$CONFIG/config.toml.new"
        chown root:novapulse "$CONFIG/config.toml.new"
        chmod 640 "$CONFIG/config.toml.new"
        mv "$CONFIG/config.toml.new" "$CONFIG/config.toml"
    fi
}

start_or_restart() {
    is_booted || return 0
    systemctl daemon-reload
    systemctl --quiet enable novapulse.service
    systemctl --quiet enable --now novapulse-backup.timer
    if [ "$RESTART" = yes ] && [ "$CHANGED" = yes ] && systemctl --quiet is-active novapulse.service; then
        say "Restarting novapulse …"
        systemctl restart novapulse.service
    fi
}

install() {
    check_machine
    check_files
    VERSION=$(fact version)
    RELEASE="$PREFIX/releases/$VERSION"
    CHANGED=no
    [ "$(readlink "$PREFIX/current" 2> /dev/null || true)" = "releases/$VERSION" ] \
        && [ -d "$RELEASE" ] && same_files "$HERE" "$RELEASE" || CHANGED=yes
    make_user
    place_release
    switch
    forget_older_releases
    place_system_files
    place_configuration
    start_or_restart
    if is_booted && systemctl --quiet is-active novapulse.service; then
        say "NovaPulse $VERSION is installed in $RELEASE and runs."
    else
        say "NovaPulse $VERSION is installed in $RELEASE. Start it: systemctl start novapulse"
    fi
}

uninstall() {
    if is_booted; then
        for unit in novapulse-backup.timer novapulse.socket novapulse.service novapulse-backup.service; do
            systemctl --quiet disable --now "$unit" 2> /dev/null || systemctl --quiet stop "$unit" 2> /dev/null || true
        done
    fi
    rm -f "$UNITS"/novapulse.service "$UNITS"/novapulse.socket "$UNITS"/novapulse-backup.service \
        "$UNITS"/novapulse-backup.timer "$LINK" "$BASH_COMPLETION" "$ZSH_COMPLETION" \
        "$FISH_COMPLETION" "$TMPFILES"
    rm -f "$PREFIX/current" "$PREFIX/previous" "$PREFIX/.current.new" "$PREFIX/.previous.new"
    rm -rf "$PREFIX/releases"
    rmdir "$PREFIX" 2> /dev/null || true
    if is_booted; then
        systemctl daemon-reload
        systemctl --quiet reset-failed 'novapulse*' 2> /dev/null || true
    fi
    if [ "$PURGE" = yes ]; then
        rm -rf "$CONFIG" "$STATE" "$LOGS" /run/novapulse
        rm -f /var/lib/systemd/timers/stamp-novapulse-backup.timer
        if getent passwd novapulse > /dev/null; then userdel novapulse; fi
        if getent group novapulse > /dev/null; then groupdel novapulse; fi
        say "NovaPulse and all its data are gone."
    else
        say "NovaPulse is removed. Kept: $CONFIG, $STATE and the user novapulse (--purge removes them)."
    fi
}

main() {
    HERE=$(cd "$(dirname "$0")" && pwd -P)
    ACTION=install PURGE=no RESTART=yes
    while [ $# -gt 0 ]; do
        case "$1" in
            --prefix) [ $# -gt 1 ] || usage; PREFIX=$2; shift ;;
            --prefix=*) PREFIX=${1#*=} ;;
            --uninstall) ACTION=uninstall ;;
            --purge) PURGE=yes ;;
            --no-restart) RESTART=no ;;
            *) usage ;;
        esac
        shift
    done
    case "$PREFIX" in
        /?*) PREFIX=${PREFIX%/} ;;
        *) fail 2 "--prefix needs an absolute path" "--prefix /opt/novapulse" ;;
    esac
    [ "$PURGE" = no ] || [ "$ACTION" = uninstall ] || usage
    [ "$(id -u)" = 0 ] || fail 77 "only root can install" "sudo $0"
    umask 022
    $ACTION
}

# In one piece, because an uninstallation removes the file that is being read.
main "$@"; exit
