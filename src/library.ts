/** The engine as a library: a model is loaded into this process, generates, and is disposed of. */

import { type LoadOptions, loadModel } from "./engine/load.ts"
import { generateText, type TextRequest } from "./engine/text.ts"
import {
  type FinishReason,
  type LoadedModel,
  SAMPLING_DEFAULTS,
  type SamplingParams,
  type TokenLogprobs,
  type Usage,
} from "./engine/types.ts"
import { EngineError, RequestError } from "./errors.ts"
import type { Form } from "./grammar/constraint.ts"
import { catalogEntry } from "./store/catalog.ts"
import type { StoreListener } from "./store/events.ts"
import { resolveModel } from "./store/resolve.ts"
import { type ChatMessage, ChatTemplateError, type EncodeOptions, encodePrompt } from "./text/index.ts"

export interface LoadLlmOptions extends LoadOptions {
  /** Hears of a download and its progress. */
  onProgress?: StoreListener
  /** Stops a download. */
  signal?: AbortSignal
}

/** How to generate. What is left out is as on the command line: a temperature of 0.7, top-k 40, top-p 0.95, min-p 0.05. */
export interface GenerateOptions extends Partial<Omit<SamplingParams, "logitBias" | "seed">> {
  /** Added to the logits, by token id. */
  logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number>
  /** The same seed gives the same text. Default: random. */
  seed?: number | bigint
  /** Tokens to generate at most. Default: until the model ends its answer, or the context is full. */
  maxTokens?: number
  /** Texts that end the answer and are not part of it; up to 16. */
  stop?: string | readonly string[]
  /** Go on after the model's end-of-generation tokens. */
  ignoreEos?: boolean
  /**
   * What the text must be: `{ type: "json_schema", schema }` (JSON Schema, draft 2020-12), `{ type: "json_object" }`, `{ type: "regex",
   * pattern }`, or `{ type: "grammar", grammar }` (GBNF). RequestError for what of it cannot be kept.
   */
  constraint?: Form
  /** Smaller goes first when generations wait for each other; 0 by default. */
  priority?: number
  /** Milliseconds in which it must have ended; over it, it ends with an OverloadedError. */
  deadlineMs?: number
  /** Ends the generation, with what there is so far and the reason `cancelled`. */
  signal?: AbortSignal
}

/** A text to continue, or a conversation to answer. */
export type GenerateInput =
  | string
  | readonly ChatMessage[]
  | ({ prompt: string } & GenerateOptions)
  | ({ messages: readonly ChatMessage[] } & GenerateOptions)

export interface GenerationResult {
  text: string
  /** `stop`: the model's end token, or a stop string; `length`: `max_tokens`, or the context is full; `cancelled`: it was left or aborted. */
  finishReason: FinishReason
  /** Which of the stop strings ended it. */
  stopString: string | undefined
  usage: Usage
  /** The generated tokens whose text was produced, and their log-probabilities where they were asked for. */
  tokens: number[]
  logprobs: TokenLogprobs[] | undefined
}

/**
 * Loads a model by name (`smollm2-135m`, `hf:owner/repo/file.gguf`), downloading it when need be, or from a GGUF file:
 *
 *     await using llm = await load("smollm2-135m")
 *     for await (const text of llm.generate("Once upon a time")) process.stdout.write(text)
 *
 * @throws ModelNotFoundError, DownloadError, ChecksumError, DeviceError, GgufError, ModelError, TokenizerError or NativeError; each says
 * what is wrong and what to do.
 */
export async function load(model: string, options: LoadLlmOptions = {}): Promise<Llm> {
  const { onProgress, signal, ...engine } = options
  signal?.throwIfAborted()
  const path = await resolveModel(model, { ...(onProgress && { onProgress }), ...(signal && { signal }) })
  const name = engine.name ?? catalogEntry(model)?.name
  return new Llm(await loadModel(path, { ...engine, ...(name !== undefined && { name }) }))
}

/** A loaded model. Generations that run at the same time are computed together. Dispose of it to free its memory. */
export class Llm implements Disposable, AsyncDisposable {
  #generations = 0

  /** @param model Everything beneath, for what this class does not do; it is closed with it. */
  constructor(readonly model: LoadedModel) {}

  get name(): string {
    return this.model.name
  }

  /** Longest prompt and completion together, in tokens. */
  get contextLength(): number {
    return this.model.engine.limits.contextLength
  }

  get device(): { backend: string; name: string } {
    return this.model.device
  }

  /**
   * Continues a text, or answers a conversation. Nothing runs until the generation is read; its errors are thrown there: RequestError
   * for what cannot be generated as asked, StopError, ChatTemplateError, OverloadedError, EngineError.
   */
  generate(input: GenerateInput, options: GenerateOptions = {}): Generation {
    return new Generation(this.model, () => this.#request(input, options), signalOf(input) ?? options.signal)
  }

  /** Answers a conversation. @see generate */
  chat(messages: readonly ChatMessage[], options: GenerateOptions = {}): Generation {
    return this.generate(messages, options)
  }

  /** Token ids of a text. Control tokens written in it stay text, and nothing is put in front, unless the options say so. */
  tokenize(text: string, options: EncodeOptions = {}): Int32Array {
    return this.model.tokenizer.encode(text, options)
  }

  /** The text of token ids; control tokens are left out unless `special`. */
  detokenize(tokens: ArrayLike<number>, options: { special?: boolean } = {}): string {
    return this.model.tokenizer.decode(tokens, options)
  }

  /** Ends what still generates with an EngineError, and frees the model. Safe twice. */
  close(): Promise<void> {
    return this.model.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Frees the model as `close` does; an engine in this process is closed when it returns. */
  [Symbol.dispose](): void {
    void this.close()
  }

  #request(input: GenerateInput, given: GenerateOptions): TextRequest {
    const { promptTokens, options } = this.#read(input, given)
    const { stop = [], ignoreEos = false, priority, deadlineMs, constraint } = options
    return {
      id: `generate-${++this.#generations}`,
      promptTokens,
      sampling: samplingOf(options),
      maxTokens: options.maxTokens ?? Math.max(1, this.contextLength - promptTokens.length),
      stop: typeof stop === "string" ? [stop] : [...stop],
      ignoreEos,
      ...(constraint !== undefined && { constraint: { ...constraint, param: "constraint" } }),
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

  /** As it stands: control tokens written in it count, since nothing else could place them. */
  #continue(prompt: string): Int32Array {
    const { tokenizer } = this.model
    return tokenizer.encode(prompt, { special: true, addBos: tokenizer.addBos })
  }

  #answer(messages: readonly ChatMessage[]): Int32Array {
    const { chatTemplate, tokenizer } = this.model
    if (chatTemplate === undefined)
      throw new ChatTemplateError(
        "missing",
        `the model ${this.name} has no chat template, so it takes no conversations; give it a text`,
      )
    return encodePrompt(tokenizer, chatTemplate.render({ messages: [...messages] }))
  }
}

/**
 * One generation. Read it as an async iterable of pieces of text, or ask for its `result`, or both: the result of what was read in
 * part is what there was. Leaving the loop early cancels it.
 */
export class Generation implements AsyncIterable<string, void, void> {
  readonly #controller = new AbortController()
  readonly #pieces: AsyncGenerator<string, GenerationResult, void>
  readonly #result = Promise.withResolvers<GenerationResult>()

  /** @param request Made when the generation is first read, so that what it throws is thrown there. */
  constructor(
    model: Pick<LoadedModel, "tokenizer" | "engine">,
    request: () => TextRequest,
    readonly signal?: AbortSignal,
  ) {
    this.#pieces = this.#run(model, request)
    // Whoever reads the pieces hears of a failure there.
    this.#result.promise.catch(() => {})
  }

  /** The pieces of text as they come. There is one reader: another one goes on where the first is. */
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

  /** Ends the generation; its result is what there is so far. */
  cancel(): void {
    this.#controller.abort()
  }

  /** Reads what is left, and returns the whole. @throws what `Llm.generate` names. */
  async result(): Promise<GenerationResult> {
    while (!(await this.#pieces.next()).done) {
      // The text is gathered there.
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
        const { reason: finishReason, stopString, usage } = event
        return { text, finishReason, stopString, usage, tokens, logprobs }
      }
      text += event.text
      if (event.token !== undefined) tokens.push(event.token)
      if (event.logprobs !== undefined) scores.push(event.logprobs)
      if (event.text !== "") yield event.text
    }
    throw new EngineError("the engine ended the generation without saying why")
  }
}

const isMessages = (input: Exclude<GenerateInput, string>): input is readonly ChatMessage[] => Array.isArray(input)

const signalOf = (input: GenerateInput): AbortSignal | undefined =>
  typeof input === "string" || isMessages(input) ? undefined : input.signal

const MAX_SEED = 2n ** 64n - 1n

function samplingOf(options: GenerateOptions): SamplingParams {
  const { logitBias = {} } = options
  return {
    temperature: options.temperature ?? SAMPLING_DEFAULTS.temperature,
    topK: options.topK ?? SAMPLING_DEFAULTS.topK,
    topP: options.topP ?? SAMPLING_DEFAULTS.topP,
    minP: options.minP ?? SAMPLING_DEFAULTS.minP,
    repetitionPenalty: options.repetitionPenalty ?? SAMPLING_DEFAULTS.repetitionPenalty,
    frequencyPenalty: options.frequencyPenalty ?? SAMPLING_DEFAULTS.frequencyPenalty,
    presencePenalty: options.presencePenalty ?? SAMPLING_DEFAULTS.presencePenalty,
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
    throw new RequestError(
      `seed is ${seed}; it must be a whole number, or a bigint below 2^64`,
      "seed",
      "invalid_value",
    )
  const whole = BigInt(seed)
  if (whole < 0n || whole > MAX_SEED)
    throw new RequestError(`seed is ${seed}; it must be from 0 to 2^64 - 1`, "seed", "invalid_value")
  return whole
}
