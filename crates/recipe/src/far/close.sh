# Closes a claim: after this no order of the command can be given on this boot, and a repeat is told the same end.
# Arguments: command, what it ended with, and the folders as for the claim.
set -fu
umask 077
id=$1 text=$2 run=$3 var=$4
claim=$var/$id
say() { printf 'REVEILLE close=%s .\n' "$1"; exit 0; }
mkdir -p "$run" || say unwritable
draft=$run/$id.go.$$
# Whoever makes this file first decides; an order that was given already stays given.
printf 'closed\n' 2>/dev/null > "$draft" && ln "$draft" "$run/$id.go" 2> /dev/null
rm -f "$draft"
[ -e "$run/$id.go" ] || say unwritable
[ -e "$claim" ] || say none
word= pid= start= stat=
read -r word pid start < "$run/$id.go"
if [ "$word" = order ] && [ -n "$pid" ] && read -r stat 2> /dev/null < "/proc/$pid/stat"; then
  set -- ${stat##*\) }
  # The script is still at it: its order may yet come.
  [ "$1" != Z ] && [ "${20}" = "$start" ] && say ordering
fi
draft=$claim.end.$$
printf '%s\n' "$text" 2>/dev/null > "$draft" && [ "$(cat "$draft")" = "$text" ] && ln "$draft" "$claim.end" 2> /dev/null
rm -f "$draft"
[ -e "$claim.end" ] || say unwritable
sync "$claim.end" "$var" 2> /dev/null || sync
set +f
for lock in "$run"/open-*; do
  holder=
  [ -f "$lock" ] && read -r holder _ < "$lock"
  [ "$holder" = "$id" ] && rm -f "$lock"
done
say done
