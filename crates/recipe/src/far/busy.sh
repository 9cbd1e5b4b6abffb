# Whether a tool is still at work that an earlier command for the same subject has begun. Arguments: the folder of what ends with
# the boot, the subject.
set -fu
file=$1/busy-$2
say() { printf 'REVEILLE busy=%s .\n' "$1"; exit 0; }
pid= start= until= g= stat= now=
[ -e "$file" ] || say no
read -r pid start until g < "$file"
[ -n "$until" ] || say no
read -r stat 2> /dev/null < "/proc/$pid/stat" || say no
set -- ${stat##*\) }
[ "$1" != Z ] && [ "${20}" = "$start" ] || say no
read -r now _ < /proc/uptime
# Its own watchdog was killed.
if [ "${now%%.*}" -gt $((until + 2)) ]; then kill -s KILL -- "$g$pid"; fi
say yes
