/**
 * Reads the resources of each GPU kernel from its code object: registers, memory and spills from the metadata for the driver (AMDGPU code
 * object V5, in LLVM's "User Guide for AMDGPU Backend"), and instruction counts from the disassembly.
 */

import { runCommand } from "../build/command.ts"
import { BuildError } from "../build/incremental.ts"

export interface KernelFacts {
  arch: string
  kernel: string
  vgprs: number
  sgprs: number
  /** Bytes of LDS per block, without the dynamic LDS of a launch. */
  lds: number
  /** Bytes of scratch memory per lane. */
  scratch: number
  /** Spilled registers, vector and scalar. */
  spills: number
  /** Waves that fit on a SIMD, limited by registers and LDS. */
  waves: number
  /** Number of v_dot4 instructions. */
  dot: number
  /** Number of v_wmma and v_mfma instructions. */
  matrix: number
}

/** Paths of the LLVM tools of the compiler's version. */
interface LlvmTools {
  readelf: string
  objdump: string
}

/** Finds the LLVM tools of a compiler. @throws BuildError naming the package if they are missing */
export async function findLlvmTools(compiler: readonly string[]): Promise<LlvmTools> {
  const ask = async (tool: string) => {
    const answer = (await runCommand([...compiler, `-print-prog-name=${tool}`])).stdout.trim()
    if (!answer.startsWith("/"))
      throw new BuildError(`no ${tool} beside ${compiler.join(" ")}: apt-get install llvm-19`)
    return answer
  }
  return { readelf: await ask("llvm-readelf"), objdump: await ask("llvm-objdump") }
}

/** The kernels of one code object, by name. */
export async function kernelFacts(tools: LlvmTools, path: string, arch: string): Promise<KernelFacts[]> {
  const [notes, code] = await Promise.all([
    output([tools.readelf, "--notes", path]),
    output([tools.objdump, "--disassemble", "--no-show-raw-insn", "--no-leading-addr", path]),
  ])
  const counts = countInstructions(code)
  return parseNotes(notes).map((fields) => {
    const get = (name: string) => Number(fields.get(name) ?? 0)
    const kernel = fields.get("name") ?? ""
    const lds = get("group_segment_fixed_size")
    const waveSize = get("wavefront_size")
    return {
      arch,
      kernel,
      vgprs: get("vgpr_count"),
      sgprs: get("sgpr_count"),
      lds,
      scratch: get("private_segment_fixed_size"),
      spills: get("vgpr_spill_count") + get("sgpr_spill_count"),
      waves: occupancy(arch, get("vgpr_count"), lds, Math.ceil(get("max_flat_workgroup_size") / waveSize)),
      ...(counts.get(kernel) ?? { dot: 0, matrix: 0 }),
    }
  })
}

async function output(command: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(command)
  if (code !== 0) throw new BuildError(`${command.join(" ")} failed\n${stderr}`)
  return stdout
}

/** The fields of each kernel, from the metadata that readelf prints as YAML. Only the level of the kernel list is read. */
export function parseNotes(text: string): Map<string, string>[] {
  const kernels: Map<string, string>[] = []
  for (const line of text.split("\n")) {
    const field = /^ {2}(-| ) \.(\w+): *(\S.*)?$/.exec(line)
    if (!field) continue
    if (field[1] === "-") kernels.push(new Map())
    kernels.at(-1)?.set(field[2] as string, field[3] ?? "")
  }
  return kernels.filter((kernel) => kernel.has("name"))
}

/** Counts instructions of each function in objdump's listing. */
export function countInstructions(listing: string): Map<string, { dot: number; matrix: number }> {
  const counts = new Map<string, { dot: number; matrix: number }>()
  let current = { dot: 0, matrix: 0 }
  for (const line of listing.split("\n")) {
    const label = /^(?:[0-9a-f]+ )?<(\w+)>:$/.exec(line)
    if (label) {
      current = { dot: 0, matrix: 0 }
      counts.set(label[1] as string, current)
    } else if (line.includes("v_dot4")) current.dot++
    else if (line.includes("v_wmma") || line.includes("v_mfma")) current.matrix++
  }
  return counts
}

/** Registers per lane, their granule, the most waves per SIMD, and the bytes of LDS that a compute unit or WGP has for its SIMDs. */
interface Limits {
  vgprs: number
  granule: number
  waves: number
  lds: number
  simds: number
}
const CDNA: Limits = { vgprs: 512, granule: 8, waves: 8, lds: 65536, simds: 4 }
const RDNA: Limits = { vgprs: 1536, granule: 24, waves: 16, lds: 131072, simds: 4 }

/** Waves per SIMD by the rules of AMD's instruction set guides: CDNA2 and CDNA3 (one register file for both kinds), RDNA3 and RDNA4 (wave32, WGP mode). */
export function occupancy(arch: string, vgprs: number, lds: number, wavesPerBlock: number): number {
  const limits = arch.startsWith("gfx9") ? CDNA : RDNA
  const allocated = Math.ceil(Math.max(1, vgprs) / limits.granule) * limits.granule
  const byRegisters = Math.min(limits.waves, Math.floor(limits.vgprs / allocated))
  if (lds === 0) return byRegisters
  const blocks = Math.floor(limits.lds / lds)
  return Math.min(byRegisters, Math.ceil((blocks * wavesPerBlock) / limits.simds))
}
