# Whether a restart was asked for already. Arguments: look, claim or end, the folder of claims, the name of this one, for an end
# what came of it, and for a claim the tool that does what was claimed: it is what this goes on as.
set -fu
umask 077
verb=$1 claims=$2 claim=$2/$3
end() { printf 'REVEILLE claim=%s run=%s .\n' "$1" "${run:--}"; exit 0; }
fail() { printf '%s\n' "$why" >&2; end failed; }
run= there=no
[ -e "$claim" ] && there=yes
if [ "$verb" != look ]; then
  [ -d "$claims" ] || why=$(mkdir -p -- "$claims" 2>&1) || fail
fi
case $verb in
  # What is not whole yet says the same. A tool tells why it cannot be written, the shell does not.
  claim)
    { printf '%s\n' - > "$claim"; } 2> /dev/null || why=$({ printf '%s\n' - | cat > "$claim"; } 2>&1) || {
      # One that was there may be of what was done.
      if [ $there = yes ]; then printf '%s\n' "$why" >&2; end before; fi
      rm -f -- "$claim"
      fail
    }
    ;;
  end)
    why=$({ printf '%s\n' "$4" | cat > "$claim.$$"; } 2>&1) && why=$(mv -f -- "$claim.$$" "$claim" 2>&1) || {
      rm -f -- "$claim.$$"
      fail
    }
    ;;
esac
[ -e "$claim" ] || end none
read -r run < "$claim"
if [ $# -gt 4 ]; then
  shift 4
  printf 'REVEILLE claim=made run=%s .\n' "$run"
  exec "$@"
fi
end made
