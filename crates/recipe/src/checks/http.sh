# One GET. Arguments: the limit in seconds, the URL. The body, at most 64 KiB of it, and on the other stream how it went.
{
  curl --silent --show-error --globoff --max-time "$1" --max-redirs 0 --noproxy '*' --proto '=http,https' --output - \
    --write-out '%{stderr}REVEILLE status=%{http_code} .
' --url "$2"
  printf 'REVEILLE exit=%s .\n' "$?" >&2
} | head -c 65536
