import type { TextEvent, TextRequest } from "../engine/text.ts"
import type { LoadedModel, TokenLogprobs, Usage } from "../engine/types.ts"
import { snakeKeys } from "../json.ts"
import { formatRate } from "./format.ts"
import { note, print, printLine } from "./output.ts"

type EndEvent = Extract<TextEvent, { type: "end" }>

/** Where the events of one generation go. */
export interface GenerationOutput {
  text(event: Extract<TextEvent, { type: "text" }>): Promise<void>
  end(event: EndEvent): Promise<void>
}

/** Text to standard output as it comes, ended by a newline; the speeds after it, on standard error. */
export class TextOutput implements GenerationOutput {
  #last = ""

  async text({ text }: { text: string }): Promise<void> {
    if (text === "") return
    await print(text)
    this.#last = text
  }

  async end({ reason, usage }: EndEvent): Promise<void> {
    if (!this.#last.endsWith("\n")) await printLine()
    note(speeds(usage, reason))
  }
}

/** One JSON object at the end. */
export class JsonOutput implements GenerationOutput {
  readonly #tokens: { id: number; logprob?: number; top?: TokenLogprobs["top"] }[] = []
  #text = ""

  constructor(
    readonly model: LoadedModel,
    readonly request: TextRequest,
  ) {}

  async text({ text, token, logprobs }: Extract<TextEvent, { type: "text" }>): Promise<void> {
    this.#text += text
    if (token !== undefined) this.#tokens.push({ id: token, ...logprobs })
  }

  async end({ reason, stopString, usage }: EndEvent): Promise<void> {
    const { model, request } = this
    const result = {
      model: model.name,
      device: model.device,
      text: this.#text,
      finish_reason: reason,
      ...(stopString !== undefined && { stop_string: stopString }),
      seed: request.sampling.seed.toString(),
      prompt_tokens: Array.from(request.promptTokens),
      tokens: this.#tokens.map(({ id }) => id),
      ...(request.sampling.logprobs !== undefined && { logprobs: this.#tokens }),
      usage: snakeKeys(usage),
      prompt_tokens_per_second: rate(usage.promptTokens - usage.cachedTokens, usage.prefillMs),
      decode_tokens_per_second: rate(usage.completionTokens - 1, usage.decodeMs),
    }
    await printLine(JSON.stringify(result, null, 2))
  }
}

/** Tokens a second, or `null` when nothing was timed. */
const rate = (tokens: number, milliseconds: number): number | null =>
  tokens > 0 && milliseconds > 0 ? (1000 * tokens) / milliseconds : null

/** `prompt 34 tokens, 512 tok/s | generated 96 tokens, 121 tok/s | length`. The first token belongs to the prompt's time. */
function speeds(usage: Usage, reason: string): string {
  const { promptTokens, cachedTokens, completionTokens, prefillMs, decodeMs } = usage
  const prompt = `prompt ${promptTokens} tokens, ${formatRate(promptTokens - cachedTokens, prefillMs)}`
  const generated = `generated ${completionTokens} tokens, ${formatRate(completionTokens - 1, decodeMs)}`
  return `${prompt} | ${generated} | ${reason}`
}
