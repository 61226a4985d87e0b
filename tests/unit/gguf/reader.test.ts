import { afterAll, describe, expect, test } from "bun:test"
import { chmodSync, existsSync, readdirSync, statSync, truncateSync } from "node:fs"
import { join } from "node:path"
import { meta } from "../../../src/gguf/metadata.ts"
import { assertFormats, Gguf, getWeight, openGguf } from "../../../src/gguf/reader.ts"
import { encodeGguf, writeGguf } from "../../../src/gguf/writer.ts"
import { costOf, readSoFar } from "../../support/cost.ts"
import { patchField, richSource, temporaryFolder } from "../../support/gguf-fixtures.ts"

const folder = temporaryFolder("gguf-reader")
afterAll(folder.remove)

async function write(name: string, bytes: Uint8Array): Promise<string> {
  const path = folder.path(name)
  await Bun.write(path, bytes)
  return path
}

describe("a whole file", () => {
  for (const version of [2, 3] as const) {
    test(`version ${version}: every value type, nested arrays, every tensor`, async () => {
      const source = { ...richSource(), version }
      const path = await write(`v${version}.gguf`, encodeGguf(source))
      const gguf = await openGguf(path)
      expect(gguf.version).toBe(version)
      expect(gguf.alignment).toBe(64)
      expect(gguf.files).toEqual([{ path, size: statSync(path).size }])
      expect(Object.fromEntries(gguf.metadata)).toEqual(
        source.metadata instanceof Map ? Object.fromEntries(source.metadata) : source.metadata,
      )
      expect([...gguf.tensors.keys()]).toEqual(source.tensors.map((tensor) => tensor.name))
      for (const tensor of source.tensors) {
        const found = gguf.getTensor(tensor.name)
        expect(found.shape).toEqual(tensor.shape)
        expect(found.typeName).toBe(tensor.format)
        expect(found.format?.name).toBe(tensor.format)
        expect(found.offset % 64).toBe(0)
      }
      assertFormats(gguf)
    })
  }

  test("tensor data is read at the offsets in the directory", async () => {
    const data = Float32Array.from({ length: 64 }, (_, i) => i / 3)
    const path = await write(
      "data.gguf",
      encodeGguf({
        metadata: {},
        tensors: [
          { name: "a", shape: [1], format: "F32", data: Float32Array.of(7) },
          { name: "b", shape: [16, 2, 2], format: "F32", data },
        ],
      }),
    )
    const b = getWeight(await openGguf(path), "b")
    const bytes = await Bun.file(path)
      .slice(b.offset, b.offset + b.nBytes)
      .arrayBuffer()
    expect(new Float32Array(bytes)).toEqual(data)
    expect(b.shape).toEqual([16, 2, 2])
  })

  test("a file without metadata and tensors opens", async () => {
    const gguf = await openGguf(await write("nothing.gguf", encodeGguf({ metadata: {}, tensors: [] })))
    expect(gguf.metadata.size + gguf.tensors.size).toBe(0)
    expect(gguf.alignment).toBe(32)
  })

  test("a string that is not valid UTF-8 keeps its valid part", async () => {
    const bytes = encodeGguf({ metadata: { key: meta.strings(["ab?d", "ok"]) }, tensors: [] })
    bytes[bytes.indexOf("?".charCodeAt(0))] = 0xff
    expect((await openGguf(await write("latin.gguf", bytes))).getStringArray("key")).toEqual(["ab\uFFFDd", "ok"])
  })

  test("a read-only file opens and is not changed", async () => {
    const bytes = encodeGguf(richSource())
    const path = await write("read-only.gguf", bytes)
    chmodSync(path, 0o444)
    const before = statSync(path)
    await openGguf(path)
    const after = statSync(path)
    expect([after.mtimeMs, after.ctimeMs, after.size]).toEqual([before.mtimeMs, before.ctimeMs, before.size])
    expect(await Bun.file(path).bytes()).toEqual(bytes)
  })
})

describe("large files", () => {
  test("a sparse file of 6 GiB opens without reading its data", async () => {
    const small = encodeGguf({
      metadata: { "general.architecture": meta.string("llama") },
      tensors: [
        { name: "big", shape: [4096, 1], format: "F32", data: new Float32Array(4096) },
        { name: "last", shape: [32], format: "Q4_0", data: new Float32Array(32) },
      ],
    })
    const rows = 6 * 2 ** 16
    const bytes = patchField(
      patchField(small, { kind: "dimension", name: "big", index: 1 }, BigInt(rows)),
      { kind: "offset", name: "last" },
      BigInt(rows * 4096 * 4),
    )
    const path = await write("sparse.gguf", bytes)
    const size = 6 * 2 ** 30 + 4096
    truncateSync(path, size)
    const memory = process.memoryUsage().rss
    const before = readSoFar()
    const gguf = await openGguf(path)
    expect(readSoFar().bytes - before.bytes).toBeLessThan(4 * 2 ** 20)
    expect(process.memoryUsage().rss - memory).toBeLessThan(64 * 2 ** 20)
    expect(gguf.files[0]?.size).toBe(size)
    expect(gguf.getTensor("big").nBytes).toBe(6 * 2 ** 30)
    expect(gguf.getTensor("last").offset).toBeGreaterThan(6 * 2 ** 30)
  })

  test("an 8 MB header with 150,000 tokens and 280,000 merges is read once, in large pieces, and parsed at little cost", async () => {
    const tokens = Array.from({ length: 150_000 }, (_, i) => `Ġtoken${i.toString(36)}`)
    const merges = Array.from({ length: 280_000 }, (_, i) => `Ġm${i.toString(36)} x`)
    const path = folder.path("vocabulary.gguf")
    await writeGguf(path, {
      metadata: {
        "tokenizer.ggml.tokens": meta.strings(tokens),
        "tokenizer.ggml.token_type": meta.i32s(new Int32Array(150_000).fill(1)),
        "tokenizer.ggml.merges": meta.strings(merges),
        last: meta.u32(5),
      },
      tensors: [],
    })
    const { size } = statSync(path)
    expect(size).toBeGreaterThan(8e6)
    const costs: number[] = []
    for (let run = 0; run < 3; run++) {
      const before = readSoFar()
      let gguf = new Gguf(3, new Map(), new Map(), [], 32)
      costs.push(
        await costOf(async () => {
          gguf = await openGguf(path)
        }),
      )
      const after = readSoFar()
      expect(after.bytes - before.bytes).toBeLessThan(2 * size)
      expect(after.calls - before.calls).toBeLessThan(200)
      expect(gguf.getU32("last")).toBe(5)
      expect(gguf.getStringArray("tokenizer.ggml.tokens").at(-1)).toBe(tokens.at(-1) ?? "")
      expect(gguf.getStringArray("tokenizer.ggml.merges").length).toBe(280_000)
    }
    expect(Math.min(...costs)).toBeLessThan(3)
  })
})

describe("typed access", () => {
  const open = async () => openGguf(await write("rich.gguf", encodeGguf(richSource())))

  test("returns values of the requested type, and integers of any width that fits", async () => {
    const gguf = await open()
    expect(gguf.getString("general.architecture")).toBe("llama")
    expect(gguf.getString("v.text")).toBe("\uFEFFnaïve 🙂 \0 end")
    expect(gguf.getBool("v.true")).toBe(true)
    expect([gguf.getU32("v.u32"), gguf.getU32("v.u8"), gguf.getI32("v.i16")]).toEqual([4_000_000_000, 200, -300])
    expect(gguf.getU64("v.u32")).toBe(4_000_000_000)
    expect([gguf.getF32("v.f32"), gguf.getF32("v.f64")]).toEqual([1.5, Math.fround(Math.PI)])
    expect([...gguf.getI32Array("a.i32")]).toEqual([-2_147_483_648, 3])
    expect([...gguf.getI32Array("a.u8")]).toEqual([0, 255])
    expect([...gguf.getU32Array("a.u32")]).toEqual([1, 4_294_967_295])
    expect([...gguf.getF32Array("a.f32")]).toEqual([0.5, Number.NEGATIVE_INFINITY])
    expect([...gguf.getBoolArray("a.bool")]).toEqual([1, 0, 1])
    expect(gguf.getStringArray("a.none")).toEqual([])
  })

  test("an absent key is undefined or an error that names it", async () => {
    const gguf = await open()
    expect([gguf.findString("no"), gguf.findU32("no"), gguf.findF32("no"), gguf.findBool("no")]).toEqual(
      new Array(4).fill(undefined),
    )
    expect(gguf.findStringArray("no") ?? gguf.findI32Array("no") ?? gguf.findF32Array("no")).toBeUndefined()
    for (const get of [
      () => gguf.getString("no"),
      () => gguf.getU32("no"),
      () => gguf.getU64("no"),
      () => gguf.getI32("no"),
      () => gguf.getF32("no"),
      () => gguf.getBool("no"),
      () => gguf.getStringArray("no"),
      () => gguf.getI32Array("no"),
      () => gguf.getU32Array("no"),
      () => gguf.getF32Array("no"),
      () => gguf.getBoolArray("no"),
    ])
      expect(get).toThrow(expect.objectContaining({ code: "missing-key", field: 'metadata "no"' }))
    expect(() => gguf.getTensor("no")).toThrow(expect.objectContaining({ code: "missing-tensor" }))
  })

  test("another type is an error that names the key, the expected and the found type, also from find", async () => {
    const gguf = await open()
    const wrong: [() => unknown, string][] = [
      [() => gguf.findU32("v.f32"), 'metadata "v.f32": expected u32, found f32 1.5'],
      [() => gguf.getU32("v.i8"), "expected u32, found i8 -5"],
      [() => gguf.getI32("v.u32"), "expected i32, found u32 4000000000"],
      [() => gguf.getU64("v.u64"), "expected u64, found u64 9223372036854775809"],
      [() => gguf.getString("v.u8"), "expected string, found u8 200"],
      [() => gguf.getBool("v.u8"), "expected bool, found u8 200"],
      [() => gguf.getF32("v.text"), "expected f32, found string"],
      [() => gguf.getStringArray("a.u32"), "expected array of string, found array of u32"],
      [() => gguf.getI32Array("a.u32"), "expected array of i32, found array of u32"],
      [() => gguf.getU32Array("a.i8"), "expected array of u32, found array of i8"],
      [() => gguf.getF32Array("a.nested"), "expected array of f32, found array of array of u32"],
      [() => gguf.getBoolArray("v.true"), "expected array of bool, found bool true"],
    ]
    for (const [get, message] of wrong) {
      expect(get).toThrow(expect.objectContaining({ code: "wrong-type" }))
      expect(get).toThrow(message)
    }
  })
})

describe("unsupported formats", () => {
  test("a file with such tensors opens; loading it is refused with the names of the types", async () => {
    let bytes: Uint8Array = encodeGguf(richSource())
    // IQ2_XXS, whose blocks are smaller than those of Q4_K and Q6_K, and a number that is not a ggml type.
    bytes = patchField(bytes, { kind: "type", name: "blk.9.q4_k" }, 16n)
    bytes = patchField(bytes, { kind: "type", name: "blk.11.q6_k" }, 16n)
    bytes = patchField(bytes, { kind: "type", name: "blk.1.f16" }, 99n)
    const gguf = await openGguf(await write("iq2.gguf", bytes))
    expect(gguf.getTensor("blk.9.q4_k")).toMatchObject({
      format: undefined,
      typeId: 16,
      typeName: "IQ2_XXS",
      nBytes: 198,
    })
    expect(gguf.getTensor("blk.1.f16")).toMatchObject({ format: undefined, typeId: 99, typeName: "type 99", nBytes: 0 })
    expect(() => assertFormats(gguf)).toThrow(expect.objectContaining({ code: "unsupported-format" }))
    expect(() => assertFormats(gguf)).toThrow("unsupported weight format type 99 (1 tensor), IQ2_XXS (2 tensors)")
    expect(() => getWeight(gguf, "blk.9.q4_k")).toThrow("unsupported weight format IQ2_XXS")
    expect(getWeight(gguf, "blk.2.q4_0").format.name).toBe("Q4_0")
  })
})

const vocabularies = join(import.meta.dir, "../../../../shared/data/tokenizers")
if (existsSync(vocabularies)) {
  test("published vocabularies open", async () => {
    const files = readdirSync(vocabularies).filter((name) => name.endsWith(".gguf"))
    expect(files.length).toBeGreaterThan(0)
    for (const file of files) {
      const gguf = await openGguf(join(vocabularies, file))
      expect(gguf.getStringArray("tokenizer.ggml.tokens").length).toBeGreaterThan(30_000)
      expect(["gpt2", "llama"]).toContain(gguf.getString("tokenizer.ggml.model"))
    }
  })
}
