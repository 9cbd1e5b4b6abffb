# What the scripts have in common. fail must be there, too: it tells why, and ends.
# A file, or a link, even one that leads nowhere.
is() { [ -e "$1" ] || [ -L "$1" ]; }
run() { why=$("$@" 2>&1) || fail; }
# put FILE TEXT: whole or not at all, and on disk.
put() {
  why=$({ printf '%s\n' "$2" | cat > "$1.part"; } 2>&1) && [ "$(cat "$1.part" 2>&1)" = "$2" ] || {
    rm -f -- "$1.part"
    why="$1: ${why:-it does not keep what is written}"
    fail
  }
  durable "$1.part"
  run mv -fT -- "$1.part" "$1"
}
durable() { sync -- "$@" 2> /dev/null || sync; }
# What a file, a link or a folder holds, in one word.
sum() {
  if [ -L "$1" ]; then
    readlink -- "$1" | sha256sum | cut -c1-64
  elif [ -d "$1" ]; then
    (cd -- "$1" && find . | LC_ALL=C sort | while IFS= read -r one; do
      if [ -L "$one" ]; then
        printf '%s -> %s\n' "$one" "$(readlink -- "$one")"
      elif [ -d "$one" ]; then
        printf '%s/\n' "$one"
      else
        printf '%s ' "$one"
        sha256sum < "$one"
      fi
    done) | sha256sum | cut -c1-64
  elif [ -e "$1" ]; then
    sha256sum < "$1" | cut -c1-64
  else
    echo none
  fi
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
