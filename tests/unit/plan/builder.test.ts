import { describe, expect, test } from "bun:test"
import { formatNamed } from "../../../src/gguf/formats.ts"
import { FILE_CONSTANTS, RF_BUFFER, RF_CACHE, RF_OP, RF_TENSOR } from "../../../src/native/abi.ts"
import { OP_SPECS, OPS } from "../../../src/native/ops.ts"
import { readNumber } from "../../../src/native/struct.ts"
import { PlanBuilder } from "../../../src/plan/builder.ts"
import { PlanError } from "../../../src/plan/operands.ts"

const Q8 = formatNamed("Q8_0")

function setup() {
  const p = new PlanBuilder({ eps: 1e-6 })
  const x = p.buffer("x", "tokens", 64, { pinned: true })
  const matrix = (name: string, rows: number, cols = 64) =>
    p.weight(name, Q8, rows, cols, { file: 0, offset: 4096, nBytes: rows * (cols / 32) * 34 })
  const vector = (name: string, length: number) => p.constant(name, new Float32Array(length).fill(1))
  return { p, x, matrix, vector }
}

describe("refused operands, with their names", () => {
  test("a weight whose size does not match its shape", () => {
    const { p } = setup()
    expect(() => p.weight("w", Q8, 2, 64, { file: 0, offset: 0, nBytes: 100 })).toThrow(
      'weight "w" [2, 64] Q8_0 takes 136 bytes, not 100',
    )
    expect(() => p.weight("w", Q8, 0, 64, { file: 0, offset: 0, nBytes: 0 })).toThrow("rows is 0")
  })

  test("widths that do not match", () => {
    const { p, x, matrix, vector } = setup()
    const out = p.buffer("out", "tokens", 96)
    expect(() => p.matmul(x, matrix("a", 64), out)).toThrow('MATMUL: "out" is 96 wide, and must be 64')
    expect(() => p.matmul(x, matrix("b", 96, 96), out)).toThrow(
      'MATMUL: "b" [96, 96] does not take "x", which is 64 wide',
    )
    expect(() => p.matmul(x, matrix("c", 96), out, vector("bias", 64))).toThrow("and must be F32 [1, 96]")
    expect(() => p.matmulAdd(x, matrix("d", 64), x)).toThrow('it cannot write to its input "x"')
    expect(() => p.rmsNorm(x, matrix("n", 1), p.buffer("h", "tokens", 64))).toThrow('"n" is Q8_0 [1, 64]')
    expect(() => p.swiglu(x, [matrix("g", 96), matrix("u", 64)], out)).toThrow('"g" has 96 rows and "u" 64')
  })

  test("rows of different kinds", () => {
    const { p, x, matrix } = setup()
    const out = p.buffer("out", "outputs", 64)
    expect(() => p.matmul(x, matrix("w", 64), out)).toThrow('"x" has tokens rows and "out" outputs')
    expect(() => p.gather(out, x)).toThrow('"out" must have a row for each token, and "x" a row for each output')
    expect(() => p.sample(x)).toThrow("a row for each output")
  })

  test("heads that do not divide, and rotations that do not fit", () => {
    const { p, vector } = setup()
    const kv = p.cache("kv", { nKvHeads: 2, headDim: 8 })
    const rope = p.ropeTable(vector("f", 4), p.buffer("rope", "tokens", 8), { neox: false })
    const wide = p.ropeTable(vector("f16", 8), p.buffer("rope16", "tokens", 16), { neox: false })
    const qkv = p.buffer("qkv", "tokens", 64)
    expect(() => p.ropeStore(qkv, kv, rope, { nHeads: 3 })).toThrow("3 heads of 8 do not share 2 K/V heads evenly")
    expect(() => p.ropeStore(qkv, kv, wide, { nHeads: 4 })).toThrow("it cannot rotate 16 dimensions of heads of 8")
    expect(() => p.ropeStore(qkv, kv, rope, { nHeads: 2 })).toThrow("must be 48")
  })

  test("operands of another plan, and names used twice", () => {
    const { p, x } = setup()
    const other = setup()
    expect(() => p.scale(x, other.x, 1)).toThrow(PlanError)
    expect(() => p.buffer("x", "tokens", 8)).toThrow('two buffers are named "x"')
  })

  test("aligned attention over fewer keys than queries, or rows of a step", () => {
    const { p, x } = setup()
    const heads = { nHeads: 1, nKvHeads: 1, headDim: 64 }
    const q = p.buffer("q", 5, 64)
    const k = p.buffer("k", 4, 64)
    const dense = (options: { causal?: boolean; window?: number }) =>
      p.attentionDense(q, k, k, p.buffer(`out ${JSON.stringify(options)}`, 5, 64), { ...heads, ...options })
    dense({})
    expect(() => dense({ causal: true })).toThrow('ATTENTION_DENSE: "k" has 4 rows, and must have at least 5')
    expect(() => dense({ window: 2 })).toThrow("must have at least 5")
    expect(() => dense({ causal: false, window: -1 })).toThrow("ATTENTION_DENSE: window is -1")
    expect(() => p.attentionDense(x, x, x, p.buffer("out", "tokens", 64), heads)).toThrow("fixed numbers of rows")
  })

  test("NaN and infinite numbers", () => {
    const { p, x } = setup()
    expect(() => p.scale(x, x, Number.NaN)).toThrow("SCALE: factor is NaN")
    expect(() => p.finish().pack({ maxTokens: 0, maxOutputs: 1 })).toThrow("at least one row")
  })
})

describe("packing", () => {
  test("ops, buffers, caches and tensors contain the recorded values", () => {
    const { p, x, matrix, vector } = setup()
    const qkv = p.buffer("qkv", "tokens", 64)
    const kv = p.cache("kv", { nKvHeads: 2, headDim: 8 })
    const w = [matrix("q", 32), matrix("k", 16), matrix("v", 16)]
    const bias = vector("v.bias", 16)
    const rope = p.ropeTable(vector("inv_freq", 4), p.buffer("rope", "tokens", 8), { neox: true, magnitude: 1.5 })
    p.matmul(x, w, qkv, [undefined, undefined, bias])
    p.ropeStore(qkv, kv, rope, { nHeads: 4 })
    p.attention(qkv, kv, p.buffer("a", "tokens", 32), { nHeads: 4, window: 9 })
    const plan = p.finish()
    const packed = plan.pack({ maxTokens: 10, maxOutputs: 1, kvType: "f32" })
    expect([packed.nOps, packed.nBuffers, packed.nCaches]).toEqual([4, 4, 1])

    const ops = new DataView(packed.ops.buffer)
    const slot = (op: number, field: "buf" | "tensor" | "dim", i: number) =>
      ops.getInt32(op * RF_OP.size + RF_OP.fields[field].offset + 4 * i, true)
    expect(readNumber(ops, 0, RF_OP, "kind")).toBe(OPS.ROPE_TABLE)
    expect(readNumber(ops, 0, RF_OP, "f")).toBe(1.5)
    expect(readNumber(ops, 0, RF_OP, "cache")).toBe(-1)
    expect([0, 1, 2, 3, 4, 5].map((i) => slot(1, "tensor", i))).toEqual([0, 1, 2, -1, -1, bias.id])
    expect([0, 1, 2, 3, 4, 5].map((i) => slot(1, "buf", i))).toEqual([x.id, qkv.id, -1, -1, -1, -1])
    expect(readNumber(ops, 2 * RF_OP.size, RF_OP, "flags")).toBe(2)
    expect(readNumber(ops, 2 * RF_OP.size, RF_OP, "f")).toBe(Math.fround(1e-6))
    expect(readNumber(ops, 3 * RF_OP.size, RF_OP, "cache")).toBe(kv.id)
    expect([0, 1, 2, 3].map((i) => slot(3, "dim", i))).toEqual([4, 2, 8, 9])

    const buffers = new DataView(packed.buffers.buffer)
    expect(readNumber(buffers, RF_BUFFER.size, RF_BUFFER, "width")).toBe(64)
    expect(readNumber(buffers, RF_BUFFER.size, RF_BUFFER, "rows_kind")).toBe(1)
    const caches = new DataView(packed.caches.buffer)
    expect(readNumber(caches, 0, RF_CACHE, "head_dim")).toBe(8)
    expect(readNumber(caches, 0, RF_CACHE, "dtype")).toBe(0)
    expect(plan.cacheBytesPerToken("f16")).toBe(2 * 2 * 8 * 2)

    const { tensors, constants } = plan.packTensors()
    const table = new DataView(tensors.data.buffer)
    expect(tensors.count).toBe(5)
    expect(readNumber(table, 0, RF_TENSOR, "offset")).toBe(4096)
    expect(readNumber(table, 0, RF_TENSOR, "format")).toBe(8)
    const last = 4 * RF_TENSOR.size
    expect(readNumber(table, last, RF_TENSOR, "file")).toBe(FILE_CONSTANTS)
    expect(readNumber(table, last, RF_TENSOR, "offset")).toBe(64)
    expect(readNumber(table, last, RF_TENSOR, "n_bytes")).toBe(16)
    expect(constants.length).toBe(80)
  })

  test("every op of the vocabulary has a spec that fits an RfOp", () => {
    for (const name of Object.keys(OPS) as (keyof typeof OPS)[]) {
      const spec = OP_SPECS[name]
      expect(spec.buffers.length).toBeLessThanOrEqual(RF_OP.fields.buf.count)
      expect(spec.weights?.length ?? 0).toBeLessThanOrEqual(RF_OP.fields.tensor.count)
      expect(spec.dims?.length ?? 0).toBeLessThanOrEqual(RF_OP.fields.dim.count)
      expect(spec.params?.length ?? 0).toBeLessThanOrEqual(RF_OP.fields.f.count)
    }
  })
})
