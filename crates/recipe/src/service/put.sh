# What the scripts have in common. fail must be there, too: it tells why, and ends.
# A file, or a link, even one that leads nowhere.
is() { [ -e "$1" ] || [ -L "$1" ]; }
run() { why=$("$@" 2>&1) || fail; }
# keep FILE TEXT: whole, or it fails; not on disk yet. A tool tells why it cannot be written, the shell does not.
keep() {
  { printf '%s\n' "$2" > "$1"; } 2> /dev/null && keeps "$@" && return 0
  why=$({ printf '%s\n' "$2" | cat > "$1"; } 2>&1) && keeps "$@" && return 0
  rm -f -- "$1"
  why="$1: ${why:-it does not keep what is written}"
  fail
}
keeps() {
  held=
  while IFS= read -r line; do
    held="$held${held:+
}$line"
  done < "$1"
  [ "$held" = "$2" ]
}
# put FILE TEXT: whole or not at all, and on disk.
put() {
  keep "$1.part" "$2"
  durable "$1.part"
  run mv -fT -- "$1.part" "$1"
}
durable() { sync -- "$@" 2> /dev/null || sync; }
# Every file of a folder, if there is one.
tree_durable() {
  [ -d "$1" ] || return 0
  find "$1" -type f -exec sync -- {} + > /dev/null 2>&1 || sync
}
# sum NAME: what a file, a link or a folder holds, as the one word $sum.
sum() {
  sum=none
  if [ -L "$1" ]; then
    sum=$(readlink -- "$1" | sha256sum)
  elif [ -d "$1" ]; then
    sum=$(cd -- "$1" && find . | LC_ALL=C sort | while IFS= read -r one; do
      if [ -L "$one" ]; then
        printf '%s -> %s\n' "$one" "$(readlink -- "$one")"
      elif [ -d "$one" ]; then
        printf '%s/\n' "$one"
      else
        printf '%s ' "$one"
        sha256sum < "$one"
      fi
    done | sha256sum)
  elif [ -e "$1" ]; then
    sum=$(sha256sum < "$1")
  fi
  sum=${sum%% *}
}
# holds NAME SUM: whether that is what it holds.
holds() {
  sum "$1"
  [ "$sum" = "$2" ]
}
# Which backup a sidecar tells of; no when it is not whole.
load() {
  k= f= u= s= t= whole=no
  [ -f "$1" ] || return 1
  while IFS= read -r line; do
    case $line in
      'key '*) k=${line#* } ;;
      'from '*) f=${line#* } ;;
      'unit '*) u=${line#* } ;;
      'drop-ins '*) s=${line#* } ;;
      'there '*) t=${line#* } ;;
      whole) whole=yes ;;
    esac
  done < "$1"
  [ $whole = yes ]
}
