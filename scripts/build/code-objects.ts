/**
 * Embeds device code in the library: compresses each code object to about a third, and writes an assembly file with their data and the
 * table that hip/gpu/device.h declares.
 */

import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { deflateRawSync } from "node:zlib"

export interface CodeFile {
  unit: string
  arch: string
  /** The compiled file. */
  path: string
}

/** The text of the assembly file. It contains the hash of each code object, so it changes whenever a code object does. */
export function codeObjectsAssembly(files: readonly CodeFile[]): string {
  const data = files.map(({ unit, arch, path }, i) => {
    const { packed, size, hash } = compress(path)
    return {
      lines: [
        `// ${hash}`,
        `unit_${i}: .asciz ${JSON.stringify(unit)}`,
        `arch_${i}: .asciz ${JSON.stringify(arch)}`,
        `code_${i}: .incbin ${JSON.stringify(packed)}`,
        `end_${i}:`,
      ].join("\n"),
      row: `.quad unit_${i}, arch_${i}, code_${i}, end_${i} - code_${i}, ${size}`,
    }
  })
  return `${[
    '.section .note.GNU-stack,"",%progbits',
    ".section .rodata",
    ...data.map(({ lines }) => lines),
    ".balign 4",
    ".globl rf_code_object_count",
    ".hidden rf_code_object_count",
    `rf_code_object_count: .long ${files.length}`,
    '.section .data.rel.ro,"aw",%progbits',
    ".balign 8",
    ".globl rf_code_objects",
    ".hidden rf_code_objects",
    "rf_code_objects:",
    ...data.map(({ row }) => row),
  ].join("\n")}\n`
}

/** Compresses a file into `PATH.deflate`, unless that exists and is newer. */
function compress(path: string): { packed: string; size: number; hash: string } {
  const packed = `${path}.deflate`
  const code = readFileSync(path)
  if (!existsSync(packed) || statSync(packed).mtimeMs <= statSync(path).mtimeMs) {
    writeFileSync(packed, deflateRawSync(code, { level: 9 }))
  }
  return { packed, size: code.length, hash: Bun.hash(code).toString(16) }
}
