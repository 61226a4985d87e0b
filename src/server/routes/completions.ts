import { Elysia } from "elysia"
import type { LoadedModel } from "../../engine/load.ts"
import { readJson } from "../body.ts"
import {
  type Choices,
  checkPrompt,
  collect,
  type Draft,
  finished,
  makeChoices,
  runChoices,
  UsageTotal,
} from "../generation.ts"
import { CompletionLogprobsWriter, type ScoredToken } from "../logprobs.ts"
import { completionPrompts, type Prompt } from "../prompt.ts"
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
import { constraintOf } from "../structured.ts"
import { type Head, type Job, runJob } from "./job.ts"
import { endpoint, GENERATION_ERRORS } from "./openapi.ts"

const DEFAULT_MAX_TOKENS = 16

/** `POST /v1/completions`. */
export const completionRoutes = (state: ServerState) =>
  new Elysia().post(
    "/v1/completions",
    ({ body, request, server }) =>
      runJob(state, "cmpl", body, { request, server }, async (model, head) => {
        const prompts = await completionPrompts(model, body)
        return new CompletionJob(model, head, body, prompts)
      }),
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
  /** Choices that are generated for each prompt. */
  readonly #tries: number
  readonly #scores: (CompletionLogprobsWriter | undefined)[]

  constructor(
    readonly model: LoadedModel,
    readonly head: Head,
    readonly body: CompletionRequest,
    prompts: readonly Prompt[],
  ) {
    for (const { tokens } of prompts) checkPrompt(model, tokens, "prompt")
    const logprobs = body.logprobs ?? undefined
    const n = body.n ?? 1
    this.#tries = body.best_of ?? n
    this.#echo = prompts.map(({ text }) => (body.echo ? text() : ""))
    this.#choices = makeChoices(
      model,
      prompts.map(({ tokens }) => tokens),
      {
        id: head.id,
        n: this.#tries,
        // Ranking needs each token's own score.
        sampling: samplingOf(body, model.engine.limits, logprobs ?? (this.#tries > n ? 0 : undefined)),
        maxTokens: body.max_tokens ?? DEFAULT_MAX_TOKENS,
        stop: stopStrings(body.stop),
        ignoreEos: body.ignore_eos ?? false,
        constraint: constraintOf(body),
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
    const chosen = best(drafts, this.#tries, this.body.n ?? 1)
    const parts = chosen.map(({ draft: { text, scored, reason }, index }, place) => ({
      ...this.#part(index, this.#echoOf(index) + text, scored, reason),
      index: place,
    }))
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

/** Of every `tries` drafts, those of one prompt, the `n` with the highest mean log-probability, best first; all of them as they are. */
function best(drafts: readonly Draft[], tries: number, n: number): { draft: Draft; index: number }[] {
  const numbered = drafts.map((draft, index) => ({ draft, index, score: meanLogprob(draft) }))
  if (tries === n) return numbered
  const prompts = Array.from({ length: drafts.length / tries }, (_, i) => numbered.slice(i * tries, (i + 1) * tries))
  return prompts.flatMap((group) => group.sort((a, b) => b.score - a.score).slice(0, n))
}

/** A draft without a token comes last. */
const meanLogprob = ({ scored }: Draft): number =>
  scored.length === 0
    ? Number.NEGATIVE_INFINITY
    : scored.reduce((sum, { logprobs }) => sum + logprobs.logprob, 0) / scored.length
