#!/usr/bin/env bash
# Neovim for the tests, unpacked from Debian's packages into a folder: no root, nothing of the system's is touched.
#
#   set_up.sh FOLDER [SUITE...]     makes FOLDER/SUITE/bin/{nvim,luacheck}; what is there already is left alone.
#
# Debian trixie has Neovim 0.10, forky 0.12. Both want a newer C library than Debian 12 has, so theirs comes along and patchelf
# (also unpacked) makes the binaries use it. Needs apt-get and dpkg-deb; downloads about 20 MB a suite.
set -euo pipefail

folder=$(mkdir -p "$1" && cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- forky trixie

missing=()
for suite in "$@"; do
  echo "$folder/$suite/bin/nvim"
  [ -x "$folder/$suite/bin/nvim" ] || missing+=("$suite")
done
[ ${#missing[@]} -gt 0 ] || exit 0

for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || { echo "no $tool: Neovim for the tests comes from Debian's packages" >&2; exit 3; }
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || { echo "no $keyring: packages of Debian cannot be checked here" >&2; exit 3; }

# The mirror that this machine uses already.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | grep debian | head -n 1)
architecture=$(dpkg --print-architecture)

# An apt of its own that believes nothing is installed: its downloads are the whole closure, the C library included.
fetch() { # SUITE WORK
  local work=$2
  mkdir -p "$work"/etc/{apt.conf.d,preferences.d,sources.list.d} "$work"/{state/lists,cache/archives}/partial
  : >"$work/status"
  echo "deb [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} $1 main" >"$work/etc/sources.list"
  local apt=(apt-get -qq -o "Dir::Etc=$work/etc" -o "Dir::Etc::sourcelist=$work/etc/sources.list"
    -o "Dir::Etc::sourceparts=$work/etc/sources.list.d" -o "Dir::Etc::Parts=$work/etc/apt.conf.d"
    -o "Dir::State=$work/state" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
    -o "APT::Architecture=$architecture" -o APT::Install-Recommends=false -o Acquire::Languages=none
    -o Acquire::Retries=3 -o Debug::NoLocking=1 -o "APT::Sandbox::User=$(id -un)")
  "${apt[@]}" update >/dev/null
  "${apt[@]}" --yes --download-only install neovim lua-check patchelf >/dev/null
}

# Scripts of Debian's name their interpreter by an absolute path: this one runs luacheck with the Lua beside it.
write_luacheck() { # ROOT LUA
  local version=${2##*lua}
  cat >"$1/bin/luacheck" <<SCRIPT
#!/bin/sh
export LUA_PATH="$1/usr/share/lua/$version/?.lua;$1/usr/share/lua/$version/?/init.lua"
export LUA_CPATH="$libraries/lua/$version/?.so"
exec "$2" "$1/usr/bin/luacheck" "\$@"
SCRIPT
  chmod +x "$1/bin/luacheck"
}

set_up() { # SUITE
  root=$folder/$1 work=$folder/.$1.$$
  trap 'rm -rf "$work" "$root.new"' EXIT
  fetch "$1" "$work"
  rm -rf "$root.new" && mkdir -p "$root.new/bin"
  for package in "$work"/cache/archives/*.deb; do dpkg-deb --extract "$package" "$root.new"; done
  rm -rf "$root" "$root.new"/usr/share/{doc,locale,man}
  mv "$root.new" "$root"
  libraries=$(dirname "$(find "$root/usr/lib" -name libc.so.6)")
  loader=$(find "$libraries" "$root/usr/lib64" -name 'ld-linux*' 2>/dev/null | head -n 1)
  lua=$(find "$root/usr/bin" -name 'lua5.*' | sort | head -n 1)
  for binary in "$root/usr/bin/nvim" "$lua"; do
    "$loader" --library-path "$libraries" "$root/usr/bin/patchelf" \
      --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$binary"
  done
  write_luacheck "$root" "$lua"
  "$root/bin/luacheck" --version >/dev/null
  "$root/usr/bin/nvim" --headless -u NONE -i NONE +q
  ln -s ../usr/bin/nvim "$root/bin/nvim" # the last step: whoever finds it finds all
}

for suite in "${missing[@]}"; do
  (
    flock 9 # of two test runs, one sets up and the other waits
    if [ ! -x "$folder/$suite/bin/nvim" ]; then set_up "$suite"; fi
  ) 9>"$folder/.$suite.lock"
done
