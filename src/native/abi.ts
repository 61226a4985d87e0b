/**
 * The TypeScript mirror of `hip/abi.h`: statuses, struct layouts, and the text that proves at load that both sides agree.
 * Writers and readers of the per-step structs are in `step-structs.ts`.
 */

import { FORMATS } from "../gguf/formats.ts"
import { DTYPES, OP_FLAGS, OPS, type OpName, opLayout, ROWS } from "./ops.ts"
import { type Struct, struct } from "./struct.ts"

export const ABI_VERSION = 5

export const STATUSES = {
  OK: 0,
  INVALID_ARGUMENT: 1,
  INVALID_HANDLE: 2,
  INVALID_MODEL: 3,
  INVALID_PLAN: 4,
  INVALID_STEP: 5,
  OUT_OF_MEMORY: 6,
  IO: 7,
  UNSUPPORTED: 8,
  DEVICE: 9,
  INTERNAL: 10,
} as const

export type StatusName = keyof typeof STATUSES

/** RfTensor.file of a tensor that lies in the constants blob. */
export const FILE_CONSTANTS = 0xffffffff

/** Counter of a draw whose seed is the random number itself, times 2^64. */
export const GIVEN_DRAW = 0xffffffff

/** RfModelFlag: read the files instead of mapping them. */
export const MODEL_NO_MMAP = 1

/** RfCompute: what matrix units multiply when a step has many rows. */
export const COMPUTE = { f32: 0, f16: 1, bf16: 2 } as const

/** Tokens a block of a paged K/V cache (RF_BLOCK_SIZE). */
export const BLOCK_SIZE = 16

/** Alternatives that a step result can hold (RF_MAX_TOP_LOGPROBS). */
export const MAX_TOP_LOGPROBS = 20

export const RF_TENSOR = struct("RfTensor", {
  format: "u32",
  file: "u32",
  offset: "u64",
  n_bytes: "u64",
  rows: "u64",
  cols: "u64",
})

export const RF_BUFFER = struct("RfBuffer", {
  rows_kind: "u32",
  fixed_rows: "u32",
  width: "u32",
  dtype: "u32",
  offset: "u64",
  reserved: "u64",
})

export const RF_CACHE = struct("RfCache", { n_kv_heads: "u32", head_dim: "u32", dtype: "u32", reserved: "u32" })

export const RF_OP = struct("RfOp", {
  kind: "u32",
  flags: "u32",
  buf: ["i32", 6],
  tensor: ["i32", 6],
  cache: "i32",
  dim: ["i32", 7],
  f: ["f32", 6],
  reserved: ["u32", 4],
})

export const RF_CONTEXT_DESC = struct("RfContextDesc", {
  n_threads: "u32",
  max_tokens: "u32",
  max_seqs: "u32",
  max_outputs: "u32",
  n_blocks: "u32",
  block_size: "u32",
  arena_bytes: "u64",
  compute: "u32",
  deterministic: "u32",
})

export const RF_STEP_HEADER = struct("RfStepHeader", {
  version: "u32",
  n_tokens: "u32",
  n_seqs: "u32",
  n_outputs: "u32",
  off_tokens: "u32",
  off_seqs: "u32",
  off_outputs: "u32",
  off_blocks: "u32",
  n_block_ids: "u32",
  off_pairs: "u32",
  n_pairs: "u32",
  off_masks: "u32",
  n_mask_words: "u32",
  reserved: ["u32", 3],
})

export const RF_STEP_SEQ = struct("RfStepSeq", { row_start: "u32", n_rows: "u32", kv_len: "u32", block_start: "u32" })

export const RF_STEP_OUTPUT = struct("RfStepOutput", {
  row: "u32",
  temperature: "f32",
  top_k: "i32",
  top_p: "f32",
  min_p: "f32",
  repeat_penalty: "f32",
  frequency_penalty: "f32",
  presence_penalty: "f32",
  seed_lo: "u32",
  seed_hi: "u32",
  counter: "u32",
  n_top: "i32",
  penalty_start: "u32",
  n_penalties: "u32",
  bias_start: "u32",
  n_biases: "u32",
  mask_start: "u32",
  mask_words: "u32",
  typical_p: "f32",
  top_n_sigma: "f32",
  xtc_probability: "f32",
  xtc_threshold: "f32",
  dynatemp_range: "f32",
  dynatemp_exponent: "f32",
  min_keep: "u32",
  temperature_last: "u32",
  mirostat: "u32",
  mirostat_mu: "f32",
})

/** `value` is an int32 count in a penalty pair and a float bias in a bias pair. */
export const RF_PAIR = struct("RfPair", { token: "i32", value: "u32" })

export const RF_STEP_RESULT = struct("RfStepResult", {
  token: "i32",
  logprob: "f32",
  n_top: "i32",
  surprise: "f32",
  top_tokens: ["i32", MAX_TOP_LOGPROBS],
  top_logprobs: ["f32", MAX_TOP_LOGPROBS],
})

export const RF_DEVICE_INFO = struct("RfDeviceInfo", {
  name: ["char", 128],
  arch: ["char", 64],
  driver: ["char", 64],
  memory_total: "u64",
  memory_free: "u64",
  n_compute_units: "u32",
  lanes: "u32",
  reserved: ["u32", 2],
})

export const RF_CONTEXT_INFO = struct("RfContextInfo", {
  arena_bytes: "u64",
  cache_bytes: "u64",
  scratch_bytes: "u64",
  n_threads: "u32",
  reserved: "u32",
})

const STRUCTS: readonly Struct[] = [
  RF_TENSOR,
  RF_BUFFER,
  RF_CACHE,
  RF_OP,
  RF_CONTEXT_DESC,
  RF_STEP_HEADER,
  RF_STEP_SEQ,
  RF_STEP_OUTPUT,
  RF_PAIR,
  RF_STEP_RESULT,
  RF_DEVICE_INFO,
  RF_CONTEXT_INFO,
]

/** Exactly the text that `rf_layout` of a matching build returns: `name=value;` for every fact both sides must share. */
export function expectedLayout(): string {
  const entries: string[] = [`abi=${ABI_VERSION}`]
  entries.push(`constant.BLOCK_SIZE=${BLOCK_SIZE}`, `constant.MAX_TOP_LOGPROBS=${MAX_TOP_LOGPROBS}`)
  for (const [group, numbers] of Object.entries({ rows: ROWS, dtype: DTYPES, compute: COMPUTE })) {
    for (const [name, value] of Object.entries(numbers)) entries.push(`${group}.${name}=${value}`)
  }
  for (const [name, value] of Object.entries(STATUSES)) entries.push(`status.${name}=${value}`)
  for (const { name, size, fields } of STRUCTS) {
    entries.push(`${name}.size=${size}`)
    for (const [field, { offset }] of Object.entries(fields)) {
      if (field !== "reserved") entries.push(`${name}.${field}=${offset}`)
    }
  }
  for (const name of Object.keys(OPS) as OpName[]) entries.push(...opLayout(name))
  for (const [name, value] of Object.entries(OP_FLAGS)) entries.push(`flag.${name}=${value}`)
  for (const f of FORMATS) entries.push(`format.${f.name}=${f.id},${f.blockElems},${f.blockBytes}`)
  return `${entries.join(";")};`
}

/**
 * The first entry in which a library's layout differs from the expected one, as a phrase, or `undefined` when they agree.
 * Entries are compared by name, so their order does not matter.
 */
export function layoutDifference(expected: string, found: string): string | undefined {
  const wanted = parseLayout(expected)
  const got = parseLayout(found)
  for (const [name, value] of wanted) {
    const other = got.get(name)
    if (other !== value)
      return (
        slotDifference(name, value, other) ??
        `${name} is ${other ?? "missing"} in the library and ${value} in TypeScript`
      )
  }
  for (const [name, value] of got) {
    if (!wanted.has(name)) return `${name} is ${value} in the library and missing in TypeScript`
  }
  return undefined
}

/** The first slot in which two lists of an op's slots (`op.ATTENTION.dims=…`) differ, as a phrase. */
function slotDifference(name: string, expected: string, found: string | undefined): string | undefined {
  const [, op, array] = /^op\.(\w+)\.(\w+)$/.exec(name) ?? []
  if (op === undefined || found === undefined) return undefined
  const [ours, theirs] = [expected.split(","), found.split(",")]
  const slot = ours.findIndex((text, i) => text !== theirs[i])
  const at = slot < 0 ? ours.length : slot
  const quoted = (text: string | undefined) => (text ? `"${text}"` : "missing")
  return `slot ${at} of ${op}'s ${array} is ${quoted(theirs[at])} in the library and ${quoted(ours[at])} in TypeScript`
}

function parseLayout(text: string): Map<string, string> {
  const entries = new Map<string, string>()
  for (const entry of text.split(";")) {
    if (entry === "") continue
    const at = entry.indexOf("=")
    entries.set(entry.slice(0, Math.max(at, 0)), entry.slice(at + 1))
  }
  return entries
}

/** The tensor table of a model: `count` RfTensor records, end to end. */
export interface PackedTensors {
  data: Uint8Array
  count: number
}

/** A plan ready for `rf_context_open`: RfOp, RfBuffer and RfCache records, end to end. */
export interface PackedPlan {
  ops: Uint8Array
  nOps: number
  buffers: Uint8Array
  nBuffers: number
  caches: Uint8Array
  nCaches: number
  arenaBytes: number
  /** Rows that the arena has room for. */
  maxTokens: number
  maxOutputs: number
  /** Buffer ids by name, to read or write them between steps. */
  bufferIds: ReadonlyMap<string, number>
}
