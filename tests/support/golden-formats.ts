import { join } from "node:path"
import type { FormatName } from "../../src/gguf/formats.ts"

const FOLDER = join(import.meta.dir, "../golden/formats")

/** Golden blocks of a format and their decoded values; see tests/golden/formats/README.md. */
export async function goldenBlocks(name: FormatName): Promise<{ blocks: Uint8Array; values: Float32Array }> {
  const [blocks, values] = await Promise.all([
    Bun.file(join(FOLDER, `${name}.blocks.bin`)).bytes(),
    Bun.file(join(FOLDER, `${name}.f32.bin`)).arrayBuffer(),
  ])
  return { blocks, values: new Float32Array(values) }
}

/** Index and bits of the first value whose bits differ, or undefined if all are the same. */
export function firstDifference(found: Float32Array, expected: Float32Array): string | undefined {
  if (found.length !== expected.length) return `${found.length} values instead of ${expected.length}`
  const [a, b] = [found, expected].map((values) => new Uint32Array(values.slice().buffer))
  const at = a?.findIndex((bits, i) => bits !== b?.[i]) ?? -1
  return at < 0
    ? undefined
    : `value ${at} is ${found[at]} (${a?.[at]?.toString(16)}), not ${expected[at]} (${b?.[at]?.toString(16)})`
}
