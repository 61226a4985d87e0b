import { afterAll, describe, expect, test } from "bun:test"
import { copyFileSync, mkdirSync, renameSync, rmSync } from "node:fs"
import { meta } from "../../../src/gguf/metadata.ts"
import { type GgufErrorCode, openGguf } from "../../../src/gguf/reader.ts"
import { encodeGguf, type GgufSource, writeGguf, writeSplitGguf } from "../../../src/gguf/writer.ts"
import { richSource, temporaryFolder } from "../../support/gguf-fixtures.ts"

const folder = temporaryFolder("gguf-split")
afterAll(folder.remove)

/** A new three-part model in a folder of its own. */
async function threeParts(name: string): Promise<[string, string, string]> {
  mkdirSync(folder.path(name))
  const [a = "", b = "", c = ""] = await writeSplitGguf(folder.path(`${name}/model`), richSource(), 3)
  return [a, b, c]
}

async function refusal(path: string) {
  return openGguf(path).then(
    () => "opened",
    (error) => error,
  )
}

const part = (no: number, count: number, tensors: GgufSource["tensors"], total = 3): GgufSource => ({
  metadata: { "split.no": meta.u16(no), "split.count": meta.u16(count), "split.tensors.count": meta.i32(total) },
  tensors,
})
const tensor = (name: string) => ({ name, shape: [4], format: "F32" as const, data: Float32Array.of(1, 2, 3, 4) })

describe("split models", () => {
  test("opening the first part opens all parts, with the tensors and data of the single file", async () => {
    const paths = await threeParts("whole")
    const source = richSource()
    const single = folder.path("single.gguf")
    await writeGguf(single, source)
    const one = await openGguf(single)
    const split = await openGguf(paths[0])
    expect(split.files.map((file) => file.path)).toEqual([...paths])
    expect([...split.tensors.keys()]).toEqual([...one.tensors.keys()])
    expect(new Set([...split.tensors.values()].map((info) => info.file))).toEqual(new Set([0, 1, 2]))
    expect(split.getString("general.architecture")).toBe("llama")
    const data = async (path: string, offset: number, bytes: number) =>
      Bun.file(path)
        .slice(offset, offset + bytes)
        .bytes()
    for (const info of split.tensors.values()) {
      const expected = one.getTensor(info.name)
      const file = split.files[info.file]?.path ?? ""
      expect(await data(file, info.offset, info.nBytes)).toEqual(await data(single, expected.offset, expected.nBytes))
    }
  })

  test("opening a later part is an error that names the first part", async () => {
    const [first, second] = await threeParts("later")
    const error = await refusal(second)
    expect(error).toMatchObject({ code: "split-not-first", path: second })
    expect(error.message).toContain(first)
  })

  test("a missing part is an error that names it", async () => {
    const [first, , third] = await threeParts("missing")
    rmSync(third)
    const error = await refusal(first)
    expect(error).toMatchObject({ code: "missing-split", path: third })
    expect(error.message).toContain("part 3 of 3 is missing")
  })

  const mismatches: [string, (paths: [string, string, string]) => Promise<string> | string, GgufErrorCode, string][] = [
    [
      "swapped parts",
      ([first, second, third]) => {
        copyFileSync(third, second)
        return first
      },
      "split-mismatch",
      "split.no",
    ],
    [
      "a part of a model with another number of parts",
      async ([first, second]) => {
        await writeGguf(second, part(1, 5, []))
        return first
      },
      "split-mismatch",
      "split.count",
    ],
    [
      "a part without split metadata",
      async ([first, second]) => {
        await writeGguf(second, { metadata: {}, tensors: [] })
        return first
      },
      "split-mismatch",
      "split.no",
    ],
    [
      "a part with fewer tensors",
      async ([first, second]) => {
        await writeGguf(second, part(1, 3, []))
        return first
      },
      "split-mismatch",
      "split.tensors.count",
    ],
    [
      "a renamed first part",
      ([first]) => {
        const renamed = first.replace("-00001-of-00003", "")
        renameSync(first, renamed)
        return renamed
      },
      "split-mismatch",
      "split.count",
    ],
    [
      "a name with a wrong number of parts",
      ([first]) => {
        const renamed = first.replace("of-00003", "of-00004")
        renameSync(first, renamed)
        return renamed
      },
      "split-mismatch",
      "split.count",
    ],
    [
      "the name of a part on a whole file",
      async ([first]) => {
        await writeGguf(first, { metadata: {}, tensors: [tensor("a")] })
        return first
      },
      "split-mismatch",
      "split.count",
    ],
    [
      "a tensor in two parts",
      async ([first, second, third]) => {
        await writeGguf(first, part(0, 3, [tensor("a")]))
        await writeGguf(second, part(1, 3, [tensor("b")]))
        await writeGguf(third, part(2, 3, [tensor("a")]))
        return first
      },
      "duplicate-tensor",
      'tensor "a"',
    ],
    [
      "a count that is a string",
      async ([first]) => {
        await writeGguf(first, { metadata: { "split.count": meta.string("3") }, tensors: [] })
        return first
      },
      "wrong-type",
      "split.count",
    ],
    [
      "a damaged part",
      async ([first, second]) => {
        await Bun.write(second, encodeGguf(part(1, 3, [tensor("b")])).slice(0, 90))
        return first
      },
      "truncated",
      "",
    ],
  ]
  for (const [index, [what, prepare, code, field]] of mismatches.entries()) {
    test(`${what}: ${code}`, async () => {
      const error = await refusal(await prepare(await threeParts(`mismatch${index}`)))
      expect(error).toMatchObject({ name: "GgufError", code })
      expect(error.field).toContain(field)
    })
  }
})
