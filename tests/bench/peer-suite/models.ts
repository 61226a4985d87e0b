/**
 * Stand-ins for the models that the peer's suite downloads, written as GGUF files on the spot.
 *
 * Where `stories260K.bin` and `tok512.bin` of llama2.c's "tinyllamas" are at hand, the suite's main model is that very model, and the tests
 * that match its text are meaningful. Otherwise its shape gets random weights, and those tests fail.
 */

import { existsSync } from "node:fs"
import { join } from "node:path"
import { type MetadataValue, meta } from "../../../src/gguf/metadata.ts"
import { openGguf } from "../../../src/gguf/reader.ts"
import { type TensorSource, writeGguf } from "../../../src/gguf/writer.ts"

/** What the launcher asks for. */
export interface StandIn {
  /** `stories`: the suite's text model; `embedding`: one whose vocabulary puts a token before and after each text; `ranking`: the same with
   * a head of one score. */
  readonly kind: "stories" | "embedding" | "ranking"
  /** `pooling_type` of the embedding model. */
  readonly pooling?: number
  /** Jinja source of the chat template. */
  readonly template: string
  /** Mark three tokens as those around text in the middle. */
  readonly infill: boolean
}

/** Sizes of a model of the llama family. */
interface Shape {
  dim: number
  ffn: number
  layers: number
  heads: number
  kvHeads: number
  vocab: number
}

/** Longer than any context that the suite asks for; the weights do not depend on it. */
const CONTEXT = 16384
const STORIES: Shape = { dim: 64, ffn: 172, layers: 5, heads: 8, kvHeads: 4, vocab: 512 }
/** SmolLM2's vocabulary, on which "hello hello hello" and the suite's other texts have the token counts that it expects. */
const VOCABULARY = "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"

/** Writes the stand-in to `path`. @param data Folder with the files of llama2.c, if any. @param store Folder of the local model store. */
export async function writeStandIn(path: string, standIn: StandIn, data: string, store: string): Promise<void> {
  const { kind, template, infill } = standIn
  const stories = kind === "stories" ? await readStories(data) : undefined
  const text = kind === "stories" ? await storiesVocabulary(data) : await embeddingVocabulary(join(store, VOCABULARY))
  const shape = kind === "stories" ? STORIES : { ...STORIES, layers: 2, vocab: text.vocab }
  await writeGguf(path, {
    metadata: {
      ...header(kind, shape),
      ...text.metadata,
      ...(infill && {
        "tokenizer.ggml.fim_pre_token_id": meta.u32(4),
        "tokenizer.ggml.fim_suf_token_id": meta.u32(5),
        "tokenizer.ggml.fim_mid_token_id": meta.u32(6),
      }),
      "tokenizer.chat_template": meta.string(template),
      ...(standIn.pooling !== undefined && { "llama.pooling_type": meta.u32(standIn.pooling) }),
    },
    tensors: [...(stories ?? randomWeights(shape)), ...(kind === "ranking" ? [rankHead(shape)] : [])],
  })
}

const header = (name: string, { dim, ffn, layers, heads, kvHeads }: Shape): Record<string, MetadataValue> => ({
  "general.architecture": meta.string("llama"),
  "general.name": meta.string(name),
  "llama.context_length": meta.u32(CONTEXT),
  "llama.embedding_length": meta.u32(dim),
  "llama.block_count": meta.u32(layers),
  "llama.feed_forward_length": meta.u32(ffn),
  "llama.attention.head_count": meta.u32(heads),
  "llama.attention.head_count_kv": meta.u32(kvHeads),
  "llama.attention.layer_norm_rms_epsilon": meta.f32(1e-5),
  "llama.rope.dimension_count": meta.u32(dim / heads),
})

/** The tensors of a layer: name, rows, columns. */
const layerMatrices = ({ dim, ffn, heads, kvHeads }: Shape): [string, number, number][] => [
  ["attn_q", dim, dim],
  ["attn_k", (dim / heads) * kvHeads, dim],
  ["attn_v", (dim / heads) * kvHeads, dim],
  ["attn_output", dim, dim],
  ["ffn_gate", ffn, dim],
  ["ffn_down", dim, ffn],
  ["ffn_up", ffn, dim],
]

const tensor = (name: string, shape: number[], data: Float32Array): TensorSource => ({
  name: `${name}.weight`,
  shape,
  format: "F32",
  data,
})

/** The weights of llama2.c's file (its first format: seven integers, then floats, all layers of a kind together). */
async function readStories(data: string): Promise<TensorSource[] | undefined> {
  const path = join(data, "stories260K.bin")
  if (!existsSync(path)) return undefined
  const buffer = await Bun.file(path).arrayBuffer()
  const [dim = 0, ffn = 0, layers = 0, heads = 0, kvHeads = 0, vocab = 0] = new Int32Array(buffer, 0, 7)
  const shape: Shape = { dim, ffn, layers, heads, kvHeads, vocab }
  let at = 28
  const take = (n: number) => {
    const part = new Float32Array(buffer, at, n)
    at += 4 * n
    return part
  }
  const tensors: TensorSource[] = [tensor("token_embd", [dim, vocab], take(vocab * dim))]
  const each = (name: string, rows: number, cols: number) => {
    for (let layer = 0; layer < layers; layer++)
      tensors.push(tensor(`blk.${layer}.${name}`, cols === 1 ? [rows] : [cols, rows], take(rows * cols)))
  }
  const [q, k, v, o, gate, down, up] = layerMatrices(shape)
  each("attn_norm", dim, 1)
  for (const matrix of [q, k, v, o]) if (matrix) each(...matrix)
  each("ffn_norm", dim, 1)
  for (const matrix of [gate, down, up]) if (matrix) each(...matrix)
  tensors.push(tensor("output_norm", [dim], take(dim)))
  return tensors
}

/** llama2.c's vocabulary as SentencePiece's: control tokens, bytes, then pieces. */
async function storiesVocabulary(data: string): Promise<{ metadata: Record<string, MetadataValue>; vocab: number }> {
  const path = join(data, "tok512.bin")
  const tokens = existsSync(path) ? readPieces(await Bun.file(path).arrayBuffer()) : plainPieces()
  const type = (id: number) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1)
  return {
    vocab: tokens.length,
    metadata: {
      "tokenizer.ggml.model": meta.string("llama"),
      "tokenizer.ggml.tokens": meta.strings(tokens.map(({ piece }) => piece)),
      "tokenizer.ggml.scores": meta.f32s(tokens.map(({ score }) => score)),
      "tokenizer.ggml.token_type": meta.i32s(tokens.map((_, id) => type(id))),
      "tokenizer.ggml.bos_token_id": meta.u32(1),
      "tokenizer.ggml.eos_token_id": meta.u32(2),
      "tokenizer.ggml.unknown_token_id": meta.u32(0),
    },
  }
}

interface Piece {
  piece: string
  score: number
}

const CONTROL = ["<unk>", "<s>", "</s>"]

function readPieces(buffer: ArrayBuffer): Piece[] {
  const view = new DataView(buffer)
  const tokens: Piece[] = []
  for (let at = 4; at < view.byteLength; ) {
    const length = view.getInt32(at + 4, true)
    const text = new TextDecoder().decode(new Uint8Array(buffer, at + 8, length))
    tokens.push({ piece: CONTROL[tokens.length] ?? text.replaceAll(" ", "▁"), score: view.getFloat32(at, true) })
    at += 8 + length
  }
  return tokens
}

/** A vocabulary of the same size, with letters and their pairs. */
function plainPieces(): Piece[] {
  const hex = (byte: number) => byte.toString(16).toUpperCase().padStart(2, "0")
  const pieces = [...CONTROL, ...Array.from({ length: 256 }, (_, byte) => `<0x${hex(byte)}>`)]
  const letters = "▁etaoinshrdlucmwfgypbvkjxqz"
  const words = [...letters, ..."▁etaoinsh".split("").flatMap((a) => [...letters].map((b) => a + b))]
  return [...pieces, ...new Set(words)].slice(0, STORIES.vocab).map((piece, id) => ({ piece, score: -id }))
}

/** The vocabulary of a model in the store, with a token before and after each text. */
async function embeddingVocabulary(path: string): Promise<{ metadata: Record<string, MetadataValue>; vocab: number }> {
  const gguf = await openGguf(path)
  const own = [...gguf.metadata].filter(([key]) => key.startsWith("tokenizer.ggml."))
  const tokens = gguf.metadata.get("tokenizer.ggml.tokens")
  return {
    vocab: Array.isArray(tokens?.value) ? tokens.value.length : 0,
    metadata: {
      ...Object.fromEntries(own),
      "tokenizer.ggml.add_bos_token": meta.bool(true),
      "tokenizer.ggml.add_eos_token": meta.bool(true),
    },
  }
}

/** A head whose score is one of the hidden state's numbers. */
const rankHead = ({ dim }: Shape): TensorSource =>
  tensor(
    "cls.output",
    [dim, 1],
    Float32Array.from({ length: dim }, (_, i) => Number(i === 0)),
  )

/** Weights drawn by a fixed generator, of a size that keeps activations near 1. */
function randomWeights(shape: Shape): TensorSource[] {
  const { dim, layers, vocab } = shape
  let state = 42
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return state / 2 ** 31
  }
  const random = (rows: number, cols: number) =>
    Float32Array.from({ length: rows * cols }, () => (2 * next()) / Math.sqrt(cols))
  const ones = () => new Float32Array(dim).fill(1)
  const tensors: TensorSource[] = [tensor("token_embd", [dim, vocab], random(vocab, dim))]
  for (let layer = 0; layer < layers; layer++) {
    tensors.push(tensor(`blk.${layer}.attn_norm`, [dim], ones()), tensor(`blk.${layer}.ffn_norm`, [dim], ones()))
    for (const [name, rows, cols] of layerMatrices(shape))
      tensors.push(tensor(`blk.${layer}.${name}`, [cols, rows], random(rows, cols)))
  }
  tensors.push(tensor("output_norm", [dim], ones()))
  return tensors
}
