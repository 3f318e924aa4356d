# What the server scripts share; read by them, not run.
#
# A server lives as long as somebody holds the script's standard input open: when the test process
# ends, however it ends, the kernel closes the pipe, and the script takes the server down.

cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/runner-tests
mkdir -p "$cache"
work=$(mktemp -d "${TMPDIR:-/tmp}/runner-tests.XXXXXX")
server='' # pid of the JVM

die() {
  echo "$*" >&2
  exit 1
}

finish() {
  if [[ -n $server ]]; then
    kill -KILL "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

need() { # need COMMAND WHY
  command -v "$1" >/dev/null || die "\`$1\` is missing: $2"
}

# The major version of a java; 0 when it does not run.
java_version() {
  local version
  version=$("$1" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || true
  echo "${version:-0}"
}

# Prints a java of at least version $1: from JAVA_HOME, PATH, or beside the one in PATH.
find_java() {
  local java real candidates=()
  [[ -z ${JAVA_HOME:-} ]] || candidates+=("$JAVA_HOME/bin/java")
  if command -v java >/dev/null; then
    real=$(readlink -f "$(command -v java)")
    candidates+=("$real" "$(dirname "$real")"/../../*/bin/java)
  fi
  for java in "${candidates[@]}"; do
    if [[ -x $java ]] && (($(java_version "$java") >= $1)); then
      echo "$java"
      return
    fi
  done
  return 1
}

# Prints $1 ports of loopback that nobody listens on.
free_ports() {
  local port found=()
  while ((${#found[@]} < $1)); do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || found+=("$port")
  done
  echo "${found[@]}"
}

# What a line on standard input asks for; a server that can be asked for something has its own.
on_request() { :; }

# Says where the server is, and waits until nobody wants it any more.
serve() {
  local request
  echo "$1"
  while read -r request; do on_request "$request"; done
}
