# Sourced by the other scripts: finds Python, and makes the virtual environments that they use.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# need CHECK WHAT PACKAGE...: see that CHECK succeeds, having installed Debian's packages if need be;
# without root say what is to be installed, and give up.
need() {
  local check=$1 what=$2
  shift 2
  "$check" && return
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "Installing $*" >&2
    apt-get update -qq >/dev/null
    # At runlevel 1 Debian starts no service that comes with a package: we start our own.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
    "$check" && return
  fi
  echo "$what is needed: sudo apt-get install -y $*" >&2
  exit 2
}

# find_python: set `python` to a Python that can make virtual environments, installed if need be.
find_python() {
  need set_python "Python 3.11 or newer with venv" python3 python3-venv
}

set_python() {
  python=$(usable_python)
}

# find_test_tools: as find_python, and see that the tests can start a PostgreSQL of their own, a
# PgBouncer before it, proxies with TLS before a server, processes with clocks that are wrong, and a
# browser.
find_test_tools() {
  need has_test_tools "What the tests run Keyturn with (Python 3.11 or newer, databases, proxies, a browser)" \
    python3 python3-venv postgresql pgbouncer nginx-light caddy faketime systemd chromium
}

has_test_tools() {
  local tool
  set_python && compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || return 1
  for tool in /usr/sbin/pgbouncer /usr/sbin/nginx /usr/bin/caddy /usr/bin/faketime \
    /usr/bin/systemd-analyze /usr/bin/chromium
  do
    [ -x "$tool" ] || return 1
  done
}

# find_bench_tools: as find_test_tools, and what the benchmarks ask with, run other designs on, and
# count instructions with.
find_bench_tools() {
  local missing
  find_test_tools
  # No more than that: a Node that is not Debian's brings an npm, and bears none of Debian's.
  mapfile -t missing < <(missing_bench_packages)
  need has_bench_tools "What the benchmarks run (wrk, Node with npm, Valgrind, a C compiler)" \
    "${missing[@]}"
}

has_bench_tools() {
  [ -z "$(missing_bench_packages)" ]
}

missing_bench_packages() {
  command -v wrk >/dev/null || echo wrk
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
  command -v valgrind >/dev/null || echo valgrind
  command -v gcc >/dev/null || printf '%s\n' gcc libc6-dev
}

# usable_python: print the first that is new enough and complete (Debian packs ensurepip apart).
usable_python() {
  local candidate
  for candidate in python3 python3.11 python3.12 python3.13 python3.14; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
    then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# environment DIR WHAT...: see that virtual environment DIR has WHAT installed, for the present
# pyproject.toml. Scripts that run at once wait for each other here.
environment() {
  local directory=$1 stamp=$1/.made-for wanted lock
  shift
  mkdir -p "$root/.cache"
  exec {lock}>"$root/.cache/lock"
  flock "$lock"
  wanted=$(sha256sum <(echo "$@") "$root/pyproject.toml" | cut -d ' ' -f 1)
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] ||
    ! "$directory/bin/python" -c 'import pip' 2>/dev/null
  then
    install_into "$directory" "$@"
    echo "$wanted" >"$stamp"
  fi
  exec {lock}>&-
}

install_into() {
  local directory=$1
  shift
  if ! "$directory/bin/python" -c 'import pip' 2>/dev/null; then
    find_python
    "$python" -m venv --clear "$directory"
  fi
  echo "Installing into $directory" >&2
  "$directory/bin/python" -m pip install -qq --upgrade 'pip>=25.1'
  (cd "$root" && "$directory/bin/python" -m pip install -qq "$@")
}

# use_tools: set `tools` to where pytest, ruff, mypy and the rest are, beside Keyturn's dependencies.
use_tools() {
  environment "$root/.cache/tools" --group dev '.[server,verifier]'
  tools=$root/.cache/tools/bin
}

# use_wheel: as use_tools, and Keyturn itself as a wheel built from the working copy.
use_wheel() {
  use_tools
  rm -rf "$root/.cache/wheel"
  (cd "$root" && "$tools/hatchling" build --target wheel --directory .cache/wheel >/dev/null)
  "$tools/python" -m pip install -qq --force-reinstall --no-deps "$root"/.cache/wheel/*.whl
}
