import {
  type Engine,
  type EngineEvent,
  type EngineHealth,
  type EngineLimits,
  type EngineStats,
  type FinishReason,
  type GenerateRequest,
  NO_STATS,
} from "../../../src/engine/types.ts"
import { EngineError } from "../../../src/errors.ts"
import type { Matcher } from "../../../src/grammar/matcher.ts"
import { GrammarWorker } from "../../../src/grammar/worker.ts"
import type { Tokenizer } from "../../../src/text/tokenizer/types.ts"
import { answerTo } from "./script.ts"

interface ScriptedEngineOptions {
  readonly tokenizer: Tokenizer
  /** The model file that holds the tokenizer, for the thread that computes masks. */
  readonly path: string
  readonly nVocab: number
  /** Numbers of an embedding. */
  readonly width: number
  readonly contextLength: number
}

/** Texts in order of preference, where a constraint leaves no room for the script's own text: the answer ends as soon as it may. */
const ENDINGS = ['"', "}", "]", "}\n", "0", "1", "true", "null", ":", ",", "{", "[", "a", "x", " ", "\n"]

/**
 * An engine that computes nothing: it reads the prompt's text and gives the tokens of the script's answer. Constraints apply as in the real
 * engine, with the same masks: at the first token that the mask excludes the script is dropped, and the shortest text that the constraint
 * allows follows, so that a client sees an answer without the text that it expects.
 */
export class ScriptedEngine implements Engine {
  readonly limits: EngineLimits
  readonly #tokenizer: Tokenizer
  readonly #grammars: GrammarWorker
  readonly #width: number
  readonly #endings: number[]
  #running = 0

  constructor({ tokenizer, path, nVocab, width, contextLength }: ScriptedEngineOptions) {
    this.limits = { contextLength, nVocab, maxSeqs: 16, batchTokens: 4096, chunkTokens: 4096 }
    this.#tokenizer = tokenizer
    this.#grammars = new GrammarWorker({ path, nVocab })
    this.#width = width
    this.#endings = ENDINGS.flatMap((text) => {
      const ids = tokenizer.encode(text)
      return ids.length === 1 ? [...ids] : []
    })
  }

  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent> {
    let made = 0
    const ends = (index: number, reason: FinishReason, result: object = {}): EngineEvent => ({
      type: "end",
      index,
      reason,
      usage: {
        promptTokens: request.tokens.length,
        completionTokens: made,
        cachedTokens: 0,
        prefillMs: 1,
        decodeMs: 1,
      },
      ...result,
    })
    if (request.pooling !== undefined) {
      yield ends(0, "stop", { embedding: this.#embed(request.tokens) })
      return
    }
    this.#running++
    try {
      for (let index = 0; index < (request.n ?? 1); index++) {
        made = 0
        let reason: FinishReason = "length"
        for await (const token of this.#tokens(request)) {
          if (signal?.aborted) break
          made++
          const scores = { logprob: -0.1, top: [{ token, logprob: -0.1 }] }
          yield {
            type: "token",
            index,
            token,
            ...(request.sampling.logprobs !== undefined && { logprobs: scores }),
          }
          if (request.stopTokens.has(token)) reason = "stop"
          if (reason === "stop" || made === request.maxTokens) break
          // Each token is a step of its own, as a client that streams expects.
          await new Promise<void>((resolve) => setImmediate(resolve))
        }
        yield ends(index, signal?.aborted ? "cancelled" : reason)
      }
    } finally {
      this.#running--
    }
  }

  /** The answer's tokens, and a stop token at its end. */
  async *#tokens(request: GenerateRequest): AsyncGenerator<number> {
    const { constraint, stopTokens } = request
    const prompt = this.#tokenizer.decode(request.tokens, { special: true })
    const wantsJson = constraint?.type === "json_object" || constraint?.type === "json_schema"
    const [end = 0] = stopTokens
    const script = [...this.#tokenizer.encode(answerTo(prompt, wantsJson)), end]
    if (constraint === undefined) {
      yield* script
      return
    }
    const failure = Promise.withResolvers<never>()
    failure.promise.catch(() => {}) // it is awaited only while a mask is awaited
    let arrived = Promise.withResolvers<void>()
    const matcher: Matcher = this.#grammars.open(constraint, stopTokens, {
      onMask: () => arrived.resolve(),
      onFailure: failure.reject,
    })
    try {
      let followed = true
      for (let i = 0; ; i++) {
        await Promise.race([arrived.promise, failure.promise])
        arrived = Promise.withResolvers()
        const { mask } = matcher
        if (mask === undefined) throw new EngineError("a mask was announced and is not there")
        const wanted = script[i] ?? end
        if (!allows(mask, wanted)) followed = false
        const token = followed ? wanted : this.#ending(mask, stopTokens)
        yield token
        if (stopTokens.has(token)) return
        matcher.accept(token)
      }
    } finally {
      matcher.close()
    }
  }

  /** The allowed token that is most likely to end the text soon. */
  #ending(mask: Uint32Array, stopTokens: ReadonlySet<number>): number {
    const preferred = [...stopTokens, ...this.#endings].find((token) => allows(mask, token))
    if (preferred !== undefined) return preferred
    for (let token = 0; token < this.limits.nVocab; token++) if (allows(mask, token)) return token
    throw new EngineError("no token is possible under the constraint")
  }

  /** A vector of length 1 that depends on which tokens the text has. */
  #embed(tokens: Int32Array): Float32Array {
    const vector = new Float32Array(this.#width).fill(1e-3)
    for (const token of tokens) vector[token % this.#width] = (vector[token % this.#width] ?? 0) + 1
    const length = Math.hypot(...vector)
    return vector.map((value) => value / length)
  }

  /** A request ends when its reader stops. */
  endSequence(): void {}

  stats(): EngineStats {
    return { ...NO_STATS, running: this.#running, blocksTotal: 64, blocksFree: 64 }
  }

  health(): EngineHealth {
    return { state: "ready" }
  }

  async close(): Promise<void> {
    this.#grammars.close()
  }
}

const allows = (mask: Uint32Array, token: number): boolean => (((mask[token >> 5] ?? 0) >> (token & 31)) & 1) === 1
