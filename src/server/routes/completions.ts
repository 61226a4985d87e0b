import { Elysia } from "elysia"
import type { LoadedModel } from "../../engine/load.ts"
import { readJson } from "../body.ts"
import { type Choices, checkPrompt, collect, finished, makeChoices, runChoices, UsageTotal } from "../generation.ts"
import { CompletionLogprobsWriter, type ScoredToken } from "../logprobs.ts"
import { completionPrompts } from "../prompt.ts"
import { samplingOf, stopStrings } from "../sampling.ts"
import {
  type CompletionChunk,
  type CompletionRequest,
  type CompletionResponse,
  completionChunk,
  completionRequest,
  completionResponse,
} from "../schemas/completions.ts"
import { requestBody, responseBody } from "../schemas/documented.ts"
import { exampleModel, type ServerState } from "../state.ts"
import { type Head, type Job, runJob } from "./job.ts"
import { endpoint, GENERATION_ERRORS } from "./openapi.ts"

const DEFAULT_MAX_TOKENS = 16

/** `POST /v1/completions`. */
export const completionRoutes = (state: ServerState) =>
  new Elysia().post(
    "/v1/completions",
    ({ body, request, server }) =>
      runJob(state, "cmpl", body, { request, server }, (model, head) => new CompletionJob(model, head, body)),
    {
      parse: [({ request }) => readJson(request, state.maxBodyBytes), "json"],
      body: requestBody(completionRequest, {
        model: exampleModel(state),
        prompt: "The sky is blue because",
        max_tokens: 64,
        temperature: 0,
      }),
      response: { 200: responseBody(completionResponse) },
      detail: endpoint({
        tag: "Generation",
        summary: "Continue a text",
        response: completionResponse,
        event: completionChunk,
        errors: GENERATION_ERRORS,
      }),
    },
  )

/** One request: its choices, and what is sent for each. */
class CompletionJob implements Job<CompletionResponse> {
  readonly #choices: Choices
  /** The text that `echo` puts in front, by prompt. */
  readonly #echo: string[]
  readonly #scores: (CompletionLogprobsWriter | undefined)[]

  constructor(
    readonly model: LoadedModel,
    readonly head: Head,
    readonly body: CompletionRequest,
  ) {
    const prompts = completionPrompts(model, body.prompt)
    for (const { tokens } of prompts) checkPrompt(model, tokens, "prompt")
    const logprobs = body.logprobs ?? undefined
    this.#echo = prompts.map(({ text }) => (body.echo ? text() : ""))
    this.#choices = makeChoices(
      model,
      prompts.map(({ tokens }) => tokens),
      {
        id: head.id,
        n: body.n ?? 1,
        sampling: samplingOf(body, model.engine.limits, logprobs),
        maxTokens: body.max_tokens ?? DEFAULT_MAX_TOKENS,
        stop: stopStrings(body.stop),
        ignoreEos: body.ignore_eos ?? false,
        standing: head.standing,
      },
    )
    this.#scores = this.#choices.list.map(() =>
      logprobs === undefined ? undefined : new CompletionLogprobsWriter(model.tokenizer),
    )
  }

  get controller(): AbortController {
    return this.head.controller
  }

  async complete(): Promise<CompletionResponse> {
    const { drafts, usage } = await collect(this.model, this.#choices, this.head.controller)
    const parts = drafts.map(({ text, scored, reason }, index) =>
      this.#part(index, this.#echoOf(index) + text, scored, reason),
    )
    return { ...this.#head(), choices: parts, usage: usage.toJSON() }
  }

  async *chunks(): AsyncGenerator<CompletionChunk> {
    const withUsage = this.body.stream_options?.include_usage === true
    const chunk = (...choices: CompletionChunk["choices"]): CompletionChunk => ({
      ...this.#head(),
      choices,
      ...(withUsage ? { usage: null } : {}),
    })
    const usage = new UsageTotal()
    const begun = new Set<number>()

    for await (const { index, event } of runChoices(this.model, this.#choices, this.head.controller)) {
      const choice = this.#choices.list[index]
      if (choice === undefined) continue
      if (!begun.has(index)) {
        begun.add(index)
        const echo = this.#echoOf(index)
        if (echo !== "") yield chunk(this.#part(index, echo, undefined, null))
      }
      if (event.type === "end") {
        usage.add(choice, event.usage)
        yield chunk(this.#part(index, "", undefined, finished(event.reason, this.head.controller.signal)))
        continue
      }
      const { text, token, logprobs } = event
      const scored = token !== undefined && logprobs !== undefined ? [{ token, logprobs }] : undefined
      if (text !== "" || scored !== undefined) yield chunk(this.#part(index, text, scored, null))
    }
    if (withUsage) yield { ...chunk(), usage: usage.toJSON() }
  }

  /** The prompt's text in front of this choice, where `echo` asks for it. */
  #echoOf(index: number): string {
    return this.#echo[this.#choices.list[index]?.prompt ?? -1] ?? ""
  }

  #part<Reason>(index: number, text: string, scored: readonly ScoredToken[] | undefined, finish_reason: Reason) {
    const logprobs = scored === undefined ? null : (this.#scores[index]?.take(scored) ?? null)
    return { index, text, logprobs, finish_reason }
  }

  #head() {
    const { id, created, model } = this.head
    return { id, object: "text_completion" as const, created, model }
  }
}
