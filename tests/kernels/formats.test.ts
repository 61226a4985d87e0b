import { expect, test } from "bun:test"
import { FORMATS } from "../../src/gguf/formats.ts"
import { quantize } from "../../src/gguf/quantize.ts"
import { loadNative } from "../../src/native/library.ts"
import { decodeBlocks } from "../support/decode-blocks.ts"
import { firstDifference, goldenBlocks } from "../support/golden-formats.ts"
import { onEveryBackend } from "../support/kernel-suite.ts"

onEveryBackend("native block decoders", (backend) => {
  const native = loadNative(backend)
  for (const format of FORMATS) {
    test(`${format.name} decodes the golden blocks bit for bit`, async () => {
      const { blocks, values } = await goldenBlocks(format.name)
      expect(blocks.length % format.blockBytes).toBe(0)
      expect(firstDifference(native.dequantize(format.id, blocks, values.length), values)).toBeUndefined()
    })

    test(`${format.name} decodes the blocks that the quantizer writes`, () => {
      const values = Float32Array.from({ length: 1024 }, (_, i) => Math.sin(i * 1.7) * (1 + (i % 37)))
      const blocks = quantize(format.name, values)
      expect(
        firstDifference(native.dequantize(format.id, blocks, 1024), decodeBlocks(format.name, blocks)),
      ).toBeUndefined()
    })
  }

  test("an unknown format number is refused", () => {
    expect(() => native.dequantize(16, new Uint8Array(66), 256)).toThrow()
    expect(() => native.dequantize(77, new Uint8Array(66), 256)).toThrow()
  })

  test("partial blocks and too few bytes are refused", () => {
    expect(() => native.dequantize(2, new Uint8Array(18), 31)).toThrow()
    expect(() => native.dequantize(2, new Uint8Array(17), 32)).toThrow()
    expect(() => native.dequantize(12, new Uint8Array(144), 512)).toThrow()
  })
})
