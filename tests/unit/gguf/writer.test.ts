import { afterAll, describe, expect, test } from "bun:test"
import { meta } from "../../../src/gguf/metadata.ts"
import { openGguf } from "../../../src/gguf/reader.ts"
import { encodeGguf, type TensorSource, writeGguf } from "../../../src/gguf/writer.ts"
import { decodeBlocks } from "../../support/decode-blocks.ts"
import { richSource, temporaryFolder } from "../../support/gguf-fixtures.ts"

const folder = temporaryFolder("gguf-writer")
afterAll(folder.remove)

describe("writing", () => {
  test("to a file gives the same bytes as to memory", async () => {
    const path = folder.path("rich.gguf")
    await writeGguf(path, richSource())
    expect(await Bun.file(path).bytes()).toEqual(encodeGguf(richSource()))
  })

  test("a file that is read and written again has the same bytes", async () => {
    const path = folder.path("again.gguf")
    const bytes = encodeGguf(richSource())
    await Bun.write(path, bytes)
    const gguf = await openGguf(path)
    const tensors: TensorSource[] = [...gguf.tensors.values()].map((tensor) => {
      if (!tensor.format) throw new Error(`${tensor.name} has no format`)
      const data = bytes.slice(tensor.offset, tensor.offset + tensor.nBytes)
      return { name: tensor.name, shape: tensor.shape, format: tensor.format.name, data }
    })
    expect(encodeGguf({ metadata: gguf.metadata, tensors })).toEqual(bytes)
  })

  test("values are read back as their quantized values", async () => {
    const source = richSource()
    const path = folder.path("values.gguf")
    const bytes = encodeGguf(source)
    await Bun.write(path, bytes)
    const gguf = await openGguf(path)
    for (const tensor of source.tensors) {
      const info = gguf.getTensor(tensor.name)
      const decoded = decodeBlocks(tensor.format, bytes.slice(info.offset, info.offset + info.nBytes))
      expect(decoded.length).toBe(768)
      const worst = decoded.reduce(
        (max, value, i) => Math.max(max, Math.abs(value - (tensor.data[i] ?? Number.NaN))),
        0,
      )
      expect(worst).toBeLessThan(1.5)
      if (tensor.format === "F32") expect(worst).toBe(0)
    }
  })

  test("data that does not fit its shape or format is refused with the tensor's name", () => {
    const good: TensorSource = { name: "t", shape: [32, 2], format: "Q8_0", data: new Float32Array(64) }
    const cases: [Partial<TensorSource>, string][] = [
      [{ data: new Float32Array(63) }, "bad-request"],
      [{ data: new Uint8Array(67) }, "bad-request"],
      [{ shape: [16, 4] }, "partial-block"],
      [{ shape: [] }, "zero-dimension"],
      [{ shape: [32, 0] }, "zero-dimension"],
      [{ shape: [32, 2, 1, 1, 1] }, "too-many-dimensions"],
    ]
    expect(encodeGguf({ metadata: {}, tensors: [good] }).length).toBeGreaterThan(68)
    for (const [change, code] of cases)
      expect(() => encodeGguf({ metadata: {}, tensors: [{ ...good, ...change }] })).toThrow(
        expect.objectContaining({ name: "GgufError", code, field: 'tensor "t"' }),
      )
    expect(() => encodeGguf({ metadata: {}, tensors: [good, good] })).toThrow("occurs twice")
    for (const value of [meta.u32(12), meta.u32(4), meta.string("32"), meta.i32(32)])
      expect(() => encodeGguf({ metadata: { "general.alignment": value }, tensors: [] })).toThrow("power of two")
  })
})
