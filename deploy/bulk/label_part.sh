#!/usr/bin/env bash
# Label one part of many bags and videos: label_part.sh PART PARTS LIST OUT [OPTION...]
#
# LIST has the path of one bag or video a line; PART counts from 0. Results go to OUT under the same
# names. OPTIONs go to mask-detector, such as --server grpc://gpu:8001 --server-patience 600.
#
# Give the same command again after an interruption: finished files are left out, a bag continues
# where it stopped, a video starts over. A file that fails does not stop the others; the exit code is then 1.
set -uo pipefail
if (($# < 4)); then
  echo "usage: label_part.sh PART PARTS LIST OUT [OPTION...]" >&2
  exit 2
fi
part=$1 parts=$2 list=$3 out=$4
shift 4
command=(${MASK_DETECTOR:-mask-detector})
if ! command -v "${command[0]}" >/dev/null; then
  echo "there is no command ${command[0]}; set MASK_DETECTOR, such as to .venv/bin/mask-detector" >&2
  exit 2
fi
failed=0 number=0

# A signal to this script reaches the command that it waits for.
trap 'kill -TERM "${child:-}" 2>/dev/null; wait; exit 130' INT TERM

while IFS= read -r file <&3 || [[ -n $file ]]; do
  [[ -n $file ]] || continue
  ((number++ % parts == part)) || continue
  target=$out/${file#/}
  [[ -e $target.done ]] && continue
  mkdir -p "$(dirname "$target")"
  case ${file,,} in
    *.mp4 | *.mkv | *.mov | *.avi | *.webm)
      arguments=(video "$file" -o "${target%.*}.mp4" --csv "${target%.*}.csv" --overwrite) ;;
    *) arguments=(bag "$file" -o "$target") ;;
  esac
  "${command[@]}" "${arguments[@]}" "$@" </dev/null &
  child=$!
  if wait "$child"; then
    touch "$target.done"
  else
    echo "failed: $file" >&2
    failed=1
  fi
done 3<"$list"
exit "$failed"
