/**
 * The GPU backends: host code compiled by the same compiler as the CPU backend's, and device code for every architecture, compiled
 * from hip/gpu/kernels and carried inside the library. No header or library of ROCm or CUDA is needed at run time or by the host
 * code; AMD's device code needs clang alone, NVIDIA's needs nvcc.
 */

import { basename } from "node:path"
import type { CodeUnit } from "./backends.ts"
import { executablesOnPath, runCommand } from "./command.ts"
import { type Compiler, findClang } from "./compilers.ts"

/** What people own: the four gated targets first, then their relatives. */
export const AMD_ARCHITECTURES = [
  ...["gfx90a", "gfx942", "gfx1100", "gfx1201"],
  ...["gfx1030", "gfx1101", "gfx1102", "gfx1103", "gfx1150", "gfx1151", "gfx1200", "gfx908", "gfx950"],
] as const

/** Machine code for Ampere and Hopper, and PTX for everything newer. */
const NVIDIA_ARCHITECTURES = ["sm_80", "sm_90", "compute_90"] as const

const MIN_NVCC = 12

/** How device code is made here: who makes it, and for which architectures. */
export interface DeviceToolchain {
  name: string
  architectures: readonly string[]
  units: CodeUnit[]
}

/**
 * @param sources hip/gpu/kernels/*.hip
 * @param wanted only these architectures; empty for all
 */
export async function amdToolchain(
  sources: readonly string[],
  wanted: readonly string[],
): Promise<DeviceToolchain | { skipped: string }> {
  const search = await findClang()
  if ("missing" in search) return { skipped: search.missing }
  const { compiler } = search
  const known = await amdTargets(compiler)
  if ("skipped" in known) return known
  const architectures = AMD_ARCHITECTURES.filter((arch) => known.targets.has(arch) && selected(arch, wanted))
  const command = (arch: string) => [
    ...compiler.command,
    ...[
      "-x",
      "hip",
      "--cuda-device-only",
      "--no-gpu-bundle-output",
      `--offload-arch=${arch}`,
      "-nogpulib",
      "-nogpuinc",
    ],
    ...["-O3", "-std=c++17", "-Wall"],
  ]
  return {
    name: `${compiler.command.join(" ")} (${compiler.version})`,
    architectures,
    units: cross(architectures, sources, command, ["-Werror"]),
  }
}

/** The architectures that this clang and its linker make code for. */
async function amdTargets(compiler: Compiler): Promise<{ targets: Set<string> } | { skipped: string }> {
  const ask = (...question: string[]) => runCommand([...compiler.command, ...question])
  const listed = await ask("--target=amdgcn-amd-amdhsa", "-nogpulib", "--print-supported-cpus")
  const targets = new Set(listed.stderr.match(/\bgfx\w+/g) ?? [])
  if (targets.size === 0) {
    return {
      skipped: `${compiler.command.join(" ")} makes no code for AMD GPUs (no amdgcn target): apt-get install clang-19`,
    }
  }
  const linker = (await ask("--target=amdgcn-amd-amdhsa", "-print-prog-name=ld.lld")).stdout.trim()
  if (!linker.startsWith("/")) return { skipped: `no ld.lld: apt-get install lld-${compiler.major}` }
  return { targets }
}

/** As `amdToolchain`. */
export async function nvidiaToolchain(
  sources: readonly string[],
  wanted: readonly string[],
): Promise<DeviceToolchain | { skipped: string }> {
  const nvcc = executablesOnPath(/^nvcc$/)[0]
  if (!nvcc) return { skipped: `no nvcc: install the CUDA toolkit, ${MIN_NVCC} or newer` }
  const version = /release (\d+)\.\d+, V([\d.]+)/.exec((await runCommand([nvcc, "--version"])).stdout)
  if (!version) return { skipped: `${nvcc} does not say its version` }
  if (Number(version[1]) < MIN_NVCC) return { skipped: `nvcc ${version[2]} is older than ${MIN_NVCC}` }
  const architectures = NVIDIA_ARCHITECTURES.filter((arch) => selected(arch, wanted))
  const command = (arch: string) => [
    ...[nvcc, "-x", "cu", arch.startsWith("compute") ? "-ptx" : "-cubin", `-arch=${arch}`, "-std=c++17", "-O3"],
  ]
  return {
    name: `nvcc ${version[2]}`,
    architectures,
    units: cross(architectures, sources, command, ["-Werror", "all-warnings"]),
  }
}

const selected = (arch: string, wanted: readonly string[]) => wanted.length === 0 || wanted.includes(arch)

function cross(
  architectures: readonly string[],
  sources: readonly string[],
  command: (arch: string) => string[],
  strict: string[],
): CodeUnit[] {
  return architectures.flatMap((arch) =>
    sources.map((source) => ({
      source,
      command: command(arch),
      strict,
      unit: basename(source, ".hip"),
      arch,
      output: `${source.replace(/\.\w+$/, "")}.${arch}`,
    })),
  )
}
