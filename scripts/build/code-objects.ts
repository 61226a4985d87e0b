/** Device code as data of the library: an assembly file that includes every code object, and the table of hip/gpu/device.h. */

import { readFileSync } from "node:fs"

export interface CodeFile {
  unit: string
  arch: string
  /** The compiled file. */
  path: string
}

/** The assembly's text. It names each file's hash, so that it changes whenever the code does. */
export function codeObjectsAssembly(files: readonly CodeFile[]): string {
  const text = (value: string) => `.asciz ${JSON.stringify(value)}`
  const data = files.map(({ unit, arch, path }, i) => {
    const hash = Bun.hash(readFileSync(path)).toString(16)
    // A zero behind each: PTX is text, and text needs its end.
    return [
      `// ${unit} ${arch} ${hash}`,
      `unit_${i}: ${text(unit)}`,
      `arch_${i}: ${text(arch)}`,
      `.balign 4096`,
      `code_${i}: .incbin ${JSON.stringify(path)}`,
      `end_${i}: .byte 0`,
    ].join("\n")
  })
  const table = files.map((_, i) => `.quad unit_${i}, arch_${i}, code_${i}, end_${i}`)
  return `${[
    '.section .note.GNU-stack,"",%progbits',
    ".section .rodata",
    ...data,
    ".balign 4",
    ".globl rf_code_object_count",
    ".hidden rf_code_object_count",
    `rf_code_object_count: .long ${files.length}`,
    '.section .data.rel.ro,"aw",%progbits',
    ".balign 8",
    ".globl rf_code_objects",
    ".hidden rf_code_objects",
    "rf_code_objects:",
    ...table,
  ].join("\n")}\n`
}
