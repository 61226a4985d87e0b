import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type MetadataValue, meta } from "../../../src/gguf/metadata.ts"
import { type Gguf, openGguf } from "../../../src/gguf/reader.ts"
import { encodeGguf } from "../../../src/gguf/writer.ts"
import { ModelError, type ModelErrorCode } from "../../../src/models/errors.ts"
import { ARCHITECTURES, buildModel } from "../../../src/models/registry.ts"
import { printPlan } from "../../../src/plan/print.ts"
import { type TinyModelOptions, tinyModel } from "../../support/tiny-model.ts"

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-models-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

interface Change {
  metadata?: Record<string, MetadataValue | undefined>
  /** Tensors to leave out, by name. */
  without?: string[]
  add?: { name: string; length: number }[]
  rename?: Record<string, string>
}

/** A tiny model whose file was written with changes. */
async function changed(options: TinyModelOptions, change: Change): Promise<Gguf> {
  const path = join(folder, `${crypto.randomUUID()}.gguf`)
  await Bun.write(path, tinyModel(options))
  const gguf = await openGguf(path)
  const bytes = await Bun.file(path).bytes()
  const metadata = new Map(gguf.metadata)
  for (const [key, value] of Object.entries(change.metadata ?? {})) {
    if (value) metadata.set(key, value)
    else metadata.delete(key)
  }
  const tensors = [...gguf.tensors.values()]
    .filter(({ name }) => !change.without?.includes(name))
    .map(({ name, shape, format, offset, nBytes }) => ({
      name: change.rename?.[name] ?? name,
      shape,
      format: format?.name ?? "F32",
      data: bytes.slice(offset, offset + nBytes),
    }))
  const extra = (change.add ?? []).map(({ name, length }) => ({
    name,
    shape: [length],
    format: "F32" as const,
    data: new Uint8Array(4 * length),
  }))
  await Bun.write(path, encodeGguf({ metadata, tensors: [...tensors, ...extra] }))
  return openGguf(path)
}

async function refusal(options: TinyModelOptions, change: Change): Promise<[ModelErrorCode, string]> {
  const gguf = await changed(options, change)
  try {
    buildModel(gguf)
  } catch (error) {
    if (error instanceof ModelError) return [error.code, error.message]
    throw error
  }
  throw new Error("the model was accepted")
}

describe("a model's definition", () => {
  test.each(["llama", "mistral", "qwen2", "qwen3"] as const)("%s", async (arch) => {
    const model = buildModel(await changed({ arch, layers: 3, sliding_window: 32 }, {}))
    expect(model.arch).toBe(arch)
    expect(model.config).toMatchObject({
      hiddenSize: 64,
      nLayers: 3,
      nHeads: 4,
      nKvHeads: 2,
      headDim: 16,
      ffn: 96,
      nVocab: 320,
      contextLength: 256,
      slidingWindow: 32,
    })
    expect(model.plan.ops.length).toBe(2 + 3 * 8 + 4)
    expect(model.plan.caches.length).toBe(3)
    const stores = model.plan.ops.filter(({ kind }) => kind === "ROPE_STORE")
    expect(stores.every(({ flags }) => flags === (arch.startsWith("qwen") ? 2 : 0))).toBe(true)
    expect(stores.every(({ weights }) => weights.every((w) => (w !== undefined) === (arch === "qwen3")))).toBe(true)
  })

  test("its parameters and the memory it takes", async () => {
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

  test("a tied model multiplies with its embedding table", async () => {
    const { plan } = buildModel(await changed({ tied: true }, {}))
    const embed = plan.ops.find(({ kind }) => kind === "EMBED")?.weights[0]
    const head = plan.ops.findLast(({ kind }) => kind === "MATMUL")?.weights[0]
    expect(head).toBe(embed)
  })

  test("the printed plan folds layers that are alike", async () => {
    const mixed = (name: string) => (name === "blk.1.ffn_down.weight" ? "Q8_0" : "F32")
    const lines = printPlan(buildModel(await changed({ layers: 4, format: mixed }, {})).plan)
    expect(lines).toContain("  layer N = 0, 2–3 (× 3)")
    expect(lines).toContain("  layer N = 1 (× 1)")
    expect(lines).toContain("    MATMUL         g[n_tokens, 96], blk.N.ffn_down.weight Q8_0[64, 96] +→ x[n_tokens, 64]")
    expect(lines).toContain("  SAMPLE         logits[n_outputs, 320] → results  (vocab 320)")
    expect(lines).toContain("  4 × K and V [blocks, 2, block_size, 16]")
  })
})

describe("what is refused, by name", () => {
  test("an architecture that is not known, with those that are", async () => {
    const [code, message] = await refusal({}, { metadata: { "general.architecture": meta.string("gpt2") } })
    expect(code).toBe("unknown-architecture")
    expect(message).toContain(`unknown architecture "gpt2"; known are ${ARCHITECTURES.join(", ")}`)
    expect(ARCHITECTURES).toEqual(["llama", "mistral", "qwen2", "qwen3"])
  })

  test("a tensor that is missing, with its shape", async () => {
    const [code, message] = await refusal({}, { without: ["blk.1.ffn_up.weight"] })
    expect(code).toBe("missing-tensor")
    expect(message).toContain('tensor "blk.1.ffn_up.weight" [96, 64] is missing')
    expect((await refusal({}, { without: ["token_embd.weight"] }))[0]).toBe("missing-tensor")
    expect((await refusal({ arch: "qwen2" }, { without: ["blk.0.attn_k.bias"] }))[1]).toContain("[32] is missing")
    expect((await refusal({ arch: "qwen3" }, { without: ["blk.0.attn_q_norm.weight"] }))[0]).toBe("missing-tensor")
  })

  test("a tensor of another shape, with both", async () => {
    const [code, message] = await refusal(
      {},
      { rename: { "blk.0.attn_q.weight": "blk.0.attn_k.weight", "blk.0.attn_k.weight": "blk.0.attn_q.weight" } },
    )
    expect(code).toBe("wrong-shape")
    expect(message).toContain('tensor "blk.0.attn_q.weight" is [32, 64], expected [64, 64]')
  })

  test("a tensor that no op uses", async () => {
    const [code, message] = await refusal({}, { add: [{ name: "blk.0.ffn_gate.bias", length: 96 }] })
    expect(code).toBe("unused-tensor")
    expect(message).toContain('tensor "blk.0.ffn_gate.bias" has no use in the llama architecture')
    const old = await changed({}, { add: [{ name: "blk.0.attn.rotary_emb.inv_freq", length: 8 }] })
    expect(buildModel(old).arch).toBe("llama")
  })

  test.each([
    ["attention.head_count", meta.u32(0), "bad-config"],
    ["attention.head_count_kv", meta.u32(3), "bad-config"],
    ["attention.head_count_kv", meta.u32s([2, 4]), "unsupported"],
    ["attention.value_length", meta.u32(8), "unsupported"],
    ["rope.dimension_count", meta.u32(15), "bad-config"],
    ["rope.dimension_count", meta.u32(18), "bad-config"],
    ["rope.freq_base", meta.f32(0), "bad-config"],
    ["rope.scaling.type", meta.string("longrope"), "unsupported"],
    ["rope.scaling.factor", meta.f32(-1), "bad-config"],
    ["attention.layer_norm_rms_epsilon", meta.f32(Number.NaN), "bad-config"],
    ["expert_count", meta.u32(8), "unsupported"],
    ["block_count", meta.u32(3), "missing-tensor"],
  ] as [string, MetadataValue, ModelErrorCode][])("llama.%s", async (key, value, code) => {
    const [found, message] = await refusal({}, { metadata: { [`llama.${key}`]: value } })
    expect(found).toBe(code)
    expect(message.length).toBeGreaterThan(20)
  })

  test("a key that is missing", async () => {
    const gguf = await changed({}, { metadata: { "llama.embedding_length": undefined } })
    expect(() => buildModel(gguf)).toThrow('metadata "llama.embedding_length"')
  })

  test("keys that may be missing", async () => {
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
    expect(buildModel(gguf).config).toMatchObject({ nKvHeads: 4, headDim: 16, ropeDim: 16 })
  })
})
