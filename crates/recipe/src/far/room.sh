# Whether there is room for a claim; nothing is written. Arguments: the folders of claims on this boot and of durable claims.
set -fu
no() { printf 'REVEILLE room=no %s .\n' "$*"; exit 0; }
# Nothing is left of something. What is kept for root counts as left, since root claims; some file systems count no inodes at all.
none_left() {
  df "$1" "$2" 2> /dev/null | while read -r fs all used _; do
    case $fs$all$used in Filesystem* | *-*) continue ;; esac
    [ "$all" -gt 0 ] && [ $((all - used)) -lt 4 ] && echo none
  done
}
for folder; do
  at=$folder
  while [ ! -e "$at" ] && [ "$at" != / ]; do
    above=${at%/*}
    at=${above:-/}
  done
  [ -d "$at" ] || no "$at is no folder"
  [ -w "$at" ] || no "$at cannot be written"
  [ -z "$(none_left -Pk "$at")" ] || no "the disk of $at is full"
  [ -z "$(none_left -Pi "$at")" ] || no "the disk of $at has no inodes left"
done
echo 'REVEILLE room=yes .'
