/** The library interface: load a model into this process, generate text with it, and dispose of it. */

import { type LoadOptions, loadModel } from "./engine/load.ts"
import { generateText, type TextRequest } from "./engine/text.ts"
import { badWordTokens, breakerTokens } from "./engine/token-rules.ts"
import {
  type FinishReason,
  GREEDY,
  type LoadedModel,
  SAMPLING_DEFAULTS,
  type SamplingParams,
  type TokenLogprobs,
  type Usage,
} from "./engine/types.ts"
import { EngineError, RequestError } from "./errors.ts"
import { constraintOf, type Form } from "./grammar/constraint.ts"
import { catalogEntry } from "./store/catalog.ts"
import type { StoreListener } from "./store/fetch-file.ts"
import { resolveModel } from "./store/resolve.ts"
import { type ChatMessage, ChatTemplateError, type EncodeOptions, encodePrompt } from "./text/index.ts"

export interface LoadLlmOptions extends LoadOptions {
  /** Receives the progress of a download. */
  onProgress?: StoreListener
  /** Stops a download. */
  signal?: AbortSignal
}

/** Options of one generation. The sampling defaults are {@link SAMPLING_DEFAULTS}, as on the command line. */
export interface GenerateOptions
  extends Partial<Omit<SamplingParams, "logitBias" | "seed" | "badWords" | "drySequenceBreakers" | "allowedTokens">> {
  /** Values to add to the logits, by token id. -Infinity excludes a token. */
  logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number>
  /** Texts that do not occur in the answer. */
  badWords?: readonly string[]
  /** Texts that no repetition extends across, for `dryMultiplier`. Default: line break, `:`, `"` and `*`. */
  drySequenceBreakers?: readonly string[]
  /** The only tokens that the answer may have. */
  allowedTokens?: Iterable<number>
  /** The same seed gives the same text. Default: random. */
  seed?: number | bigint
  /** Most tokens to generate. Default: until the model ends its answer or the context is full. */
  maxTokens?: number
  /** Up to 16 texts that end the answer and are not part of it. */
  stop?: string | readonly string[]
  /** Tokens that end the answer. */
  stopTokenIds?: Iterable<number>
  /** The stop string or stop token that ends the answer is part of it. */
  includeStop?: boolean
  /** false: control tokens come out as text. */
  skipSpecialTokens?: boolean
  /** Continue after the model's end-of-generation tokens. */
  ignoreEos?: boolean
  /**
   * The form that the text must have: `{ type: "json_schema", schema }` (JSON Schema, draft 2020-12), `{ type: "json_object" }`,
   * `{ type: "regex", pattern }`, or `{ type: "grammar", grammar }` (GBNF). An unsupported form causes a RequestError.
   */
  constraint?: Form
  /** Among waiting generations the one with the smallest priority runs first. Default 0. */
  priority?: number
  /** Milliseconds after which the generation fails with an OverloadedError. */
  deadlineMs?: number
  /** Ends the generation early. Its result holds the text so far and the reason `cancelled`. */
  signal?: AbortSignal
}

/** A text to continue or a conversation to answer, with or without options. */
export type GenerateInput =
  | string
  | readonly ChatMessage[]
  | ({ prompt: string } & GenerateOptions)
  | ({ messages: readonly ChatMessage[] } & GenerateOptions)

export interface GenerationResult {
  text: string
  /** `stop`: an end token or a stop string; `length`: `maxTokens` or the end of the context; `cancelled`: aborted, or its loop was left. */
  finishReason: FinishReason
  /** The stop string that ended the generation, or the one of `stopTokenIds`. */
  stopString: string | undefined
  stopToken: number | undefined
  usage: Usage
  /** The generated tokens whose text is in `text`. */
  tokens: number[]
  /** Log-probabilities of `tokens`, if they were requested. */
  logprobs: TokenLogprobs[] | undefined
}

/**
 * Loads a model by name (`smollm2-135m`, `hf:owner/repo/file.gguf`), downloading it if necessary, or from a GGUF file:
 *
 *     await using llm = await load("smollm2-135m")
 *     for await (const text of llm.generate("Once upon a time")) process.stdout.write(text)
 *
 * @throws ModelNotFoundError, DownloadError, ChecksumError, DeviceError, GgufError, ModelError, TokenizerError or NativeError, whose
 * messages state the problem and the remedy.
 */
export async function load(model: string, options: LoadLlmOptions = {}): Promise<Llm> {
  const { onProgress, signal, ...engine } = options
  signal?.throwIfAborted()
  const path = await resolveModel(model, { ...(onProgress && { onProgress }), ...(signal && { signal }) })
  const name = engine.name ?? catalogEntry(model)?.name
  return new Llm(await loadModel(path, { ...engine, ...(name !== undefined && { name }) }))
}

/** A loaded model. Concurrent generations are computed together. Dispose of the model to free its memory. */
export class Llm implements Disposable, AsyncDisposable {
  #generations = 0

  /** @param model gives access to tokenizer, engine and metadata; closed together with this object. */
  constructor(readonly model: LoadedModel) {}

  get name(): string {
    return this.model.name
  }

  /** Longest prompt plus completion, in tokens. */
  get contextLength(): number {
    return this.model.engine.limits.contextLength
  }

  get device(): { backend: string; name: string } {
    return this.model.device
  }

  /**
   * Continues a text, or answers a conversation. The generation starts when it is first read, and reading it throws its errors:
   * RequestError for invalid options, StopError, ChatTemplateError, OverloadedError or EngineError.
   */
  generate(input: GenerateInput, options: GenerateOptions = {}): Generation {
    return new Generation(this.model, () => this.#request(input, options), signalOf(input) ?? options.signal)
  }

  /** Answers a conversation. @see generate */
  chat(messages: readonly ChatMessage[], options: GenerateOptions = {}): Generation {
    return this.generate(messages, options)
  }

  /** Token ids of a text. By default control tokens written in the text stay text, and no BOS token is added. */
  tokenize(text: string, options: EncodeOptions = {}): Int32Array {
    return this.model.tokenizer.encode(text, options)
  }

  /** The text of token ids. Control tokens are left out unless `special` is set. */
  detokenize(tokens: ArrayLike<number>, options: { special?: boolean } = {}): string {
    return this.model.tokenizer.decode(tokens, options)
  }

  /** Frees the model. Running generations fail with an EngineError. May be called twice. */
  close(): Promise<void> {
    return this.model.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Frees the model as `close` does. An engine in this process is closed when this returns. */
  [Symbol.dispose](): void {
    void this.close()
  }

  #request(input: GenerateInput, given: GenerateOptions): TextRequest {
    const { promptTokens, options } = this.#read(input, given)
    const { stop = [], ignoreEos = false, includeStop, skipSpecialTokens, stopTokenIds } = options
    const { priority, deadlineMs, constraint } = options
    return {
      id: `generate-${++this.#generations}`,
      promptTokens,
      sampling: samplingOf(this.model, options),
      maxTokens: options.maxTokens ?? Math.max(1, this.contextLength - promptTokens.length),
      stop: typeof stop === "string" ? [stop] : [...stop],
      ignoreEos,
      ...(stopTokenIds && { stopTokenIds: new Set(stopTokenIds) }),
      ...(includeStop !== undefined && { includeStop }),
      ...(skipSpecialTokens !== undefined && { skipSpecialTokens }),
      ...(constraint !== undefined && { constraint: constraintOf(constraint, "constraint") }),
      ...(priority !== undefined && { priority }),
      ...(deadlineMs !== undefined && { deadlineMs }),
    }
  }

  #read(input: GenerateInput, given: GenerateOptions): { promptTokens: Int32Array; options: GenerateOptions } {
    if (typeof input === "string") return { promptTokens: this.#continue(input), options: given }
    if (isMessages(input)) return { promptTokens: this.#answer(input), options: given }
    const options = { ...input, ...given }
    if ("prompt" in input) return { promptTokens: this.#continue(input.prompt), options }
    return { promptTokens: this.#answer(input.messages), options }
  }

  /** Control tokens written in the prompt are parsed, since there is no other way to give them. */
  #continue(prompt: string): Int32Array {
    const { tokenizer } = this.model
    return tokenizer.encode(prompt, { special: true, addBos: tokenizer.addBos })
  }

  #answer(messages: readonly ChatMessage[]): Int32Array {
    const { chatTemplate, tokenizer } = this.model
    if (chatTemplate === undefined)
      throw new ChatTemplateError(
        "missing",
        `the model ${this.name} has no chat template, so it cannot answer conversations; pass a text instead`,
      )
    return encodePrompt(tokenizer, chatTemplate.render({ messages: [...messages] }))
  }
}

/**
 * One generation. It is an async iterable of pieces of text, and `result()` returns the whole. Both may be used: `result()` reads the
 * pieces that are left. Leaving a loop over the pieces early cancels the generation.
 */
export class Generation implements AsyncIterable<string, void, void> {
  readonly #controller = new AbortController()
  readonly #pieces: AsyncGenerator<string, GenerationResult, void>
  readonly #result = Promise.withResolvers<GenerationResult>()

  /** @param request is called when the generation is first read, so that reading throws its errors. */
  constructor(
    model: Pick<LoadedModel, "tokenizer" | "engine">,
    request: () => TextRequest,
    readonly signal?: AbortSignal,
  ) {
    this.#pieces = this.#run(model, request)
    // The reader of the pieces receives the failure, so an unread result is no unhandled rejection.
    this.#result.promise.catch(() => {})
  }

  /** The pieces of text as they arrive. All iterators share one position: a second one continues where the first is. */
  [Symbol.asyncIterator](): AsyncIterator<string, void, void> {
    return {
      next: async () => {
        const { done, value } = await this.#pieces.next()
        return done ? { done, value: undefined } : { done: false, value }
      },
      return: async () => {
        this.cancel()
        await this.result()
        return { done: true, value: undefined }
      },
    }
  }

  /** Ends the generation. Its result holds the text so far. */
  cancel(): void {
    this.#controller.abort()
  }

  /** Reads the remaining pieces and returns the result. @throws the errors of `Llm.generate`. */
  async result(): Promise<GenerationResult> {
    while (!(await this.#pieces.next()).done) {
      // #collect keeps the text.
    }
    return this.#result.promise
  }

  async *#run(
    model: Pick<LoadedModel, "tokenizer" | "engine">,
    makeRequest: () => TextRequest,
  ): AsyncGenerator<string, GenerationResult, void> {
    try {
      const result = yield* this.#collect(model, makeRequest())
      this.#result.resolve(result)
      return result
    } catch (error) {
      this.#result.reject(error)
      throw error
    }
  }

  async *#collect(
    model: Pick<LoadedModel, "tokenizer" | "engine">,
    request: TextRequest,
  ): AsyncGenerator<string, GenerationResult, void> {
    const own = this.#controller.signal
    const signal = this.signal === undefined ? own : AbortSignal.any([this.signal, own])
    const tokens: number[] = []
    const scores: TokenLogprobs[] = []
    const logprobs = request.sampling.logprobs === undefined ? undefined : scores
    let text = ""
    for await (const event of generateText(model, request, signal)) {
      if (event.type === "end") {
        const { reason: finishReason, stopString, stopToken, usage } = event
        return { text, finishReason, stopString, stopToken, usage, tokens, logprobs }
      }
      text += event.text
      if (event.token !== undefined) tokens.push(event.token)
      if (event.logprobs !== undefined) scores.push(event.logprobs)
      if (event.text !== "") yield event.text
    }
    throw new EngineError("the engine ended the generation without an end event")
  }
}

const isMessages = (input: Exclude<GenerateInput, string>): input is readonly ChatMessage[] => Array.isArray(input)

const signalOf = (input: GenerateInput): AbortSignal | undefined =>
  typeof input === "string" || isMessages(input) ? undefined : input.signal

const MAX_SEED = 2n ** 64n - 1n

function samplingOf({ tokenizer }: LoadedModel, options: GenerateOptions): SamplingParams {
  const { logitBias = {}, badWords, drySequenceBreakers, allowedTokens, dryMultiplier = 0 } = options
  const given = (name: keyof typeof SAMPLING_DEFAULTS) => options[name] ?? SAMPLING_DEFAULTS[name]
  const names = Object.keys(SAMPLING_DEFAULTS) as (keyof typeof SAMPLING_DEFAULTS)[]
  return {
    ...GREEDY,
    ...Object.fromEntries(names.map((name) => [name, given(name)])),
    drySequenceBreakers: dryMultiplier === 0 ? [] : breakerTokens(tokenizer, drySequenceBreakers),
    badWords: badWordTokens(tokenizer, badWords),
    allowedTokens: allowedTokens && new Set(allowedTokens),
    logitBias: isMap(logitBias)
      ? logitBias
      : new Map(Object.entries(logitBias).map(([token, bias]) => [Number(token), bias])),
    seed: seedOf(options.seed),
    logprobs: options.logprobs,
  }
}

const isMap = (bias: NonNullable<GenerateOptions["logitBias"]>): bias is ReadonlyMap<number, number> =>
  bias instanceof Map

function seedOf(seed: number | bigint | undefined): bigint {
  if (seed === undefined) return crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n
  if (typeof seed === "number" && !Number.isSafeInteger(seed))
    throw new RequestError(`seed is ${seed}; it must be a whole number or a bigint below 2^64`, "seed", "invalid_value")
  const whole = BigInt(seed)
  if (whole < 0n || whole > MAX_SEED)
    throw new RequestError(`seed is ${seed}; it must be from 0 to 2^64 - 1`, "seed", "invalid_value")
  return whole
}
