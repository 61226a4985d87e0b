import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type MetadataValue, meta } from "../../../src/gguf/metadata.ts"
import type { ModelErrorCode } from "../../../src/models/errors.ts"
import { ARCHITECTURES, buildModel } from "../../../src/models/registry.ts"
import { printPlan } from "../../../src/plan/print.ts"
import type { TinyModelOptions } from "../../support/tiny-model.ts"
import { type Change, changedModel, refusal } from "./change-model.ts"

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-models-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const changed = (options: TinyModelOptions, change?: Change) => changedModel(folder, options, change)
const refused = (options: TinyModelOptions, change: Change) => refusal(folder, options, change)

describe("a model's definition", () => {
  test.each(["llama", "mistral", "qwen2", "qwen3"] as const)("%s", async (arch) => {
    const model = buildModel(await changed({ arch, layers: 3, sliding_window: 32 }, {}))
    expect(model.arch).toBe(arch)
    const layer = { nHeads: 4, nKvHeads: 2, headDim: 16, valueDim: 16, ffn: 96, window: 32 }
    expect(model.config).toMatchObject({
      hiddenSize: 64,
      nVocab: 320,
      contextLength: 256,
      layers: [layer, layer, layer],
    })
    expect(model.plan.ops.length).toBe(2 + 3 * 8 + 4)
    expect(model.plan.caches.length).toBe(3)
    const stores = model.plan.ops.filter(({ kind }) => kind === "ROPE_STORE")
    expect(stores.every(({ flags }) => flags === (arch.startsWith("qwen") ? 2 : 0))).toBe(true)
    expect(stores.every(({ weights }) => weights.every((w) => (w !== undefined) === (arch === "qwen3")))).toBe(true)
  })

  test("has the number of parameters and the size in memory", async () => {
    const model = buildModel(await changed({ format: "F16" }, {}))
    const attention = 64 * 64 * 2 + 64 * 32 * 2
    const layer = attention + 3 * 64 * 96 + 2 * 64
    expect(model.parameters).toBe(2 * 320 * 64 + 2 * layer + 64)
    const need = model.memory({ contextLength: 100, kvType: "f32" })
    expect(need.kv).toBe(112 * 2 * (2 * 2 * 16 * 4))
    expect(need.weights).toBeGreaterThan(2 * model.parameters)
    expect(need.total).toBe(need.weights + need.kv + need.arena)
    expect(model.memory({ contextLength: 100, maxTokens: 64 }).arena).toBeLessThan(need.arena)
  })

  test("of a tied model multiplies by the embedding table", async () => {
    const { plan } = buildModel(await changed({ tied: true }, {}))
    const embed = plan.ops.find(({ kind }) => kind === "EMBED")?.weights[0]
    const head = plan.ops.findLast(({ kind }) => kind === "MATMUL")?.weights[0]
    expect(head).toBe(embed)
  })

  test("the printed plan folds equal layers", async () => {
    const mixed = (name: string) => (name === "blk.1.ffn_down.weight" ? "Q8_0" : "F32")
    const lines = printPlan(buildModel(await changed({ layers: 4, format: mixed }, {})).plan)
    expect(lines).toContain("  layer N = 0, 2–3 (× 3)")
    expect(lines).toContain("  layer N = 1 (× 1)")
    expect(lines).toContain("    MATMUL         g[n_tokens, 96], blk.N.ffn_down.weight Q8_0[64, 96] +→ x[n_tokens, 64]")
    expect(lines).toContain("  SAMPLE         logits[n_outputs, 320] → results  (vocab 320)")
    expect(lines).toContain("  4 × K and V [blocks, 2, block_size, 16]")
  })
})

describe("refused models, with the names of their faults", () => {
  test("an unknown architecture, with the known ones", async () => {
    const [code, message] = await refused({}, { metadata: { "general.architecture": meta.string("gpt2") } })
    expect(code).toBe("unknown-architecture")
    expect(message).toContain(`unknown architecture "gpt2"; known are ${ARCHITECTURES.join(", ")}`)
    expect(ARCHITECTURES).toEqual(["llama", "mistral", "qwen2", "qwen3"])
  })

  test("a missing tensor, with its shape", async () => {
    const [code, message] = await refused({}, { without: ["blk.1.ffn_up.weight"] })
    expect(code).toBe("missing-tensor")
    expect(message).toContain('tensor "blk.1.ffn_up.weight" [96, 64] is missing')
    expect((await refused({}, { without: ["token_embd.weight"] }))[0]).toBe("missing-tensor")
    expect((await refused({ arch: "qwen2" }, { without: ["blk.0.attn_k.bias"] }))[1]).toContain("[32] is missing")
    expect((await refused({ arch: "qwen3" }, { without: ["blk.0.attn_q_norm.weight"] }))[0]).toBe("missing-tensor")
  })

  test("a tensor of another shape, with both", async () => {
    const [code, message] = await refused(
      {},
      { rename: { "blk.0.attn_q.weight": "blk.0.attn_k.weight", "blk.0.attn_k.weight": "blk.0.attn_q.weight" } },
    )
    expect(code).toBe("wrong-shape")
    expect(message).toContain('tensor "blk.0.attn_q.weight" is [32, 64], expected [64, 64]')
  })

  test("a tensor that no op uses", async () => {
    const [code, message] = await refused({}, { add: [{ name: "blk.0.ffn_gate.bias", length: 96 }] })
    expect(code).toBe("unused-tensor")
    expect(message).toContain('tensor "blk.0.ffn_gate.bias" has no use in the llama architecture')
    const old = await changed({}, { add: [{ name: "blk.0.attn.rotary_emb.inv_freq", length: 8 }] })
    expect(buildModel(old).arch).toBe("llama")
  })

  test.each([
    ["attention.head_count", meta.u32(0), "bad-config"],
    ["attention.head_count_kv", meta.u32(3), "bad-config"],
    ["attention.head_count_kv", meta.u32s([2, 4]), "wrong-shape"],
    ["attention.head_count_kv", meta.u32s([2, 0]), "unsupported"],
    ["attention.head_count_kv", meta.u32s([0, 0]), "bad-config"],
    ["attention.head_count_kv", meta.u32s([2]), "bad-config"],
    ["attention.head_count_kv", meta.u32s([2, 3]), "bad-config"],
    ["feed_forward_length", meta.u32s([96, 0]), "unsupported"],
    ["feed_forward_length", meta.u32s([96, 96, 96]), "bad-config"],
    ["attention.value_length", meta.u32(8), "unsupported"],
    ["attention.sliding_window_pattern", meta.bools([true]), "bad-config"],
    ["rope.dimension_count", meta.u32(15), "bad-config"],
    ["rope.dimension_count", meta.u32(18), "bad-config"],
    ["rope.freq_base", meta.f32(0), "bad-config"],
    ["rope.scaling.type", meta.string("longrope"), "unsupported"],
    ["rope.scaling.factor", meta.f32(-1), "bad-config"],
    ["attention.layer_norm_rms_epsilon", meta.f32(Number.NaN), "bad-config"],
    ["expert_count", meta.u32(8), "unsupported"],
    ["block_count", meta.u32(3), "missing-tensor"],
    ["block_count", meta.u32(0xffff_ffff), "bad-config"],
  ] as [string, MetadataValue, ModelErrorCode][])("llama.%s", async (key, value, code) => {
    const [found, message] = await refused({}, { metadata: { [`llama.${key}`]: value } })
    expect(found).toBe(code)
    expect(message.length).toBeGreaterThan(20)
  })

  test.each([
    ["attention.value_length", meta.u32(8), "layer 0: keys of 16 and values of 8 dimensions differ"],
    ["expert_count", meta.u32(8), "layer 0: its feed-forward network is a mixture of 8 experts"],
    ["attention.head_count_kv", meta.u32s([2, 0]), "layer 1: it has 4 attention heads and 0 K/V heads"],
    ["attention.head_count_kv", meta.u32s([2, 3]), "layer 1: 4 attention heads do not share 3 K/V heads evenly"],
    ["attention.head_count_kv", meta.u32s([2]), "llama.attention.head_count_kv has 1 items for 2 layers"],
    ["feed_forward_length", meta.u32s([96, 0]), "layer 1: it has no feed-forward network"],
    ["block_count", meta.u32(1000), "llama.block_count is 1000, but the file has 21 tensors"],
  ] as [string, MetadataValue, string][])("llama.%s, saying why and what to do", async (key, value, problem) => {
    const [, message] = await refused({}, { metadata: { [`llama.${key}`]: value } })
    expect(message).toMatch(/\.gguf: .+ \(.+\)$/)
    expect(message).toContain(problem)
  })

  test("a missing key", async () => {
    const gguf = await changed({}, { metadata: { "llama.embedding_length": undefined } })
    expect(() => buildModel(gguf)).toThrow('metadata "llama.embedding_length"')
  })

  test("optional keys may be missing", async () => {
    const optional = [
      "attention.head_count_kv",
      "attention.key_length",
      "attention.value_length",
      "rope.dimension_count",
    ]
    const gguf = await changed(
      { kv_heads: 4 },
      { metadata: Object.fromEntries(optional.map((key) => [`llama.${key}`, undefined])) },
    )
    expect(buildModel(gguf).config.layers[1]).toMatchObject({
      nKvHeads: 4,
      headDim: 16,
      valueDim: 16,
      window: 0,
      rope: { dim: 16, base: 10000 },
    })
  })
})
