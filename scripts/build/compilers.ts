/** Finds the C++ compiler: clang 17 or newer where there is one, else g++ 12 or newer. */

import { basename, join } from "node:path"
import { executablesOnPath, runCommand } from "./command.ts"

const MIN_CLANG = 17
const MIN_GCC = 12

export interface Compiler {
  /** How to start it, for example `["/usr/bin/clang++-19"]` or `["ccache", "clang++"]`. */
  command: string[]
  family: "clang" | "gcc"
  major: number
  /** In full, for example `Debian Clang 19.1.7 (3~deb12u1)`. */
  version: string
  /** What it compiles for, whatever this machine is. */
  target: "x86_64" | "arm64"
}

/** A compiler, or the sentence that says why there is none and what to install. */
type CompilerSearch = { compiler: Compiler } | { missing: string }

/** CXX when it is set; else the newest clang; else the newest g++. */
export async function findCompiler(): Promise<CompilerSearch> {
  const fromEnvironment = process.env.CXX?.trim()
  if (fromEnvironment) {
    const found = await probe(fromEnvironment.split(/\s+/))
    return "compiler" in found ? found : { missing: `CXX=${fromEnvironment}: ${found.missing}` }
  }
  const reasons: string[] = []
  for (const path of [...newestFirst(/^clang\+\+(-\d+)?$/), ...newestFirst(/^g\+\+(-\d+)?$/)]) {
    const found = await probe([path])
    if ("compiler" in found) return found
    reasons.push(`${basename(path)}: ${found.missing}`)
  }
  const install = "install one with `apt-get install --no-install-recommends clang-19`, or name one in CXX"
  const seen = reasons.length > 0 ? ` (${reasons.join("; ")})` : ""
  return { missing: `no C++ compiler (clang ${MIN_CLANG} or newer, or g++ ${MIN_GCC} or newer)${seen}: ${install}` }
}

/** The clang that makes device code, whatever compiles the host's: CXX when it is one, else the newest. */
export async function findClang(): Promise<CompilerSearch> {
  const commands = newestFirst(/^clang\+\+(-\d+)?$/).map((path) => [path])
  const fromEnvironment = process.env.CXX?.trim()
  if (fromEnvironment) commands.unshift(fromEnvironment.split(/\s+/))
  for (const command of commands) {
    const found = await probe(command)
    if ("compiler" in found && found.compiler.family === "clang") return found
  }
  return { missing: `no clang ${MIN_CLANG} or newer: apt-get install --no-install-recommends clang-19 lld-19` }
}

/** `clang++-19` before `clang++-17` before `clang++`. */
function newestFirst(name: RegExp): string[] {
  const version = (path: string) => Number(/-(\d+)$/.exec(path)?.[1] ?? 0)
  return executablesOnPath(name).sort((a, b) => version(b) - version(a))
}

/** Asks the compiler itself for its macros, with a library header included so that a missing C++ library shows here. */
async function probe(command: string[]): Promise<CompilerSearch> {
  const source = join(import.meta.dir, "probe.cpp")
  const result = await runCommand([...command, "-std=c++17", "-dM", "-E", source])
  if (result.code !== 0) {
    const why = result.stderr.trim().split("\n")[0] || `exit code ${result.code}`
    const headers = /file not found|No such file/.test(result.stderr) && /cstddef|stdlib/.test(result.stderr)
    return { missing: headers ? `no C++ library headers (apt-get install libstdc++-12-dev): ${why}` : why }
  }
  const macro = (name: string) => new RegExp(`^#define ${name} (.*)$`, "m").exec(result.stdout)?.[1]
  const target = macro("__x86_64__") ? "x86_64" : macro("__aarch64__") ? "arm64" : undefined
  if (!target) return { missing: "compiles for neither x86-64 nor arm64" }

  const clang = macro("__clang_major__")
  const family = clang ? "clang" : "gcc"
  const major = Number(clang ?? macro("__GNUC__") ?? 0)
  if (family === "clang" && major < MIN_CLANG) return { missing: `version ${major} is older than ${MIN_CLANG}` }
  if (family === "gcc" && major < MIN_GCC) return { missing: `version ${major} is older than ${MIN_GCC}` }
  const named = (macro("__VERSION__") ?? String(major)).replaceAll('"', "")
  const version = family === "gcc" ? `GCC ${named}` : named
  return { compiler: { command, family, major, version, target } }
}
