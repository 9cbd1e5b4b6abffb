# Whether a restart was asked for already. Arguments: look, claim or end, the folder of claims, the name of this one, and for an
# end what came of it.
set -fu
umask 077
verb=$1 claims=$2 claim=$2/$3
end() { printf 'REVEILLE claim=%s run=%s .\n' "$1" "${run:--}"; exit 0; }
fail() { printf '%s\n' "$why" >&2; end failed; }
run=
if [ "$verb" != look ]; then
  why=$(mkdir -p -- "$claims" 2>&1) || fail
  why=$({ printf '%s\n' "${4:--}" | cat > "$claim.$$"; } 2>&1) && why=$(mv -f -- "$claim.$$" "$claim" 2>&1) || {
    rm -f -- "$claim.$$"
    fail
  }
fi
[ -e "$claim" ] || end none
read -r run < "$claim"
end made
