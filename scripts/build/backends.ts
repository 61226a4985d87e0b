/**
 * The backends as data: the sources, tools and flags of each. A new backend is a new entry of `BACKENDS`. Each backend implements
 * hip/abi.h and is built into one shared library.
 */

import { existsSync } from "node:fs"
import { Glob } from "bun"
import { runCommand } from "./command.ts"
import { type Compiler, findCompiler } from "./compilers.ts"
import { amdToolchain, type DeviceToolchain, nvidiaToolchain } from "./gpu.ts"

/** `release` is the library for use; `asan` is for tests that look for memory errors. */
export type Variant = "release" | "asan"

/** One source file and the command that compiles it. The builder appends `-MMD -MF DEPFILE -o OBJECT SOURCE`. */
export interface Unit {
  source: string
  command: string[]
}

/** Device code: one source file compiled for one architecture, to be embedded in the library as data. */
export interface CodeUnit extends Unit {
  unit: string
  arch: string
  /** Name of the compiled file, in the object folder. */
  output: string
  /** The flags that turn warnings into errors. */
  strict: string[]
}

/** How to build one backend on this machine. */
export interface Recipe {
  /** Compiler and version, shown to the user. It is part of all stamps, so a new version rebuilds everything. */
  toolchain: string
  /** Architectures of the device code, shown to the user. */
  architectures?: readonly string[]
  warning?: string
  units: Unit[]
  /** Device code, and the command that assembles the file that embeds it. */
  device?: { units: CodeUnit[]; assemble: string[] }
  /** The builder appends `-o LIBRARY OBJECTS…`. */
  link: string[]
  /** Tried before `link`; it fails on machines without the static C++ library. */
  linkPreferred?: string[]
  /** Environment variables that a process needs to load the library. */
  environment?: Record<string, string>
}

export interface Backend {
  name: string
  /** Returns a recipe, or why this machine cannot build the backend and what to install. */
  plan(variant: Variant, architectures: readonly string[]): Promise<Recipe | { skipped: string }>
  /** Whether the machine has a device for the backend. */
  present(): boolean
}

export const BACKENDS: readonly Backend[] = [
  { name: "cpu", plan: planCpu, present: () => true },
  {
    name: "amd",
    plan: (variant, architectures) => planGpu("RF_AMD", amdToolchain, variant, architectures),
    present: () => existsSync("/dev/kfd"),
  },
  {
    name: "nvidia",
    plan: (variant, architectures) => planGpu("RF_NVIDIA", nvidiaToolchain, variant, architectures),
    present: () => existsSync("/dev/nvidia0"),
  },
]

const WARNINGS = ["-Wall", "-Wextra", "-Wshadow"]
const COMMON = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-pthread", "-fno-math-errno", "-ffp-contract=on"]
const SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]

/** Flags of hip/cpu/isa-NAME.cpp, which is compiled for one instruction set and chosen at run time. All other files are baseline code. */
const INSTRUCTION_SETS: Record<string, { target: Compiler["target"] | "any"; flags: string[] }> = {
  avx512: {
    target: "x86_64",
    flags: [
      ...["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mavx512vbmi"],
      ...["-mf16c", "-mfma", "-mavx2"],
    ],
  },
  avx2: { target: "x86_64", flags: ["-mavx2", "-mfma", "-mf16c"] },
  portable: { target: "any", flags: [] },
}

async function planCpu(variant: Variant): Promise<Recipe | { skipped: string }> {
  const search = await findCompiler()
  if ("missing" in search) return { skipped: search.missing }
  const { compiler } = search
  const base = hostCommand(compiler, variant)
  const units: Unit[] = []
  for (const source of [...files("hip/*.cpp"), ...files("hip/cpu/*.cpp")]) {
    const set = /\/isa-(.+)\.cpp$/.exec(source)?.[1]
    if (set === undefined) {
      units.push({ source, command: base })
      continue
    }
    const isa = INSTRUCTION_SETS[set]
    if (!isa) throw new Error(`${source}: no flags for the instruction set "${set}"; add it to INSTRUCTION_SETS`)
    if (isa.target === "any" || isa.target === compiler.target) units.push({ source, command: [...base, ...isa.flags] })
  }
  const recipe = await hostRecipe(compiler, variant, units)
  if (!("skipped" in recipe) && compiler.family === "gcc") {
    recipe.warning =
      "a library built with g++ is several times slower than one built with clang: `apt-get install clang-19` and build again"
  }
  return recipe
}

type FindToolchain = (
  sources: string[],
  architectures: readonly string[],
) => Promise<DeviceToolchain | { skipped: string }>

async function planGpu(
  define: string,
  findToolchain: FindToolchain,
  variant: Variant,
  architectures: readonly string[],
): Promise<Recipe | { skipped: string }> {
  const search = await findCompiler()
  if ("missing" in search) return { skipped: search.missing }
  const toolchain = await findToolchain(files("hip/gpu/kernels/*.hip"), architectures)
  if ("skipped" in toolchain) return toolchain
  if (toolchain.units.length === 0) return { skipped: "none of the named architectures can be built here" }
  const { compiler } = search
  const command = [...hostCommand(compiler, variant), `-D${define}`]
  const units = [...files("hip/*.cpp"), ...files("hip/gpu/*.cpp")].map((source) => ({ source, command }))
  const recipe = await hostRecipe(compiler, variant, units)
  if ("skipped" in recipe) return recipe
  if (toolchain.name !== recipe.toolchain) recipe.toolchain = `${toolchain.name} and ${recipe.toolchain}`
  recipe.architectures = toolchain.architectures
  recipe.device = { units: toolchain.units, assemble: [...compiler.command, "-x", "assembler", "-c"] }
  recipe.link.push("-ldl")
  recipe.linkPreferred?.push("-ldl")
  return recipe
}

function hostCommand(compiler: Compiler, variant: Variant): string[] {
  const optimize = variant === "asan" ? ["-O1", "-g", ...SANITIZE] : ["-O3", "-g0"]
  // g++ warns about its own intrinsics, and about passing vectors to functions although these are inlined.
  const quiet = compiler.family === "gcc" ? ["-Wno-psabi", "-Wno-maybe-uninitialized", "-Wno-uninitialized"] : []
  return [...compiler.command, ...COMMON, ...optimize, ...WARNINGS, ...quiet, "-c"]
}

async function hostRecipe(compiler: Compiler, variant: Variant, units: Unit[]): Promise<Recipe | { skipped: string }> {
  const link = [...compiler.command, "-shared", "-pthread"]
  const toolchain = `${compiler.command.join(" ")} (${compiler.version})`
  const recipe: Recipe = { toolchain, units, link: [...link, "-Wl,-z,defs"] }
  if (variant === "asan") {
    recipe.link = [...link, ...SANITIZE, ...(compiler.family === "clang" ? ["-shared-libsan"] : [])]
    recipe.environment = await sanitizerEnvironment(compiler)
    if (!recipe.environment) return { skipped: `no AddressSanitizer (apt-get install ${SANITIZER_PACKAGES})` }
  } else {
    // The library needs only libc at run time, and does not export the C++ library that it contains.
    recipe.linkPreferred = [...recipe.link, "-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL"]
  }
  return recipe
}

const SANITIZER_PACKAGES = "libclang-rt-19-dev llvm-19"

/** Variables that preload the sanitizer's runtime and name the program that turns addresses into names and lines. */
async function sanitizerEnvironment(compiler: Compiler): Promise<Record<string, string> | undefined> {
  // The compiler prints a full path if the file exists, else the bare name.
  const ask = async (question: string) => {
    const answer = (await runCommand([...compiler.command, question])).stdout.trim()
    return answer.startsWith("/") ? answer : undefined
  }
  if (compiler.family === "gcc") {
    const runtime = await ask("-print-file-name=libasan.so")
    return runtime ? { LD_PRELOAD: runtime } : undefined
  }
  const machine = compiler.target === "arm64" ? "aarch64" : compiler.target
  const runtime = await ask(`-print-file-name=libclang_rt.asan-${machine}.so`)
  const symbolizer = await ask("-print-prog-name=llvm-symbolizer")
  return runtime && symbolizer ? { LD_PRELOAD: runtime, ASAN_SYMBOLIZER_PATH: symbolizer } : undefined
}

/** Paths relative to the repository, in a stable order. */
function files(pattern: string): string[] {
  return [...new Glob(pattern).scanSync(".")].sort()
}
