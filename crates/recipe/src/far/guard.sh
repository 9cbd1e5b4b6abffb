# Runs a tool with its end at the limit made sure of. Arguments: - when this process leads a group, the folder of what ends with
# the boot, the subject, the limit in seconds, leading NAME=value, and the tool.
g=$1 file=$2/busy-$3 limit=$4 run=$2
shift 4
stat= now= start= until=
began() { shift 19; start=$1; }
read -r stat < "/proc/$$/stat" && began ${stat##*\) }
read -r now _ < /proc/uptime && until=$((${now%%.*} + limit))
if [ -n "$until" ]; then
  # Who may not write there is watched all the same.
  (
    umask 077
    # Written over at one stroke, and always as long: it is empty only at its very first.
    { [ -d "$run" ] || mkdir -p "$run"; } && printf '%-70s\n' "$$ $start $until $g" 1<> "$file"
    # Nobody's child, so that no tool waits for it; it ends a second after the tool.
    (
      while kill -0 $$ && read -r now _ < /proc/uptime && [ "${now%%.*}" -lt "$until" ]; do sleep 1; done
      kill -0 $$ && kill -s KILL -- "$g$$"
    ) > /dev/null 2>&1 &
  ) 2> /dev/null
fi
while :; do
  case $1 in *=*) ;; *) break ;; esac
  export "$1"
  shift
done
exec "$@"
