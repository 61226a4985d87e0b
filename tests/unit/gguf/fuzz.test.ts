import { afterAll, expect, test } from "bun:test"
import { assertFormats, type Gguf, GgufError, openGguf } from "../../../src/gguf/reader.ts"
import { encodeGguf } from "../../../src/gguf/writer.ts"
import { costOf } from "../../support/cost.ts"
import { richSource, temporaryFolder } from "../../support/gguf-fixtures.ts"
import { mutateGguf } from "../../support/gguf-mutate.ts"

const MUTANTS = 300
const folder = temporaryFolder("gguf-fuzz")
afterAll(folder.remove)

/** Checks the guarantees of a parsed file. */
function checkInvariants(gguf: Gguf): void {
  const ends: [number, number][] = []
  for (const tensor of gguf.tensors.values()) {
    const size = gguf.files[tensor.file]?.size ?? -1
    const elems = tensor.shape.reduce((a, b) => a * b, 1)
    expect(tensor.shape.length).toBeWithin(1, 5)
    expect(elems).toBeGreaterThan(0)
    expect(tensor.offset % gguf.alignment).toBe(0)
    expect(tensor.offset + tensor.nBytes).toBeLessThanOrEqual(size)
    if (tensor.format) expect(tensor.nBytes).toBe((elems / tensor.format.blockElems) * tensor.format.blockBytes)
    ends.push([tensor.offset, tensor.offset + tensor.nBytes])
  }
  ends.sort((a, b) => a[0] - b[0])
  for (let i = 1; i < ends.length; i++) expect(ends[i]?.[0]).toBeGreaterThanOrEqual(ends[i - 1]?.[1] ?? 0)
}

test(`${MUTANTS} mutated files: each gives a typed error or a valid parse, at little cost, in bounded memory`, async () => {
  const file = encodeGguf(richSource(1))
  const other = encodeGguf({ ...richSource(2), version: 2 })
  const path = folder.path("mutant.gguf")
  const codes = new Map<string, number>()
  Bun.gc(true)
  const memoryBefore = process.memoryUsage().rss
  for (let seed = 0; seed < MUTANTS; seed++) {
    const { bytes, description } = mutateGguf(file, seed, other)
    await Bun.write(path, bytes)
    let outcome = "parsed"
    const cost = await costOf(async () => {
      try {
        const gguf = await openGguf(path)
        checkInvariants(gguf)
        assertFormats(gguf)
      } catch (error) {
        if (!(error instanceof GgufError)) throw new Error(`seed ${seed} (${description})`, { cause: error })
        expect(error.path).toBe(path)
        expect(error.message).toContain(path)
        outcome = error.code
      }
    })
    expect(cost).toBeLessThan(5)
    codes.set(outcome, (codes.get(outcome) ?? 0) + 1)
  }
  // The mutants must reach many kinds of errors, and some must still parse.
  expect(codes.size).toBeGreaterThanOrEqual(12)
  expect(codes.get("parsed") ?? 0).toBeLessThan(MUTANTS / 2)
  expect(process.memoryUsage().rss - memoryBefore).toBeLessThan(256 * 1024 * 1024)
})

test("a mutant depends only on its arguments", () => {
  const file = encodeGguf(richSource(1))
  for (let seed = 0; seed < 8; seed++) {
    expect(mutateGguf(file, seed)).toEqual(mutateGguf(file, seed))
    expect(mutateGguf(file, seed).description).not.toBe(mutateGguf(file, seed + 4).description)
  }
})
