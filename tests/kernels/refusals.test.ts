/** Invalid models and plans: opening each of them throws a NativeError with the given status, before anything runs. */

import { describe, expect, test } from "bun:test"
import type { StatusName } from "../../src/native/abi.ts"
import { NativeError } from "../../src/native/errors.ts"
import { NONE, OP_FLAGS, OP_SPECS, ROWS } from "../../src/native/ops.ts"
import { bytesOf, Random } from "../support/kernel-data.ts"
import { type OpSpec, packOps } from "../support/kernel-program.ts"
import {
  OP,
  openRawModel,
  type Packed,
  packAll,
  RawContext,
  rawSymbols,
  transformer,
  VOCAB,
  validStep,
} from "../support/kernel-raw.ts"
import { onEveryBackend } from "../support/kernel-suite.ts"

/** The status that a call is refused with, or "OK". */
function statusOf(call: () => unknown): StatusName {
  try {
    call()
    return "OK"
  } catch (error) {
    if (!(error instanceof NativeError) || error.status === "LIBRARY") throw error
    expect(error.message.length).toBeGreaterThan(10)
    return error.status
  }
}

type Spoil = (packed: Packed) => void

const tensors: readonly (readonly [string, StatusName[], Spoil])[] = [
  ["a format that is not computed (Q8_1)", ["UNSUPPORTED", "INVALID_MODEL"], (p) => p.tensors.write(0, { format: 9 })],
  ["a format number that never was", ["UNSUPPORTED", "INVALID_MODEL"], (p) => p.tensors.write(0, { format: 7777 })],
  ["a file that was not given", ["INVALID_MODEL"], (p) => p.tensors.write(0, { file: 0 })],
  ["an offset beyond the constants", ["INVALID_MODEL"], (p) => p.tensors.write(0, { offset: p.constants.length })],
  ["an offset that overflows", ["INVALID_MODEL"], (p) => p.tensors.write(0, { offset: 2n ** 64n - 64n })],
  ["more bytes than the shape has", ["INVALID_MODEL"], (p) => p.tensors.write(1, { n_bytes: 260 })],
  ["fewer bytes than the shape has", ["INVALID_MODEL"], (p) => p.tensors.write(1, { n_bytes: 252 })],
  ["no bytes", ["INVALID_MODEL"], (p) => p.tensors.write(1, { n_bytes: 0 })],
  ["no rows", ["INVALID_MODEL"], (p) => p.tensors.write(1, { rows: 0, n_bytes: 0 })],
  ["no columns", ["INVALID_MODEL"], (p) => p.tensors.write(1, { cols: 0, n_bytes: 0 })],
  ["a row that is no whole number of blocks", ["INVALID_MODEL"], (p) => p.tensors.write(2, { cols: 63 })],
  [
    "a shape whose product overflows",
    ["INVALID_MODEL"],
    (p) => p.tensors.write(0, { rows: 2n ** 62n, cols: 2n ** 62n }),
  ],
  [
    "a shape whose byte count wraps around to the correct one",
    ["INVALID_MODEL"],
    (p) => p.tensors.write(1, { rows: 2n ** 56n + 1n }),
  ],
  ["the last byte outside", ["INVALID_MODEL"], (p) => p.tensors.write(12, { offset: p.constants.length - 124 })],
]

const op =
  (index: number, change: Partial<OpSpec>): Spoil =>
  (p) => {
    const ops = [...transformer().ops]
    ops[index] = { ...(ops[index] as OpSpec), ...change }
    p.ops.bytes.set(packOps(ops).bytes)
  }

const plans: readonly (readonly [string, Spoil])[] = [
  ["op kind 0", (p) => p.ops.write(0, { kind: 0 })],
  ["an op kind that never was", (p) => p.ops.write(5, { kind: 4000 })],
  ["an unknown flag", (p) => p.ops.write(OP.norm, { flags: 1 << 30 })],
  ["a buffer id beyond the table", op(OP.norm, { buf: [0, 14] })],
  ["a negative buffer id", op(OP.norm, { buf: [-5, 1] })],
  ["a missing buffer", op(OP.norm, { buf: [0] })],
  ["a tensor id beyond the table", op(OP.norm, { tensor: [13] })],
  ["a negative tensor id", op(OP.norm, { tensor: [-7] })],
  ["a missing tensor", op(OP.norm, { tensor: [] })],
  ["EMBED of another width", op(OP.embed, { tensor: [10] })],
  ["EMBED into rows of outputs", op(OP.embed, { buf: [6] })],
  ["RMS_NORM with a weight of another width", op(OP.norm, { tensor: [12] })],
  ["RMS_NORM with a weight that is not float32", op(OP.norm, { tensor: [2] })],
  ["RMS_NORM between widths", op(OP.norm, { buf: [0, 2] })],
  ["RMS_NORM between row kinds", op(OP.norm, { buf: [0, 6] })],
  ["MATMUL whose inner sizes differ", op(OP.residual, { tensor: [10] })],
  ["MATMUL whose outputs do not fill the row", op(OP.qkv, { tensor: [2, 3] })],
  ["MATMUL whose outputs exceed the row", op(OP.qkv, { tensor: [2, 3, 7] })],
  ["MATMUL between row kinds", op(OP.head, { buf: [0, 7] })],
  ["MATMUL without a weight", op(OP.residual, { tensor: [] })],
  ["MATMUL with a bias of another width", op(OP.qkv, { tensor: [2, 3, 4, 12] })],
  ["MATMUL with a bias that is not float32", op(OP.qkv, { tensor: [2, 3, 4, 2] })],
  ["MATMUL with a bias of a weight that is not there", op(OP.residual, { tensor: [7, -1, -1, -1, 12] })],
  ["MATMUL_SWIGLU whose shapes differ", op(OP.swiglu, { tensor: [8, 7] })],
  ["MATMUL_SWIGLU without up", op(OP.swiglu, { tensor: [8] })],
  ["MATMUL_SWIGLU into another width", op(OP.swiglu, { buf: [1, 2] })],
  ["ROPE_TABLE of another width", op(OP.table, { tensor: [12] })],
  ["ROPE_TABLE into fixed rows", op(OP.table, { buf: [11] })],
  ["ROPE_STORE with no cache", op(OP.store, { cache: -1 })],
  ["ROPE_STORE with a cache beyond the table", op(OP.store, { cache: 1 })],
  ["ROPE_STORE with heads that do not fill the row", op(OP.store, { dim: [1, 1, 32, 32] })],
  ["ROPE_STORE with another head size than the cache", op(OP.store, { dim: [4, 2, 16, 16] })],
  ["ROPE_STORE with more K/V heads than the cache", op(OP.store, { dim: [0, 2, 32, 32] })],
  ["ROPE_STORE with an odd rope_dim", op(OP.store, { dim: [2, 1, 32, 31] })],
  ["ROPE_STORE with a rope_dim beyond the head", op(OP.store, { dim: [2, 1, 32, 64] })],
  ["ROPE_STORE with a rope_dim that is not the table's", op(OP.store, { dim: [2, 1, 32, 16] })],
  ["ROPE_STORE with a norm of another width", op(OP.store, { tensor: [1, 12] })],
  ["ROPE_STORE with negative dims", op(OP.store, { dim: [-2, -1, -32, -32] })],
  ["ATTENTION with no cache", op(OP.attention, { cache: -1 })],
  ["ATTENTION with 0 heads", op(OP.attention, { dim: [0, 1, 32, 0] })],
  ["ATTENTION with 0 K/V heads", op(OP.attention, { dim: [2, 0, 32, 0] })],
  ["ATTENTION with heads that are no multiple of K/V heads", op(OP.attention, { dim: [2, 3, 32, 0] })],
  ["ATTENTION with a negative window", op(OP.attention, { dim: [2, 1, 32, -1] })],
  ["ATTENTION with another head size than the cache", op(OP.attention, { dim: [4, 2, 16, 0] })],
  ["ATTENTION into another width", op(OP.attention, { buf: [2, 5] })],
  ["GATHER between widths", op(OP.gather, { buf: [0, 7] })],
  ["GATHER from rows of outputs", op(OP.gather, { buf: [6, 6] })],
  ["GATHER into rows of tokens", op(OP.gather, { buf: [0, 1] })],
  ["SAMPLE of another vocabulary", op(OP.sample, { dim: [VOCAB + 1] })],
  ["SAMPLE of rows of tokens", op(OP.sample, { buf: [0], dim: [64] })],
  ["SCALE between widths", op(OP.scale, { buf: [8, 11] })],
  ["ADD between widths", op(OP.add, { buf: [8, 11, 9] })],
  ["ADD between row kinds", op(OP.add, { buf: [0, 10, 0] })],
  ["CAUSAL_MASK of other keys", op(OP.mask, { dim: [2, 7] })],
  ["CAUSAL_MASK of rows that are no whole heads", op(OP.mask, { dim: [3, 6] })],
  ["CAUSAL_MASK of no queries", op(OP.mask, { dim: [0, 6] })],
  ["SOFTMAX between row counts", op(OP.softmax, { buf: [10, 0] })],
  ["ROPE with heads that do not fill the row", op(OP.rope, { dim: [3, 32, 32] })],
  ["ROPE with a table of another width", op(OP.rope, { buf: [1, 0, 4] })],
  ["ROPE with an odd rope_dim", op(OP.rope, { dim: [2, 32, 31] })],
  ["SWIGLU between widths", op(OP.gate, { buf: [8, 8, 11] })],
  ["ATTENTION_DENSE with values of other rows", op(OP.dense, { buf: [10, 11, 8, 13] })],
  ["ATTENTION_DENSE with 0 K/V heads", op(OP.dense, { dim: [2, 0, 32] })],
  ["ATTENTION_DENSE into other rows", op(OP.dense, { buf: [10, 11, 12, 8] })],
  ["ATTENTION_DENSE with a negative window", op(OP.dense, { dim: [2, 1, 32, -1] })],
  [
    "ATTENTION_DENSE, causal, with fewer keys than queries",
    (p) => p.buffers.write(11, { fixed_rows: 3 }).write(12, { fixed_rows: 3 }),
  ],
  [
    "ATTENTION_DENSE with a window and fewer keys than queries",
    (p) => {
      op(OP.dense, { dim: [2, 1, 32, 3], flags: 0 })(p)
      p.buffers.write(11, { fixed_rows: 3 }).write(12, { fixed_rows: 3 })
    },
  ],
  ["a buffer off its alignment", (p) => p.buffers.write(0, { offset: 4 })],
  ["a buffer beyond the arena", (p) => p.buffers.write(0, { offset: 2 ** 30 })],
  ["a buffer whose end overflows", (p) => p.buffers.write(0, { offset: 2n ** 64n - 64n })],
  ["a buffer of no width", (p) => p.buffers.write(8, { width: 0 })],
  ["a buffer of no rows", (p) => p.buffers.write(8, { fixed_rows: 0 })],
  ["a buffer whose size overflows", (p) => p.buffers.write(8, { fixed_rows: 0xffffffff, width: 0xffffffff })],
  ["a row kind that never was", (p) => p.buffers.write(0, { rows_kind: 3 })],
  ["an element type that never was", (p) => p.buffers.write(0, { dtype: 9 })],
  ["half floats where the op wants floats", (p) => p.buffers.write(0, { dtype: 1 })],
  ["q8_0 in a buffer", (p) => p.buffers.write(0, { dtype: 2 })],
  ["outputs in a buffer of tokens", (p) => p.buffers.write(6, { rows_kind: ROWS.TOKENS })],
  ["a cache of no heads", (p) => p.caches.write(0, { n_kv_heads: 0 })],
  ["a cache of no head size", (p) => p.caches.write(0, { head_dim: 0 })],
  ["a cache of an element type that never was", (p) => p.caches.write(0, { dtype: 5 })],
  ["an arena smaller than its buffers", (p) => p.desc.write(0, { arena_bytes: 64 })],
]

const limits: readonly (readonly [string, StatusName[], Spoil])[] = [
  ["no threads", ["INVALID_ARGUMENT"], (p) => p.desc.write(0, { n_threads: 0 })],
  ["a billion threads", ["INVALID_ARGUMENT"], (p) => p.desc.write(0, { n_threads: 1e9 })],
  ["no tokens", ["INVALID_ARGUMENT"], (p) => p.desc.write(0, { max_tokens: 0 })],
  ["no sequences", ["INVALID_ARGUMENT"], (p) => p.desc.write(0, { max_seqs: 0 })],
  ["a q8_0 cache of heads of 48", ["UNSUPPORTED"], (p) => p.caches.write(0, { dtype: 2, head_dim: 48 })],
  ["a block size of 0", ["INVALID_ARGUMENT", "UNSUPPORTED"], (p) => p.desc.write(0, { block_size: 0 })],
  ["deterministic in three ways", ["INVALID_ARGUMENT"], (p) => p.desc.write(0, { deterministic: 2 })],
  ["a fourth way to compute", ["INVALID_ARGUMENT"], (p) => p.desc.write(0, { compute: 3 })],
  ["a block size of 17", ["INVALID_ARGUMENT", "UNSUPPORTED"], (p) => p.desc.write(0, { block_size: 17 })],
  ["more memory than there is", ["OUT_OF_MEMORY"], (p) => p.desc.write(0, { arena_bytes: 2n ** 60n })],
  [
    "an arena of 2^64 - 64 bytes",
    ["OUT_OF_MEMORY", "INVALID_ARGUMENT"],
    (p) => p.desc.write(0, { arena_bytes: 2n ** 64n - 64n }),
  ],
  [
    "caches larger than the memory",
    ["OUT_OF_MEMORY", "INVALID_ARGUMENT"],
    (p) => p.desc.write(0, { n_blocks: 0x7fffffff }),
  ],
]

onEveryBackend("refused at open", (backend) => {
  const symbols = rawSymbols(backend)

  test("the unmodified plan is valid and runs", () => {
    using context = new RawContext(symbols, packAll(transformer()))
    const tokens = context.step(validStep())
    for (const token of tokens) expect(token).toBeWithin(0, VOCAB)
  })

  describe("tensor", () => {
    for (const [name, allowed, spoil] of tensors) {
      test(name, () => {
        const packed = packAll(transformer())
        spoil(packed)
        expect(allowed).toContain(statusOf(() => symbols.rf_model_close(openRawModel(symbols, packed))))
      })
    }

    test("a device that does not exist is refused", () => {
      const call = () => openRawModel(symbols, packAll(transformer()), 99)
      expect(["DEVICE", "INVALID_ARGUMENT"]).toContain(statusOf(call))
    })
  })

  describe("plan", () => {
    for (const [name, spoil] of plans) {
      test(name, () => {
        const packed = packAll(transformer())
        spoil(packed)
        expect(["INVALID_PLAN", "UNSUPPORTED"]).toContain(
          statusOf(() => new RawContext(symbols, packed)[Symbol.dispose]()),
        )
      })
    }

    test("a value in a slot that the op does not have is refused", () => {
      const slots = <T>(count: number, values: readonly T[], empty: T, used: number, value: T) =>
        Array.from({ length: count }, (_, i) => (i === used ? value : (values[i] ?? empty)))
      for (const [index, { kind, buf, tensor, dim, f, flags = 0 }] of transformer().ops.entries()) {
        const spec = OP_SPECS[kind]
        const own = (spec.flags ?? []).reduce((sum, name) => sum + OP_FLAGS[name], 0)
        const spoiled: [slot: string, values: Parameters<Packed["ops"]["write"]>[1]][] = [
          ["buffer", { buf: slots(6, buf ?? [], NONE, spec.buffers.length, 0) }],
          ["tensor", { tensor: slots(6, tensor ?? [], NONE, spec.weights?.length ?? 0, 0) }],
          ["dim", { dim: slots(7, dim ?? [], 0, spec.dims?.length ?? 0, 1) }],
          ["float", { f: slots(6, f ?? [], 0, spec.params?.length ?? 0, 1) }],
          ["reserved", { reserved: [0, 0, 0, 1] }],
          ["flag", { flags: flags | (7 & ~own) }],
          ["flag", { flags: flags | 8 }],
          ["cache", { cache: 0 }],
        ]
        for (const [slot, values] of spoiled) {
          const missing = slot === "tensor" && spec.weights?.length === 6
          if (missing || (slot === "cache" && spec.cache !== undefined)) continue
          const packed = packAll(transformer())
          packed.ops.write(index, values)
          expect(() => new RawContext(symbols, packed)[Symbol.dispose]()).toThrow(
            new RegExp(`op ${index} \\(${kind}\\): .*${slot}`),
          )
        }
      }
    })

    test("an op without a required slot is refused", () => {
      for (const [index, { kind, buf = [], tensor = [] }] of transformer().ops.entries()) {
        const spec = OP_SPECS[kind]
        const without = (ids: readonly number[], gone: number) =>
          Array.from({ length: 6 }, (_, i) => (i === gone ? NONE : (ids[i] ?? NONE)))
        const spoiled = [
          ...spec.buffers.map((slot, i) => ({ slot: slot.split(":")[0], values: { buf: without(buf, i) } })),
          ...(spec.weights ?? []).flatMap((slot, i) =>
            slot.endsWith("?") ? [] : [{ slot, values: { tensor: without(tensor, i) } }],
          ),
          ...(spec.cache ? [{ slot: "cache", values: { cache: NONE } }] : []),
        ]
        for (const { slot, values } of spoiled) {
          const packed = packAll(transformer())
          packed.ops.write(index, values)
          expect(() => new RawContext(symbols, packed)[Symbol.dispose]()).toThrow(
            new RegExp(`op ${index} \\(${kind}\\): .*${slot} is -1`),
          )
        }
      }
    })

    test("flags of other ops are refused", () => {
      for (const index of [OP.embed, OP.norm, OP.gather, OP.sample, OP.scale]) {
        for (const flag of [OP_FLAGS.neox, OP_FLAGS.causal]) {
          const packed = packAll(transformer())
          packed.ops.write(index, { flags: flag })
          expect(statusOf(() => new RawContext(symbols, packed)[Symbol.dispose]())).toBe("INVALID_PLAN")
        }
      }
    })
  })

  describe("limits", () => {
    for (const [name, allowed, spoil] of limits) {
      test(name, () => {
        const packed = packAll(transformer())
        spoil(packed)
        expect(allowed).toContain(statusOf(() => new RawContext(symbols, packed)[Symbol.dispose]()))
      })
    }
  })

  test("1500 plans with random words are refused or run", () => {
    const random = new Random(2024)
    const seen = new Map<StatusName, number>()
    const interesting = [
      0, 1, 2, 3, 7, 16, 31, 33, 64, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 0x3f800000, 0x7fc00000,
    ]
    for (let i = 0; i < 1500; i++) {
      const packed = packAll(transformer())
      const { bytes } = random.below(3) === 0 ? packed.buffers : packed.ops
      const words = new Uint32Array(bytes.buffer)
      for (let n = 1 + random.below(3); n > 0; n--) {
        const at = random.below(words.length)
        words[at] = random.below(4) === 0 ? random.uint32() : (interesting[random.below(interesting.length)] as number)
      }
      const status = statusOf(() => {
        using context = new RawContext(symbols, packed)
        context.step(validStep())
      })
      seen.set(status, (seen.get(status) ?? 0) + 1)
    }
    expect(seen.get("INVALID_PLAN") ?? 0).toBeGreaterThan(500)
    expect(seen.get("INTERNAL") ?? 0).toBe(0)
  })

  test("decoding with wrong formats or sizes is refused", () => {
    const blocks = new Uint8Array(36)
    const out = new Float32Array(64)
    const decode = (format: number, nBytes: number, nElems: number) =>
      statusOf(() => symbols.rf_dequantize(format, blocks, nBytes, out, nElems))
    expect(decode(2, 36, 64)).toBe("OK")
    expect(["UNSUPPORTED", "INVALID_ARGUMENT"]).toContain(decode(9, 36, 64))
    expect(decode(2, 35, 64)).toBe("INVALID_ARGUMENT")
    expect(decode(2, 36, 63)).toBe("INVALID_ARGUMENT")
    expect(decode(2, 18, 64)).toBe("INVALID_ARGUMENT")
    expect(bytesOf(out).length).toBe(256)
  })
})
