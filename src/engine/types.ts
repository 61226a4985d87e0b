/**
 * The engine's interface, for the server, the CLI and the library; the engine runs in this process or in a child process.
 * It takes and returns tokens; text belongs to `src/text`.
 */

import type { Gguf } from "../gguf/reader.ts"
import type { Constraint } from "../grammar/constraint.ts"
import type { ModelConfig } from "../models/config.ts"
import type { RankHead } from "../models/decoder.ts"
import type { ChatTemplate } from "../text/index.ts"
import type { Tokenizer } from "../text/tokenizer/types.ts"

/**
 * How one request's tokens are chosen. Every parameter has a neutral value, so none is optional.
 *
 * The order is fixed: repetition, frequency and presence penalty; DRY; biases, bad words; allowed tokens and the constraint's mask. Then, at
 * temperature 0 or topK 1, the greatest logit; otherwise temperature, top-n-sigma, top-k, typical-p, top-p, min-p, XTC, a draw. With
 * `temperatureLast` the temperature comes after XTC. Each limit looks at the probabilities of what those before it have left. Mirostat
 * stands in the place of all limits, after the temperature.
 */
export interface SamplingParams {
  /** 0: greedy decoding. */
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
  /** The three penalties count the last `repeatLastN` tokens. -1: all tokens; 0: none, which turns the penalties off. */
  repeatLastN: number
  /** 1: off. Keeps the tokens of most typical information content that together reach this probability (Meister et al. 2022). */
  typicalP: number
  /** 0: off. Keeps logits within this many standard deviations of the greatest (Tang et al. 2024). */
  topNSigma: number
  /** 0: off. The probability with which "exclude top choices" drops all tokens from `xtcThreshold` on, but for the least probable of them. */
  xtcProbability: number
  xtcThreshold: number
  /** 0: off. DRY ("don't repeat yourself"): subtracts `dryMultiplier` · `dryBase` ^ (n - `dryAllowedLength`) where a token would extend a repetition of n tokens. */
  dryMultiplier: number
  dryBase: number
  /** Shorter repetitions are free. */
  dryAllowedLength: number
  /** Last tokens in which repetitions are looked for. -1: all; 0: off. */
  dryPenaltyLastN: number
  /** Token sequences that no repetition extends across. */
  drySequenceBreakers: readonly (readonly number[])[]
  /** 0: off. 1 or 2: that version of Mirostat (Basu et al. 2021) in place of everything that drops tokens. */
  mirostat: 0 | 1 | 2
  /** Mirostat's target surprise in bits, and how fast it gets there. */
  mirostatTau: number
  mirostatEta: number
  /** 0: off. The temperature becomes `temperature` ± this, by the entropy of the distribution relative to the greatest possible. */
  dynatempRange: number
  /** Power of the relative entropy. */
  dynatempExponent: number
  /** Tokens that typicalP, topP, minP and XTC keep at least. */
  minKeep: number
  /** The temperature applies to what is left after tokens were dropped. By default it applies first. */
  temperatureLast: boolean
  /** Added to the logits, by token id. -Infinity excludes a token. */
  logitBias: ReadonlyMap<number, number>
  /** Token sequences that do not occur in the output: after all but its last token, that one is excluded. */
  badWords: readonly (readonly number[])[]
  /** The only tokens that may be chosen. `undefined`: all. */
  allowedTokens: ReadonlySet<number> | undefined
  /** 64-bit seed. The same seed draws the same tokens, whatever else runs. */
  seed: bigint
  /** The source of random numbers: the device's Philox generator, or the Mersenne Twister that llama.cpp uses. */
  generator: "philox" | "mersenne"
  /** 0 to 20: report the chosen token's log-probability and that many alternatives. `undefined`: report none. */
  logprobs: number | undefined
}

/** Penalties and limits, all off, and the temperature in its usual place. */
const NO_RULES = {
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  repeatLastN: -1,
  typicalP: 1,
  topNSigma: 0,
  xtcProbability: 0,
  xtcThreshold: 0.1,
  dryMultiplier: 0,
  dryBase: 1.75,
  dryAllowedLength: 2,
  dryPenaltyLastN: -1,
  mirostat: 0,
  mirostatTau: 5,
  mirostatEta: 0.1,
  dynatempRange: 0,
  dynatempExponent: 1,
  minKeep: 0,
  temperatureLast: false,
} as const satisfies Partial<SamplingParams>

/** Greedy decoding without penalties. */
export const GREEDY: SamplingParams = {
  ...NO_RULES,
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  drySequenceBreakers: [],
  logitBias: new Map(),
  badWords: [],
  allowedTokens: undefined,
  seed: 0n,
  generator: "philox",
  logprobs: undefined,
}

/** Sampling defaults of the library and of the command line. (Each API of the server has its own.) */
export const SAMPLING_DEFAULTS = {
  ...NO_RULES,
  temperature: 0.7,
  topK: 40,
  topP: 0.95,
  minP: 0.05,
} as const satisfies Partial<SamplingParams>

/**
 * How the hidden states of a prompt become one vector: the mean, the first token's, or the last token's; `none`: all of them, one after the
 * other.
 */
export type Pooling = "mean" | "cls" | "last" | "none"

export interface GenerateRequest {
  /** Unique among the requests in flight. */
  id: string
  /** The prompt, at least one token. */
  tokens: Int32Array
  sampling: SamplingParams
  /** Tokens to generate at most. The engine also stops at the context length. */
  maxTokens: number
  /** Tokens that end a sequence. The one that does is reported as the last token. */
  stopTokens: ReadonlySet<number>
  /** Further tokens that end a sequence, also within the text that a constraint asks for. */
  stopTokenIds?: ReadonlySet<number>
  /** Stop tokens are masked until this many tokens were generated. Default 0. */
  minTokens?: number
  /**
   * Number of completions, each a sequence of its own. Default 1. They share the prompt's blocks. Sequence i draws with `seed + i`, as a
   * request of its own would.
   */
  n?: number
  /**
   * Smaller values are served first, and preempt running requests with greater ones. Default 0. Requests of one priority are served fairly
   * by `key`, then in the order of arrival.
   */
  priority?: number
  /** The owner of the request (an API key). Owners share the engine evenly, however many requests each sends. */
  key?: string
  /** Prompts share cached blocks only under the same salt. Default "". */
  cacheSalt?: string
  /** Milliseconds from submission after which an unfinished request fails with an OverloadedError. */
  deadlineMs?: number
  /** A form that each sequence's text must have. Sequences with a constraint are not drafted for. */
  constraint?: Constraint
  /** Report how far the prompt is computed: before its first step, and after each one. Default false. */
  progress?: boolean
  /** Compute the prompt's embedding, pooled in this way, and generate nothing. `n` is 1; the prompt may fill the context. See `embedTokens`. */
  pooling?: Pooling
  /**
   * [tokens.length] Compute the log-probability of `targets[i]` after `tokens[i]`, with `sampling.logprobs` alternatives, and generate
   * nothing. `n` is 1; the prompt may fill the context. See `scoreTokens`.
   */
  targets?: Int32Array
}

export interface TokenLogprobs {
  logprob: number
  top: { token: number; logprob: number }[]
}

/**
 * Why a sequence ended. `stop`: a stop token or stop string; `length`: `maxTokens` or the context length;
 * `cancelled`: the signal fired, or `endSequence` was called.
 */
export type FinishReason = "stop" | "length" | "cancelled"

/** Result of a prefill-only request, unless it was cancelled: the embedding, or the scores of its targets. */
export interface PrefillOnlyResult {
  embedding?: Float32Array
  scores?: TokenLogprobs[]
}

/** How much of a prompt is computed, in tokens; `cached` of them were found in the prefix cache. */
export interface PromptProgress {
  processed: number
  cached: number
}

/** `index`: which of the request's `n` sequences. Only the first one reports progress. */
export type EngineEvent =
  | ({ type: "progress"; index: number } & PromptProgress)
  | { type: "token"; index: number; token: number; logprobs?: TokenLogprobs }
  | ({ type: "end"; index: number; reason: FinishReason; usage: Usage } & PrefillOnlyResult)

export interface Usage {
  promptTokens: number
  completionTokens: number
  /** Prompt tokens whose K/V came from the prefix cache. */
  cachedTokens: number
  /** Milliseconds from submission to the first token, and from the first to the last: never 0 where there is a token. */
  prefillMs: number
  decodeMs: number
}

/** State of the engine, and counters since it was opened: `steps`, `nPreemptions` and the `…Tokens`. */
export interface EngineStats {
  /** Sequences that hold blocks, and sequences that wait for them, preempted ones included. */
  running: number
  waiting: number
  /** Requests without a sequence that has begun. `maxQueue` is their limit. */
  queued: number
  /** Seconds after which a request that was refused may be sent again. */
  retryAfter: number
  blocksTotal: number
  /** Blocks that no sequence holds. */
  blocksFree: number
  /** Free blocks that are still in the prefix cache. */
  blocksCached: number
  steps: number
  /** How often a sequence lost its blocks to another one. */
  nPreemptions: number
  /** Prompt tokens looked up in the prefix cache, and those found. */
  prefixQueryTokens: number
  prefixHitTokens: number
  /** Prompt tokens of all requests that have begun. A prompt counts once, however many sequences continue it. */
  promptTokens: number
  generatedTokens: number
  /** Steps that verified drafts of a sequence, drafted tokens, and those that were accepted. */
  drafts: number
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
  drafts: 0,
  draftedTokens: 0,
  acceptedTokens: 0,
}

export interface EngineLimits {
  /** Prompt and completion of one request together, in tokens, at most. */
  contextLength: number
  /** Vocabulary size; token ids are 0 to nVocab - 1. */
  nVocab: number
  /** Sequences that decode together. */
  maxSeqs: number
  /** Tokens that one step computes at most. */
  batchTokens: number
  /** Prompt tokens that one step computes at most while other sequences decode. */
  chunkTokens: number
}

/** `reason`: why the engine is not `ready`, as a sentence. */
export type EngineHealth =
  | { state: "ready" }
  | { state: "starting" | "restarting" | "draining" | "failed" | "closed"; reason: string }

export interface Engine {
  readonly limits: EngineLimits
  /**
   * Accepts a request and yields its tokens, with exactly one `end` for each of its sequences. Leaving the loop early, or aborting the
   * signal, cancels the request within one step and releases its blocks.
   * @throws RequestError before the first event for a prompt that is empty, too long, or holds an unknown id, and for a
   * constraint that is not supported; later for a constraint that turns out to be too ambiguous.
   * @throws OverloadedError when the queue is full, or the deadline passes.
   */
  generate(request: GenerateRequest, signal?: AbortSignal): AsyncIterable<EngineEvent>
  /** Cancels one sequence of a running request within one step, and releases its blocks. The others go on. */
  endSequence(id: string, index: number): void
  stats(): EngineStats
  health(): EngineHealth
  /** Fails every request and frees the native context and model. Safe to call twice. */
  close(): Promise<void>
}

/** A model that is ready to use: its file, tokenizer and template, and the engine that runs it. */
export interface LoadedModel extends AsyncDisposable {
  name: string
  path: string
  gguf: Gguf
  config: ModelConfig
  tokenizer: Tokenizer
  /** `undefined` where the file has none. */
  chatTemplate: ChatTemplate | undefined
  /** Turns a hidden state into scores, in a model that ranks texts. */
  rankHead: RankHead | undefined
  engine: Engine
  device: { backend: string; name: string }
  /** Threads that compute a step (CPU). */
  threads: number
  /** Bytes of device memory that the model takes. */
  memory: { weights: number; cache: number }
  /** Safe to call twice. */
  close(): Promise<void>
}

/** An engine, and the resources that it uses. */
export type LoadedEngine = Pick<LoadedModel, "engine" | "device" | "threads" | "memory">
