import { Elysia } from "elysia"
import { sideBySide } from "../../../async.ts"
import { scoreTokens } from "../../../engine/scoring.ts"
import type { LoadedModel, TokenLogprobs } from "../../../engine/types.ts"
import {
  type Choices,
  checkPrompt,
  collect,
  type Draft,
  finished,
  makeChoices,
  runChoices,
  UsageTotal,
} from "../../chat/choices.ts"
import { completionPrompts, type Prompt } from "../../chat/prompt.ts"
import { samplingOf, stopStrings } from "../../chat/sampling.ts"
import { constraintOf } from "../../chat/structured.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { type Head, type Job, runJob } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import {
  type CompletionChunk,
  type CompletionLogprobs,
  type CompletionRequest,
  type CompletionResponse,
  completionChunk,
  completionRequest,
  completionResponse,
} from "./completions-schema.ts"
import type { UsageBody } from "./generation-schema.ts"
import { CompletionLogprobsWriter, type ScoredToken } from "./logprobs.ts"

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
  readonly #prompts: readonly Prompt[]
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
    this.#prompts = prompts
    const logprobs = body.logprobs ?? undefined
    const n = body.n ?? 1
    this.#tries = body.best_of ?? n
    const choices = makeChoices(
      model,
      prompts.map(({ tokens }) => tokens),
      {
        id: head.id,
        n: this.#tries,
        // Ranking needs each token's own score.
        sampling: samplingOf(body, model.engine.limits, logprobs ?? (this.#tries > n ? 0 : undefined)),
        maxTokens: body.max_tokens ?? DEFAULT_MAX_TOKENS,
        // Who has the prompt scored looks for the token behind it, whichever it is.
        reportEnd: this.#scoresPrompt,
        minTokens: body.min_tokens ?? 0,
        stop: stopStrings(body.stop),
        ignoreEos: body.ignore_eos ?? false,
        constraint: constraintOf(body),
        standing: head.standing,
      },
    )
    this.#choices = body.max_tokens === 0 ? { ...choices, requests: [] } : choices
    this.#scores = this.#choices.list.map(() =>
      logprobs === undefined ? undefined : new CompletionLogprobsWriter(model.tokenizer),
    )
  }

  get controller(): AbortController {
    return this.head.controller
  }

  get #scoresPrompt(): boolean {
    return this.body.echo === true && typeof this.body.logprobs === "number"
  }

  async complete(): Promise<CompletionResponse> {
    const scores = await this.#promptScores()
    const { drafts, usage } = await collect(this.model, this.#choices, this.head.controller)
    const chosen = best(drafts, this.#tries, this.body.n ?? 1)
    const parts = chosen.map(({ draft: { text, scored, reason }, index }, place) => {
      const echo = this.#echo(index, scores)
      const part = this.#part(index, text, scored, this.body.max_tokens === 0 ? "length" : reason)
      return { ...part, text: echo.text + text, logprobs: joined(echo.logprobs, part.logprobs), index: place }
    })
    return { ...this.#head(), choices: parts, usage: this.#usage(usage) }
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

    for await (const { index, event } of runChoices(this.model, this.#choices, this.head.controller)) {
      const choice = this.#choices.list[index]
      if (choice === undefined) continue
      if (!begun.has(index)) yield* begin(index)
      if (event.type === "end") {
        usage.add(choice, event.usage)
        yield chunk(this.#part(index, "", undefined, finished(event.reason, this.head.controller.signal)))
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
    if (withUsage) yield { ...chunk(), usage: this.#usage(usage) }
  }

  /** Of each prompt, what its tokens from the second on are to the model; nothing unless both `echo` and `logprobs` ask for it. */
  #promptScores(): Promise<TokenLogprobs[][]> {
    const { model, head, body } = this
    const { engine } = model
    const prompts = this.#scoresPrompt ? this.#prompts : []
    return sideBySide(prompts, engine.limits.maxSeqs, head.controller, async ({ tokens }, index) => {
      if (tokens.length < 2) return []
      const request = { ...head.standing, id: `${head.id}-prompt-${index}`, tokens, top: body.logprobs ?? 0 }
      return (await scoreTokens(engine, request, head.controller.signal)).scores
    })
  }

  /** What stands in front of a choice: its prompt, where `echo` asks for that. */
  #echo(index: number, scores: readonly TokenLogprobs[][]): { text: string; logprobs: CompletionLogprobs | null } {
    const which = this.#choices.list[index]?.prompt ?? -1
    const prompt = this.#prompts[which]
    if (!this.body.echo || prompt === undefined) return { text: "", logprobs: null }
    const text = prompt.text()
    return { text, logprobs: this.#scores[index]?.takePrompt(prompt.tokens, scores[which] ?? [], text) ?? null }
  }

  /** Prompts that were scored were computed for this request, wherever its choices found them. */
  #usage(total: UsageTotal): UsageBody {
    const usage = total.toJSON()
    if (this.body.max_tokens !== 0)
      return this.#scoresPrompt ? { ...usage, prompt_tokens_details: { cached_tokens: 0 } } : usage
    const prompt_tokens = this.#prompts.reduce((sum, { tokens }) => sum + tokens.length, 0)
    return { ...usage, prompt_tokens, total_tokens: prompt_tokens }
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

/** The log-probabilities of a prompt and of what was generated behind it. */
function joined(before: CompletionLogprobs | null, behind: CompletionLogprobs | null): CompletionLogprobs | null {
  if (before === null || behind === null) return behind
  return {
    tokens: [...before.tokens, ...behind.tokens],
    token_logprobs: [...before.token_logprobs, ...behind.token_logprobs],
    top_logprobs: [...before.top_logprobs, ...behind.top_logprobs],
    text_offset: [...before.text_offset, ...behind.text_offset],
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
