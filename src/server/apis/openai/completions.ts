import { Elysia } from "elysia"
import { sideBySide } from "../../../async.ts"
import { scoreTokens } from "../../../engine/prefill-only.ts"
import type { LoadedModel, TokenLogprobs } from "../../../engine/types.ts"
import {
  type Choices,
  type CompletedChoice,
  checkPrompt,
  collect,
  finished,
  makeChoices,
  runChoices,
  type ScoredToken,
  type TokenUsage,
  UsageTotal,
} from "../../chat/choices.ts"
import { completionPrompts, type Prompt } from "../../chat/prompt.ts"
import { formConstraint } from "../../chat/structured.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors } from "../../http/errors.ts"
import { type Job, type JobContext, runJob } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import {
  type CompletionBody,
  type CompletionChunk,
  type CompletionLogprobs,
  type CompletionResponse,
  completionChunk,
  completionRequest,
  completionResponse,
} from "./completions-schema.ts"
import { CompletionLogprobsWriter } from "./logprobs.ts"
import { jobOptions, listOf, toGeneration } from "./request.ts"
import { DATA_EVENTS, openAiError, usageBody } from "./wire.ts"

const DEFAULT_MAX_TOKENS = 16

/** `POST /v1/completions`. */
export const completionRoutes = (state: ServerState) =>
  new Elysia().onError(answerErrors(openAiError)).post(
    "/v1/completions",
    ({ body, request, server }) =>
      runJob(state, jobOptions("cmpl", body), { request, server }, async (model, context) => {
        const prompts = await completionPrompts(model, {
          prompt: listOf(body.prompt),
          suffix: body.suffix ?? undefined,
        })
        return new CompletionJob(model, context, body, prompts)
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

/** One request: runs its choices and writes the response. */
class CompletionJob implements Job<CompletionResponse> {
  readonly format = DATA_EVENTS
  readonly #choices: Choices
  readonly #prompts: readonly Prompt[]
  /** Choices that are generated for each prompt. */
  readonly #candidates: number
  readonly #scores: (CompletionLogprobsWriter | undefined)[]

  constructor(
    readonly model: LoadedModel,
    readonly context: JobContext,
    readonly body: CompletionBody,
    prompts: readonly Prompt[],
  ) {
    for (const { tokens } of prompts) checkPrompt(model, tokens, "prompt")
    this.#prompts = prompts
    const logprobs = body.logprobs ?? undefined
    const n = body.n ?? 1
    this.#candidates = body.best_of ?? n
    const request = {
      ...toGeneration(body),
      n: this.#candidates,
      maxTokens: body.max_tokens ?? DEFAULT_MAX_TOKENS,
      // Ranking needs each token's own score.
      logprobs: logprobs ?? (this.#candidates > n ? 0 : undefined),
    }
    const tokens = prompts.map((prompt) => prompt.tokens)
    const choices = makeChoices(model, tokens, request, context, {
      // A client that scores prompts needs the next token, also when it is an end token.
      reportEnd: this.#scoresPrompt,
      constraint: formConstraint(request),
    })
    this.#choices = body.max_tokens === 0 ? { ...choices, requests: [] } : choices
    this.#scores = this.#choices.list.map(() =>
      logprobs === undefined ? undefined : new CompletionLogprobsWriter(model.tokenizer),
    )
  }

  get controller(): AbortController {
    return this.context.controller
  }

  get #scoresPrompt(): boolean {
    return this.body.echo === true && typeof this.body.logprobs === "number"
  }

  async complete(): Promise<CompletionResponse> {
    const scores = await this.#promptScores()
    const { completed, usage } = await collect(this.model, this.#choices, this.context.controller)
    const chosen = best(completed, this.#candidates, this.body.n ?? 1)
    const parts = chosen.map(({ choice: { text, scored, reason }, index }, place) => {
      const echo = this.#echo(index, scores)
      const part = this.#part(index, text, scored, this.body.max_tokens === 0 ? "length" : reason)
      return { ...part, text: echo.text + text, logprobs: joined(echo.logprobs, part.logprobs), index: place }
    })
    return { ...this.#head(), choices: parts, usage: usageBody(this.#usage(usage)) }
  }

  async *chunks(): AsyncGenerator<CompletionChunk> {
    const withUsage = this.body.stream_options?.include_usage === true
    const chunk = (...choices: CompletionChunk["choices"]): CompletionChunk => ({
      ...this.#head(),
      choices,
      ...(withUsage ? { usage: null } : {}),
    })
    const usage = new UsageTotal()
    const scores = await this.#promptScores()
    const begun = new Set<number>()
    const begin = (index: number) => {
      begun.add(index)
      const { text, logprobs } = this.#echo(index, scores)
      return text === "" && logprobs === null ? [] : [chunk({ index, text, logprobs, finish_reason: null })]
    }

    for await (const { index, event } of runChoices(this.model, this.#choices, this.context.controller)) {
      const choice = this.#choices.list[index]
      if (choice === undefined) continue
      if (!begun.has(index)) yield* begin(index)
      if (event.type === "end") {
        usage.add(choice, event.usage)
        yield chunk(this.#part(index, "", undefined, finished(event.reason, this.context.controller.signal)))
        continue
      }
      const { text, token, logprobs } = event
      const scored = token !== undefined && logprobs !== undefined ? [{ token, logprobs }] : undefined
      if (text !== "" || scored !== undefined) yield chunk(this.#part(index, text, scored, null))
    }
    for (const { index } of this.body.max_tokens === 0 ? this.#choices.list : []) {
      yield* begin(index)
      yield chunk(this.#part(index, "", undefined, "length"))
    }
    if (withUsage) yield { ...chunk(), usage: usageBody(this.#usage(usage.total())) }
  }

  /** For each prompt, the scores of its tokens from the second on; none unless both `echo` and `logprobs` are given. */
  #promptScores(): Promise<TokenLogprobs[][]> {
    const { model, context, body } = this
    const { engine } = model
    const prompts = this.#scoresPrompt ? this.#prompts : []
    return sideBySide(prompts, engine.limits.maxSeqs, context.controller, async ({ tokens }, index) => {
      if (tokens.length < 2) return []
      const request = { ...context.queue, id: `${context.id}-prompt-${index}`, tokens, top: body.logprobs ?? 0 }
      return (await scoreTokens(engine, request, context.controller.signal)).scores
    })
  }

  /** The beginning of a choice: its prompt, if `echo` is given. */
  #echo(index: number, scores: readonly TokenLogprobs[][]): { text: string; logprobs: CompletionLogprobs | null } {
    const place = this.#choices.list[index]?.prompt ?? -1
    const prompt = this.#prompts[place]
    if (!this.body.echo || prompt === undefined) return { text: "", logprobs: null }
    const text = prompt.text()
    return { text, logprobs: this.#scores[index]?.takePrompt(prompt.tokens, scores[place] ?? [], text) ?? null }
  }

  /** Scored prompts were computed for this request, even where its choices found them in the cache. */
  #usage(usage: TokenUsage): TokenUsage {
    if (this.body.max_tokens !== 0) return this.#scoresPrompt ? { ...usage, cachedTokens: 0 } : usage
    return { ...usage, promptTokens: this.#prompts.reduce((sum, { tokens }) => sum + tokens.length, 0) }
  }

  #part<Reason>(index: number, text: string, scored: readonly ScoredToken[] | undefined, finish_reason: Reason) {
    const logprobs = scored === undefined ? null : (this.#scores[index]?.take(scored) ?? null)
    return { index, text, logprobs, finish_reason }
  }

  #head() {
    const { id, created, model } = this.context
    return { id, object: "text_completion" as const, created, model }
  }
}

/** The log-probabilities of a prompt and of the text that follows it. */
function joined(prompt: CompletionLogprobs | null, text: CompletionLogprobs | null): CompletionLogprobs | null {
  if (prompt === null || text === null) return text
  return {
    tokens: [...prompt.tokens, ...text.tokens],
    token_logprobs: [...prompt.token_logprobs, ...text.token_logprobs],
    top_logprobs: [...prompt.top_logprobs, ...text.top_logprobs],
    text_offset: [...prompt.text_offset, ...text.text_offset],
  }
}

interface Ranked {
  readonly choice: CompletedChoice
  readonly index: number
}

/** The `n` choices of each prompt with the highest mean log-probability, best first; all choices in order if there are no more. */
function best(choices: readonly CompletedChoice[], candidates: number, n: number): Ranked[] {
  const ranked = choices.map((choice, index) => ({ choice, index, score: meanLogprob(choice) }))
  if (candidates === n) return ranked
  const prompts = Array.from({ length: choices.length / candidates }, (_, i) =>
    ranked.slice(i * candidates, (i + 1) * candidates),
  )
  return prompts.flatMap((group) => group.sort((a, b) => b.score - a.score).slice(0, n))
}

/** A choice without a token ranks last. */
const meanLogprob = ({ scored }: CompletedChoice): number =>
  scored.length === 0
    ? Number.NEGATIVE_INFINITY
    : scored.reduce((sum, { logprobs }) => sum + logprobs.logprob, 0) / scored.length
