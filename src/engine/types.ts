/**
 * The engine's interface: what the server, the CLI and the library see of it, whether it runs in this process or in another.
 * Tokens go in, tokens come out; text belongs to `src/text`.
 */

import type { Gguf } from "../gguf/reader.ts"
import type { Constraint } from "../grammar/constraint.ts"
import type { ModelConfig } from "../models/config.ts"
import type { ChatTemplate } from "../text/index.ts"
import type { Tokenizer } from "../text/tokenizer/types.ts"

/** How one request's tokens are chosen. Every field has a neutral value, so a sampler never sees `undefined`. */
export interface SamplingParams {
  /** 0 is greedy. */
  temperature: number
  /** 0: off. */
  topK: number
  /** 1: off. */
  topP: number
  /** 0: off. */
  minP: number
  /** 1: off. Divides positive and multiplies negative logits of every token seen in prompt or output (Keskar et al. 2019). */
  repetitionPenalty: number
  /** 0: off. Subtracted once for every occurrence in the output (OpenAI's definition). */
  frequencyPenalty: number
  /** 0: off. Subtracted once when the token occurs in the output. */
  presencePenalty: number
  /** Added to the logits, by token id. */
  logitBias: ReadonlyMap<number, number>
  /** 64-bit seed: the same seed draws the same tokens whatever else is running. */
  seed: bigint
  /** `undefined`: none; 0 … 20: the chosen token's log-probability and that many alternatives. */
  logprobs: number | undefined
}

/** Greedy decoding without penalties. */
export const GREEDY: SamplingParams = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  logitBias: new Map(),
  seed: 0n,
  logprobs: undefined,
}

/** Sampling of a request that leaves a field out, on the command line and in the library. */
export const SAMPLING_DEFAULTS = {
  temperature: 0.7,
  topK: 40,
  topP: 0.95,
  minP: 0.05,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
} as const satisfies Partial<SamplingParams>

/** How the hidden states of a text's tokens become one vector: their mean, the first one's, or the last one's. */
export type Pooling = "mean" | "cls" | "last"

export interface GenerateRequest {
  /** Unique among the requests in flight. */
  id: string
  /** The prompt, at least one token. */
  tokens: Int32Array
  sampling: SamplingParams
  /** Tokens to generate at most; the engine also stops at the model's context length. */
  maxTokens: number
  /** A token that ends the request (it is still reported, as the last token). */
  stopTokens: ReadonlySet<number>
  /** None of `stop_tokens` is among so many tokens, the first ones; 0 by default. */
  minTokens?: number
  /**
   * Completions of this one prompt, 1 by default. They share the prompt's blocks, and choice i draws with `seed + i` as if it were a
   * request of its own.
   */
  n?: number
  /**
   * Smaller goes first, and takes the place of what runs with a greater one; 0 by default. Requests of one priority are served fairly by
   * `key`, then in the order of arrival.
   */
  priority?: number
  /** Whom the request belongs to (an API key): owners share the engine evenly, however many requests each sends. */
  key?: string
  /** Prompts find each other's cached blocks only under the same salt; "" by default. */
  cacheSalt?: string
  /** Milliseconds from submission by which it must have ended; over it, it ends with an OverloadedError. */
  deadlineMs?: number
  /** What each choice's text must be: it can end where the constraint lets it, and only there. Such choices are not speculated on. */
  constraint?: Constraint
  /** The prompt's embedding is wanted, pooled so, and no token; `n` is 1, and the prompt may fill the context. See `embedTokens`. */
  pooling?: Pooling
  /**
   * Of each of the prompt's tokens, the one to follow it, [tokens.length]: their log-probabilities are wanted, with `sampling.logprobs`
   * alternatives, and no token; `n` is 1, and the prompt may fill the context. See `scoreTokens`.
   */
  targets?: Int32Array
}

export interface TokenLogprobs {
  logprob: number
  top: { token: number; logprob: number }[]
}

/**
 * `stop`: a stop token, or the consumer said so; `length`: `max_tokens`, or the context is full;
 * `cancelled`: the signal fired.
 */
export type FinishReason = "stop" | "length" | "cancelled"

/** What a request that gives no tokens gives at its end, unless it was cancelled: `scores` are those of its targets. */
export interface Reading {
  embedding?: Float32Array
  scores?: TokenLogprobs[]
}

/** `index`: which of the request's `n` choices. */
export type EngineEvent =
  | { type: "token"; index: number; token: number; logprobs?: TokenLogprobs }
  | ({ type: "end"; index: number; reason: FinishReason; usage: Usage } & Reading)

export interface Usage {
  promptTokens: number
  completionTokens: number
  /** Prompt tokens whose K/V came from the prefix cache. */
  cachedTokens: number
  /** Milliseconds from submission to the first token, and from there to the last. */
  prefillMs: number
  decodeMs: number
}

/** What the engine is doing, and what it has done since it was opened (the `…_tokens` and `n_…` count up). */
export interface EngineStats {
  /** Choices that hold blocks, and those that wait for them (preempted ones too). */
  running: number
  waiting: number
  /** Requests of which no choice has begun: what `max_queue` bounds. */
  queued: number
  /** Seconds after which a request that finds no place among them may come again. */
  retryAfter: number
  blocksTotal: number
  /** Blocks that no sequence holds. */
  blocksFree: number
  /** Of the free ones, those that still hold a prefix to be found again. */
  blocksCached: number
  steps: number
  /** How often a sequence lost its blocks to another, and was computed again. */
  nPreemptions: number
  /** Prompt tokens looked for in the prefix cache, and those found there. */
  prefixQueryTokens: number
  prefixHitTokens: number
  /** Prompt tokens of the requests that were begun, each counted once, however many choices continue it. */
  promptTokens: number
  generatedTokens: number
  /** Tokens that speculation proposed, and those that the model would have said too. */
  draftedTokens: number
  acceptedTokens: number
}

/** The statistics of an engine that has done nothing. */
export const NO_STATS: Readonly<EngineStats> = {
  running: 0,
  waiting: 0,
  queued: 0,
  retryAfter: 1,
  blocksTotal: 0,
  blocksFree: 0,
  blocksCached: 0,
  steps: 0,
  nPreemptions: 0,
  prefixQueryTokens: 0,
  prefixHitTokens: 0,
  promptTokens: 0,
  generatedTokens: 0,
  draftedTokens: 0,
  acceptedTokens: 0,
}

export interface EngineLimits {
  /** Longest prompt + completion of one request, in tokens. */
  contextLength: number
  /** Vocabulary size: token ids are 0 … n_vocab - 1. */
  nVocab: number
  /** Sequences that decode together. */
  maxSeqs: number
}

/** `reason` says, in one sentence, why it is not `ready`. */
export type EngineHealth =
  | { state: "ready" }
  | { state: "starting" | "restarting" | "draining" | "failed" | "closed"; reason: string }

export interface Engine {
  readonly limits: EngineLimits
  /**
   * Accepts a request and yields its tokens, with exactly one `end` for each of its choices. Leaving the loop early, or aborting the
   * signal, cancels the request within one step and frees its blocks.
   * @throws RequestError (before the first event) for a prompt that is empty, too long, or holds an unknown id, and for a
   * constraint that cannot be kept to; later, for one that turns out to be too ambiguous.
   * @throws OverloadedError when the queue is full, or its deadline passes.
   */
  generate(request: GenerateRequest, signal?: AbortSignal): AsyncIterable<EngineEvent>
  /** Ends a choice of a request in flight within one step, as cancelled, and frees its blocks; the others go on. */
  endChoice(id: string, index: number): void
  stats(): EngineStats
  health(): EngineHealth
  /** Ends every request with an error and frees the native side. Safe twice. */
  close(): Promise<void>
}

/** A model that is ready to generate: its file, its text side, and the engine that runs it. */
export interface LoadedModel extends AsyncDisposable {
  name: string
  path: string
  gguf: Gguf
  config: ModelConfig
  tokenizer: Tokenizer
  /** `undefined` when the file has none. */
  chatTemplate: ChatTemplate | undefined
  engine: Engine
  device: { backend: string; name: string }
  /** Threads that run a step (CPU). */
  threads: number
  /** Bytes that the model takes of the device. */
  memory: { weights: number; cache: number }
  /** Safe twice. */
  close(): Promise<void>
}

/** An engine, and what it runs on. */
export type LoadedEngine = Pick<LoadedModel, "engine" | "device" | "threads" | "memory">
