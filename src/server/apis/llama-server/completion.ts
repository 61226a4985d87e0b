/** `POST /completion`, `/completions` and `/infill` in llama-server's own form. */

import { Elysia } from "elysia"
import type { TextEvent } from "../../../engine/text.ts"
import type { LoadedModel, Usage } from "../../../engine/types.ts"
import { type Choices, checkPrompt, finished, makeChoices, runChoices, type ScoredToken } from "../../chat/choices.ts"
import { formConstraint } from "../../chat/structured.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors } from "../../http/errors.ts"
import { type Job, type JobContext, runJob } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import type { StreamFormat } from "../../http/stream.ts"
import { llamaError, llamaErrorSchema } from "./errors.ts"
import { checkProbabilities, probabilitiesOf } from "./probabilities.ts"
import { infillTokens, promptsOf, promptTokens } from "./prompts.ts"
import {
  type CompletionAnswer,
  type CompletionEvent,
  completionEvent,
  completionRequest,
  completionResponse,
  type GenerationFields,
  infillRequest,
} from "./schema.ts"
import { type Settings, settingsOf, shownSettings, toGeneration } from "./settings.ts"
import type { Slot, Slots } from "./slots.ts"
import { LiveTimings, timingsOf } from "./timings.ts"

const EVENTS: StreamFormat = {
  contentType: "text/event-stream; charset=utf-8",
  event: (item) => `data: ${JSON.stringify(item)}\n\n`,
  end: "",
  failure: (error) => `data: ${JSON.stringify(llamaError(error))}\n\n`,
  ping: ": ping\n\n",
}

const docs = { tag: "llama-server", event: completionEvent, failure: llamaErrorSchema, response: completionResponse }
const errors = { ...GENERATION_ERRORS, 501: "The model or the server cannot do this." }

export function llamaCompletionRoutes(state: ServerState & { slots: Slots }) {
  const parse = [({ request }: { request: Request }) => readBody(state, request), "json"] as const
  const complete = {
    parse: [...parse],
    body: requestBody(completionRequest, {
      model: exampleModel(state),
      prompt: "The sky is blue because",
      n_predict: 64,
    }),
    response: { 200: responseBody(completionResponse) },
    detail: endpoint({ ...docs, errors, summary: "Continue a text, in llama-server's form" }),
  }
  const answer = (body: GenerationFields, incoming: Parameters<typeof runJob>[2], prompts: PromptMaker) =>
    runJob(state, jobOptions(body), incoming, async (model, context) => {
      const tokens = await prompts(model)
      for (const prompt of tokens) checkPrompt(model, prompt, "prompt")
      const slot =
        tokens.length === 1 && body.cache_prompt !== false ? state.slots.of(model, body.id_slot ?? -1) : undefined
      return new CompletionJob(model, slot?.place(context) ?? context, body, tokens, slot)
    })
  const completion = (body: typeof completionRequest._output, incoming: Parameters<typeof runJob>[2]) => {
    const prompts = promptsOf(body.prompt ?? "", "prompt")
    return answer(body, incoming, (model) =>
      Promise.all(prompts.map((prompt) => promptTokens(model, prompt, "prompt"))),
    )
  }
  return new Elysia()
    .onError(answerErrors(llamaError))
    .post("/completion", ({ body, request, server }) => completion(body, { request, server }), complete)
    .post("/completions", ({ body, request, server }) => completion(body, { request, server }), complete)
    .post(
      "/infill",
      ({ body, request, server }) =>
        answer(body, { request, server }, async (model) => [await infillTokens(model, body)]),
      {
        parse: [...parse],
        body: requestBody(infillRequest, {
          model: exampleModel(state),
          input_prefix: "def add(a, b):\n    ",
          input_suffix: "\n",
          n_predict: 32,
        }),
        response: { 200: responseBody(completionResponse) },
        detail: endpoint({ ...docs, errors, summary: "Fill a gap in a text, in llama-server's form" }),
      },
    )
}

type PromptMaker = (model: LoadedModel) => Promise<Int32Array[]>

/** Reads a body, and adds the server's defaults to it. */
export async function readBody({ llama, maxBodyBytes }: ServerState, request: Request): Promise<unknown> {
  const body = await readJson(request, maxBodyBytes)
  return typeof body === "object" && body !== null && !Array.isArray(body) ? { ...llama.defaults, ...body } : body
}

const jobOptions = ({ model, stream, priority, cache_prompt: cached, cache_salt: salt }: GenerationFields) => ({
  idPrefix: "cmpl",
  model,
  stream: stream ?? false,
  priority: priority ?? undefined,
  // A salt that no other request has keeps the prompt from being found, and from being kept for others.
  cacheSalt: cached === false ? crypto.randomUUID() : (salt ?? undefined),
})

/** One choice while it is generated. */
interface Progress {
  content: string
  tokens: number[]
  scored: ScoredToken[]
  /** The text so far, before it is cut to `end` characters. */
  seen: string
  end?: number
  /** When the first text came, by `performance.now()`. */
  firstAt: number
}

/** One request: runs its choices and writes the response. */
class CompletionJob implements Job<CompletionAnswer | CompletionAnswer[]> {
  readonly format = EVENTS
  readonly #settings: Settings
  readonly #choices: Choices
  readonly #live = new LiveTimings()
  readonly #progress: Progress[]

  constructor(
    readonly model: LoadedModel,
    readonly context: JobContext,
    readonly body: GenerationFields,
    readonly prompts: readonly Int32Array[],
    readonly slot: Slot | undefined,
  ) {
    this.#settings = settingsOf(body)
    this.#live.promptTokens = prompts[0]?.length ?? 0
    const request = toGeneration(this.#settings, body)
    const constraint = formConstraint(request)
    checkProbabilities(this.#settings, constraint !== undefined)
    const wantsProgress = body.stream && (body.return_progress || body.timings_per_token)
    const run = {
      ...context,
      generator: "mersenne" as const,
      ...(wantsProgress && { onProgress: this.#live.onProgress }),
    }
    const limited = (body.t_max_predict_ms ?? 0) > 0 || (body.n_indent ?? 0) > 0
    this.#choices = makeChoices(model, prompts, request, run, {
      constraint,
      ...(limited && { endsAfter: (index, text) => this.#endsAfter(index, text) }),
    })
    this.#progress = this.#choices.list.map(() => ({ content: "", tokens: [], scored: [], seen: "", firstAt: 0 }))
  }

  get controller(): AbortController {
    return this.context.controller
  }

  async complete(): Promise<CompletionAnswer | CompletionAnswer[]> {
    const answers: CompletionAnswer[] = []
    for await (const { index, event } of runChoices(this.model, this.#choices, this.controller)) {
      if (event.type === "end") answers[index] = this.#final(index, event)
      else this.#take(index, event)
    }
    const [only] = answers
    return answers.length === 1 && only !== undefined ? only : answers
  }

  async *chunks(): AsyncGenerator<CompletionEvent> {
    const { timings_per_token: perToken, return_progress: withProgress } = this.body
    const { n_probs } = this.#settings
    for await (const item of this.#live.withProgress(runChoices(this.model, this.#choices, this.controller))) {
      if ("total" in item) {
        const timings = perToken ? { timings: this.#live.body() } : {}
        if (withProgress) yield { ...this.#partial(0), content: "", tokens: [], ...timings, prompt_progress: item }
        continue
      }
      const { index, event } = item
      if (event.type === "end") {
        yield { ...this.#final(index, event), content: "", tokens: [] }
        continue
      }
      const text = this.#take(index, event)
      const { token, logprobs } = event
      if (text === undefined || (text === "" && token === undefined)) continue
      yield {
        ...this.#partial(index),
        content: text,
        tokens: token === undefined ? [] : [token],
        ...(n_probs > 0 &&
          token !== undefined &&
          logprobs !== undefined && {
            completion_probabilities: probabilitiesOf(this.model.tokenizer, { token, logprobs }, this.#settings),
          }),
        ...(perToken && { timings: this.#live.body() }),
      }
    }
  }

  #partial(index: number): CompletionEvent {
    const { prompt } = this.#choices.list[index] ?? { prompt: 0 }
    return {
      index,
      stop: false,
      id_slot: this.#slot,
      tokens_predicted: this.#progress[index]?.tokens.length ?? 0,
      tokens_evaluated: this.prompts[prompt]?.length ?? 0,
    }
  }

  get #slot(): number {
    return Math.max(0, this.body.id_slot ?? 0)
  }

  /** Adds an event's text to its choice. @returns what of it is part of the answer; `undefined`: the choice was cut before. */
  #take(index: number, { text, token, logprobs }: Extract<TextEvent, { type: "text" }>): string | undefined {
    const progress = this.#progress[index]
    if (progress === undefined || this.#settings.n_predict === 0) return undefined
    if (token !== undefined) {
      progress.tokens.push(token)
      this.#live.token()
      if (logprobs !== undefined) progress.scored.push({ token, logprobs })
    }
    const before = progress.content.length
    progress.content = (progress.content + text).slice(0, progress.end)
    return progress.content.slice(before)
  }

  /** Whether a choice ends here by the request's limits of time and indentation. */
  #endsAfter(index: number, text: string): boolean {
    const progress = this.#progress[index]
    if (progress === undefined) return false
    const { t_max_predict_ms: ms, n_indent: indent } = this.body
    progress.firstAt ||= performance.now()
    progress.seen += text
    const line = progress.seen.lastIndexOf("\n") + 1
    if (line === 0) return false
    const start = /^( *)\S/.exec(progress.seen.slice(line))?.[1]
    if (start !== undefined && start.length < (indent ?? 0)) progress.end = line
    else if (ms && ms > 0 && performance.now() - progress.firstAt > ms) progress.end = progress.seen.length
    return progress.end !== undefined
  }

  #final(index: number, { reason, stopString, usage }: Extract<TextEvent, { type: "end" }>): CompletionAnswer {
    const { tokenizer, engine } = this.model
    const progress = this.#progress[index]
    const prompt = this.prompts[this.#choices.list[index]?.prompt ?? 0] ?? new Int32Array()
    const { content = "", tokens = [], scored = [], end } = progress ?? {}
    const cut = end !== undefined
    // Throws where the server or the deadline ended the request.
    const ended = cut ? "length" : finished(reason, this.controller.signal)
    if (index === 0) this.slot?.ended(prompt, tokens)
    const counted: Usage = { ...usage, completionTokens: tokens.length }
    const answer: CompletionAnswer = {
      index,
      content,
      tokens: this.body.return_tokens ? tokens : [],
      id_slot: this.#slot,
      stop: true,
      model: this.context.model,
      tokens_predicted: tokens.length,
      tokens_evaluated: prompt.length,
      generation_settings: shownSettings(this.#settings, this.model),
      prompt: tokenizer.decode(prompt, { special: true }),
      has_new_line: content.includes("\n"),
      truncated: ended === "length" && !cut && prompt.length + tokens.length >= engine.limits.contextLength,
      stop_type: stopString !== undefined ? "word" : ended === "length" ? "limit" : "eos",
      stopping_word: stopString ?? "",
      tokens_cached: usage.cachedTokens,
      timings: timingsOf(counted),
      ...(scored.length > 0 &&
        !this.body.stream && {
          completion_probabilities: scored.flatMap((token) => probabilitiesOf(tokenizer, token, this.#settings)),
        }),
    }
    const fields = this.body.response_fields ?? []
    return fields.length === 0 ? answer : picked(answer, fields)
  }
}

/** These fields of an answer; `a/b` is the field b of the object a, and keeps this name. */
function picked(answer: CompletionAnswer, fields: readonly string[]): CompletionAnswer {
  const found: Record<string, unknown> = {}
  for (const field of fields) {
    let value: unknown = answer
    for (const key of field.split("/"))
      value =
        typeof value === "object" && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined
    if (value !== undefined) found[field] = value
  }
  return found
}
