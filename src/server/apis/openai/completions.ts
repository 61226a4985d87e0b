import { Elysia } from "elysia"
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
  alternatives,
  type CompletionBody,
  type CompletionChunk,
  type CompletionLogprobs,
  type CompletionResponse,
  completionChunk,
  completionRequest,
  completionResponse,
} from "./completions-schema.ts"
import { CompletionLogprobsWriter, promptLogprobsOf, scorePrompts } from "./logprobs.ts"
import { jobOptions, listOf, toGeneration } from "./request.ts"
import { answerHead, DATA_EVENTS, openAiError, RunningUsage, usageBody } from "./wire.ts"

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
          addSpecialTokens: body.add_special_tokens ?? undefined,
          keptPromptTokens: body.truncate_prompt_tokens ?? undefined,
          maxTokens: maxTokensOf(body),
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

/** `undefined`: as many as the context holds. */
function maxTokensOf({ max_tokens: limit, n_predict: other }: CompletionBody): number | undefined {
  const given = limit ?? other ?? DEFAULT_MAX_TOKENS
  return given < 0 ? undefined : given
}

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
    const logprobs = alternatives(body)
    const n = body.n ?? 1
    this.#candidates = body.best_of ?? n
    const request = {
      ...toGeneration(body),
      n: this.#candidates,
      maxTokens: maxTokensOf(body),
      // Ranking needs each token's own score.
      logprobs: logprobs ?? (this.#candidates > n ? 0 : undefined),
    }
    const tokens = prompts.map((prompt) => prompt.tokens)
    const choices = makeChoices(model, tokens, request, context, {
      // A client that scores prompts needs the next token, also when it is an end token.
      reportEnd: this.#scoresPrompt || this.#reportsTokens,
      constraint: formConstraint(request),
    })
    this.#choices = this.#generatesNothing ? { ...choices, requests: [] } : choices
    this.#scores = this.#choices.list.map(() =>
      logprobs === undefined
        ? undefined
        : new CompletionLogprobsWriter(model.tokenizer, body.return_tokens_as_token_ids ?? false),
    )
  }

  get controller(): AbortController {
    return this.context.controller
  }

  get #scoresPrompt(): boolean {
    return this.body.echo === true && alternatives(this.body) !== undefined
  }

  get #generatesNothing(): boolean {
    return maxTokensOf(this.body) === 0
  }

  /** Every token has an event. */
  get #reportsTokens(): boolean {
    return this.body.return_token_ids === true || this.body.stream_options?.continuous_usage_stats === true
  }

  async complete(): Promise<CompletionResponse> {
    const scores = await this.#promptScores()
    const { completed, usage } = await collect(this.model, this.#choices, this.context.controller)
    const chosen = best(completed, this.#candidates, this.body.n ?? 1)
    const parts = chosen.map(({ choice: { text, scored, tokens, reason }, index }, place) => {
      const echo = this.#echo(index, scores)
      const part = this.#part(index, text, scored, this.#generatesNothing ? "length" : reason)
      return {
        ...part,
        text: echo.text + text,
        logprobs: joined(echo.logprobs, part.logprobs),
        index: place,
        ...this.#promptReport(index, scores),
        ...(this.body.return_token_ids && { token_ids: tokens }),
      }
    })
    return { ...this.#head(), choices: parts, usage: usageBody(this.#usage(usage)) }
  }

  async *chunks(): AsyncGenerator<CompletionChunk> {
    const withUsage = this.body.stream_options?.include_usage === true
    const running = this.body.stream_options?.continuous_usage_stats ? new RunningUsage(this.#choices) : undefined
    const usageNow = () => (running ? { usage: running.body() } : withUsage ? { usage: null } : {})
    const chunk = (...choices: CompletionChunk["choices"]): CompletionChunk => ({
      ...this.#head(),
      choices,
      ...usageNow(),
    })
    const usage = new UsageTotal()
    const scores = await this.#promptScores()
    const begun = new Set<number>()
    const begin = (index: number) => {
      begun.add(index)
      const { text, logprobs } = this.#echo(index, scores)
      const report = this.#promptReport(index, scores)
      const isEmpty = text === "" && logprobs === null && report.prompt_token_ids === undefined
      return isEmpty ? [] : [chunk({ index, text, logprobs, finish_reason: null, ...report })]
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
      if (token !== undefined) running?.count()
      if (text === "" && scored === undefined && !this.#reportsTokens) continue
      const ids = this.body.return_token_ids && { token_ids: token === undefined ? [] : [token] }
      yield chunk({ ...this.#part(index, text, scored, null), ...ids })
    }
    for (const { index } of this.#generatesNothing ? this.#choices.list : []) {
      yield* begin(index)
      yield chunk(this.#part(index, "", undefined, "length"))
    }
    if (withUsage) yield { ...chunk(), usage: usageBody(this.#usage(usage.total())) }
  }

  /** For each prompt, the scores of its tokens from the second on; none unless the request asks for them. */
  async #promptScores(): Promise<TokenLogprobs[][]> {
    const { model, context, body } = this
    const top = Math.max(this.#scoresPrompt ? (alternatives(body) ?? 0) : -1, body.prompt_logprobs ?? -1)
    const prompts = this.#prompts.map(({ tokens }) => tokens)
    return top < 0 ? [] : await scorePrompts(model, context, prompts, top)
  }

  /** What a choice reports about its prompt's tokens. */
  #promptReport(index: number, scores: readonly TokenLogprobs[][]) {
    const place = this.#choices.list[index]?.prompt ?? -1
    const tokens = this.#prompts[place]?.tokens
    if (tokens === undefined) return {}
    const { return_token_ids: ids, prompt_logprobs: top } = this.body
    const shown = typeof top === "number" ? limited(scores[place] ?? [], top) : undefined
    return {
      ...(ids && { prompt_token_ids: [...tokens] }),
      ...(shown && { prompt_logprobs: promptLogprobsOf(this.model.tokenizer, tokens, shown) }),
    }
  }

  /** The beginning of a choice: its prompt, if `echo` is given. */
  #echo(index: number, scores: readonly TokenLogprobs[][]): { text: string; logprobs: CompletionLogprobs | null } {
    const place = this.#choices.list[index]?.prompt ?? -1
    const prompt = this.#prompts[place]
    if (!this.body.echo || prompt === undefined) return { text: "", logprobs: null }
    const text = prompt.text()
    const shown = limited(scores[place] ?? [], alternatives(this.body) ?? 0)
    return { text, logprobs: this.#scores[index]?.takePrompt(prompt.tokens, shown, text) ?? null }
  }

  /** Scored prompts were computed for this request, even where its choices found them in the cache. */
  #usage(usage: TokenUsage): TokenUsage {
    if (!this.#generatesNothing) return this.#scoresPrompt ? { ...usage, cachedTokens: 0 } : usage
    return { ...usage, promptTokens: this.#prompts.reduce((sum, { tokens }) => sum + tokens.length, 0) }
  }

  #part<Reason>(index: number, text: string, scored: readonly ScoredToken[] | undefined, finish_reason: Reason) {
    // An end token that is reported for its id alone has no text to score.
    const shown = this.#scoresPrompt ? scored : scored?.filter(({ token }) => !this.#choices.endTokens.has(token))
    const logprobs = shown === undefined ? null : (this.#scores[index]?.take(shown) ?? null)
    return { index, text, logprobs, finish_reason }
  }

  #head() {
    const { model, context, body } = this
    return { ...answerHead("cmpl", model, context, body.request_id), object: "text_completion" as const }
  }
}

/** Scores with at most `top` alternatives each. */
const limited = (scores: readonly TokenLogprobs[], top: number): TokenLogprobs[] =>
  scores.map((score) => ({ ...score, top: score.top.slice(0, top) }))

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
