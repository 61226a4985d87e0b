import { afterAll, describe, expect, test } from "bun:test"
import { mkdirSync, symlinkSync, truncateSync } from "node:fs"
import { ByteWriter } from "../../../src/gguf/byte-writer.ts"
import { type MetadataArray, meta } from "../../../src/gguf/metadata.ts"
import { GgufError, type GgufErrorCode, openGguf } from "../../../src/gguf/reader.ts"
import { encodeGguf } from "../../../src/gguf/writer.ts"
import { type FieldAddress, fieldOffset, patchField, temporaryFolder } from "../../support/gguf-fixtures.ts"

const folder = temporaryFolder("gguf-errors")
afterAll(folder.remove)

const file = encodeGguf({
  metadata: {
    first: meta.u32(1),
    "general.alignment": meta.u32(32),
    flag: meta.bool(true),
    text: meta.string("hello"),
    words: meta.strings(["a", "bc", "def"]),
    numbers: meta.f32s([1, 2, 3]),
    other: meta.i64(-1n),
  },
  tensors: [
    { name: "one", shape: [32, 4], format: "Q4_0", data: new Float32Array(128) },
    { name: "two", shape: [8, 2], format: "F32", data: new Float32Array(16) },
  ],
})

/** The error from opening a file with these bytes. */
async function refusal(bytes: Uint8Array, name = "bad.gguf"): Promise<GgufError> {
  const path = folder.path(name)
  await Bun.write(path, bytes)
  return refusalOf(path)
}

async function refusalOf(path: string): Promise<GgufError> {
  const error = await openGguf(path).then(
    () => new Error("the file opened"),
    (reason) => reason,
  )
  if (!(error instanceof GgufError)) throw error
  expect(error.path).toBe(path)
  return error
}

const replace = (bytes: Uint8Array, from: string, to: string): Uint8Array => {
  const at = Buffer.from(bytes).indexOf(from)
  expect(at).toBeGreaterThan(0)
  const copy = bytes.slice()
  copy.set(new TextEncoder().encode(to), at)
  return copy
}

describe("one damaged field", () => {
  const cases: [string, FieldAddress, bigint, GgufErrorCode, string][] = [
    ["magic", { kind: "magic" }, 0x04034b50n, "not-gguf", "magic"],
    ["byte-swapped magic", { kind: "magic" }, 0x47475546n, "big-endian", "magic"],
    ["big-endian version", { kind: "version" }, 0x03000000n, "big-endian", "version"],
    ["version 1", { kind: "version" }, 1n, "unsupported-version", "version"],
    ["version 4", { kind: "version" }, 4n, "unsupported-version", "version"],
    ["version 0", { kind: "version" }, 0n, "unsupported-version", "version"],
    ["tensor count", { kind: "count" }, 1_000_000n, "absurd-count", "tensor count"],
    ["tensor count of 2^63", { kind: "count" }, 1n << 63n, "overflow", "tensor count"],
    ["metadata count", { kind: "count", index: 1 }, 1n << 40n, "absurd-count", "metadata count"],
    ["metadata count of 2^64 - 1", { kind: "count", index: 1 }, (1n << 64n) - 1n, "overflow", "metadata count"],
    ["array length", { kind: "count", name: "words" }, 1n << 32n, "absurd-count", 'metadata "words"'],
    ["number array length", { kind: "count", name: "numbers" }, 1n << 50n, "absurd-count", 'metadata "numbers"'],
    [
      "array length that wraps around",
      { kind: "count", name: "numbers" },
      (1n << 62n) + 1n,
      "overflow",
      'metadata "numbers"',
    ],
    ["string length", { kind: "length", name: "words", index: 0 }, 1n << 41n, "truncated", 'metadata "words"[0]'],
    [
      "string length that wraps around",
      { kind: "length", name: "words", index: 2 },
      (1n << 64n) - 4n,
      "overflow",
      'metadata "words"[2]',
    ],
    ["value type", { kind: "type", name: "first" }, 13n, "bad-value-type", 'metadata "first"'],
    ["element type", { kind: "type", name: "words", index: 1 }, 0xffffffffn, "bad-value-type", 'metadata "words"'],
    ["boolean", { kind: "value", name: "flag" }, 2n, "bad-boolean", 'metadata "flag"'],
    [
      "alignment of 0",
      { kind: "value", name: "general.alignment" },
      0n,
      "bad-alignment",
      'metadata "general.alignment"',
    ],
    [
      "alignment of 48",
      { kind: "value", name: "general.alignment" },
      48n,
      "bad-alignment",
      'metadata "general.alignment"',
    ],
    [
      "alignment of 4",
      { kind: "value", name: "general.alignment" },
      4n,
      "bad-alignment",
      'metadata "general.alignment"',
    ],
    [
      "alignment of 2^31",
      { kind: "value", name: "general.alignment" },
      1n << 31n,
      "tensor-out-of-file",
      'tensor "one"',
    ],
    ["dimension count", { kind: "dims", name: "one" }, 5n, "too-many-dimensions", 'tensor "one"'],
    ["dimension count of 2^32 - 1", { kind: "dims", name: "one" }, 0xffffffffn, "too-many-dimensions", 'tensor "one"'],
    ["no dimensions", { kind: "dims", name: "one" }, 0n, "zero-dimension", 'tensor "one"'],
    ["dimension of 0", { kind: "dimension", name: "one", index: 1 }, 0n, "zero-dimension", 'tensor "one" shape[1]'],
    [
      "dimensions whose product overflows",
      { kind: "dimension", name: "one", index: 1 },
      1n << 52n,
      "overflow",
      'tensor "one" shape[1]',
    ],
    [
      "dimension of 2^64 - 1",
      { kind: "dimension", name: "one" },
      (1n << 64n) - 1n,
      "overflow",
      'tensor "one" shape[0]',
    ],
    ["row with a partial block", { kind: "dimension", name: "one" }, 33n, "partial-block", 'tensor "one" shape[0]'],
    ["rows beyond the file", { kind: "dimension", name: "two", index: 1 }, 1000n, "tensor-out-of-file", 'tensor "two"'],
    ["misaligned offset", { kind: "offset", name: "two" }, 33n, "misaligned-tensor", 'tensor "two"'],
    ["offset beyond the file", { kind: "offset", name: "two" }, 1n << 40n, "tensor-out-of-file", 'tensor "two"'],
    ["offset that wraps around", { kind: "offset", name: "two" }, (1n << 64n) - 32n, "overflow", 'tensor "two" offset'],
    ["two tensors in one place", { kind: "offset", name: "two" }, 0n, "overlapping-tensors", "tensor"],
    ["two tensors that partly overlap", { kind: "offset", name: "two" }, 64n, "overlapping-tensors", 'tensor "two"'],
  ]
  for (const [what, address, value, code, field] of cases) {
    test(`${what}: ${code}, with field and offset`, async () => {
      const error = await refusal(patchField(file, address, value))
      expect(error.code).toBe(code)
      expect(error.field).toContain(field)
      expect(error.message).toContain(error.field ?? "?")
      // A bad row is reported at the shape, a placement error at the offset field, the alignment at its key, all others at the field.
      if (code === "bad-alignment") expect(error.offset).toBeUndefined()
      else if (!["tensor-out-of-file", "overlapping-tensors"].includes(code))
        expect(error.offset).toBe(fieldOffset(file, address))
      else expect(error.offset).toBeOneOf(["one", "two"].map((name) => fieldOffset(file, { kind: "offset", name })))
    })
  }
})

describe("names", () => {
  test("a key that occurs twice is an error", async () => {
    const error = await refusal(replace(file, "other", "first"))
    expect(error).toMatchObject({ code: "duplicate-key", field: 'metadata "first"' })
    expect(error.offset).toBe(fieldOffset(file, { kind: "type", name: "other" }) - "other".length - 8)
  })

  test("a tensor that occurs twice is an error", async () => {
    const error = await refusal(replace(file, "two", "one"))
    expect(error).toMatchObject({ code: "duplicate-tensor", field: 'tensor "one"' })
  })

  test("an empty key and an empty tensor name are errors", async () => {
    const key = await refusal(encodeGguf({ metadata: { "": meta.u32(1) }, tensors: [] }))
    expect(key).toMatchObject({ code: "empty-name", field: "key of metadata entry 0", offset: 24 })
    const tensor = { name: "", shape: [1], format: "F32" as const, data: Float32Array.of(1) }
    expect((await refusal(encodeGguf({ metadata: {}, tensors: [tensor] }))).code).toBe("empty-name")
  })

  test("a key that is not UTF-8 is an error", async () => {
    const bytes = file.slice()
    bytes[Buffer.from(file).indexOf("other") + 1] = 0xff
    expect(await refusal(bytes)).toMatchObject({ code: "bad-utf8", field: "key of metadata entry 6" })
  })

  test("an alignment that is a string is an error", async () => {
    // The writer refuses such a file, so the test renames the key afterwards.
    const bytes = encodeGguf({ metadata: { "general.alignmen!": meta.string("32") }, tensors: [] })
    const bad = await refusal(replace(bytes, "general.alignmen!", "general.alignment"))
    expect(bad.code).toBe("bad-alignment")
    expect(bad.message).toContain("it is string, not u32")
  })
})

describe("bounds", () => {
  test("a file truncated at any length is an error", async () => {
    for (let length = 1; length < file.length; length++) {
      const error = await refusal(file.subarray(0, length))
      expect(["truncated", "absurd-count", "not-gguf", "tensor-out-of-file"]).toContain(error.code)
    }
    expect((await refusal(new Uint8Array(0))).code).toBe("empty-file")
  })

  test("arrays nested 8 deep open; arrays nested 9 and 100,000 deep are refused", async () => {
    const nest = (depth: number): MetadataArray => (depth === 1 ? meta.u32s([1]) : meta.arrays([nest(depth - 1)]))
    await Bun.write(folder.path("deep.gguf"), encodeGguf({ metadata: { deep: nest(8) }, tensors: [] }))
    expect((await openGguf(folder.path("deep.gguf"))).metadata.get("deep")).toEqual(nest(8))
    expect((await refusal(encodeGguf({ metadata: { deep: nest(9) }, tensors: [] }))).code).toBe("nesting-too-deep")
    const bomb = preamble(0, 1)
    bomb.string("bomb")
    for (let i = 0; i < 100_000; i++) {
      bomb.u32(9)
      if (i > 0) bomb.u64(1)
    }
    const error = await refusal(bomb.finish())
    expect(error).toMatchObject({ code: "nesting-too-deep" })
    expect(error.field).toBe(`metadata "bomb"${"[0]".repeat(8)}`)
  })

  test("many nested arrays do not use much memory", async () => {
    const wide = preamble(0, 1)
    wide.string("wide")
    wide.u32(9)
    wide.u32(9)
    wide.u64(1_000_000)
    wide.bytes(new Uint8Array(12_000_000))
    expect(await refusal(wide.finish())).toMatchObject({ code: "absurd-count", field: 'metadata "wide"' })
  })

  test("a sparse file large enough for any count is refused by the bound on the header, in bounded memory", async () => {
    const path = folder.path("sparse.gguf")
    const sparse = preamble(0, 1)
    sparse.string("words")
    sparse.u32(9)
    sparse.u32(8)
    sparse.u64(500_000_000)
    await Bun.write(path, sparse.finish())
    truncateSync(path, 8 * 2 ** 30)
    const error = await refusalOf(path)
    expect(error).toMatchObject({ code: "header-too-large", field: 'metadata "words"' })
  })
})

describe("paths", () => {
  test("a missing file, a file below a file, a directory, a device and a loop of links are errors", async () => {
    mkdirSync(folder.path("folder.gguf"))
    symlinkSync(folder.path("loop.gguf"), folder.path("loop.gguf"))
    await Bun.write(folder.path("plain"), "x")
    const cases: [string, GgufErrorCode][] = [
      [folder.path("absent.gguf"), "missing-file"],
      [folder.path("plain/absent.gguf"), "missing-file"],
      [folder.path("folder.gguf"), "directory"],
      ["/dev/null", "not-a-file"],
      [folder.path("loop.gguf"), "unreadable"],
      ["nul\0byte.gguf", "unreadable"],
    ]
    for (const [path, code] of cases) expect((await refusalOf(path)).code).toBe(code)
  })

  test("files of other kinds are refused", async () => {
    for (const text of ["GGU", "GGML\x03\0\0\0", "PK\x03\x04 and so on", '{"json": true}'])
      expect((await refusal(new TextEncoder().encode(text))).code).toBe("not-gguf")
  })

  test("the message contains path, field, offset and remedy", async () => {
    const error = await refusal(patchField(file, { kind: "value", name: "flag" }, 2n))
    const at = fieldOffset(file, { kind: "value", name: "flag" })
    expect(error.message).toBe(
      `${folder.path("bad.gguf")}: metadata "flag" at byte ${at}: a boolean is 0 or 1, not 2 ` +
        "(the file is damaged or incomplete: download or convert it again)",
    )
  })
})

/** The start of a version 3 file. */
function preamble(tensors: number, entries: number): ByteWriter {
  const out = new ByteWriter()
  out.bytes(new TextEncoder().encode("GGUF"))
  out.u32(3)
  out.u64(tensors)
  out.u64(entries)
  return out
}
