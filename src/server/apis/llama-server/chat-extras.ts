/** What llama-server adds to chat completions beside `timings`: its fields of a request, and `__verbose`. */

import { z } from "zod"
import type { Chat } from "../../chat/chat.ts"
import type { TimedUsage } from "../../chat/choices.ts"
import { timings, timingsOf } from "./timings.ts"

const flag = z.boolean().nullish()

export const chatExtras = {
  timings_per_token: flag.describe("Add timings to every chunk of a stream."),
  return_progress: flag.describe("Send chunks with the progress of the prompt. Needs stream."),
  verbose: flag.describe("Add `__verbose` to the answer: its prompt and text as the model reads and writes them."),
}

/** The field's name in answers, which has no case of this code's. */
export const VERBOSE = "__verbose"

export const verbose = z.object({
  prompt: z.string().describe("The prompt, with control tokens as the vocabulary writes them."),
  content: z.string(),
  tokens_evaluated: z.int(),
  tokens_predicted: z.int(),
  timings,
})

export const reportsProgress = (body: {
  stream?: boolean | null
  timings_per_token?: boolean | null
  return_progress?: boolean | null
}): boolean => body.stream === true && (body.timings_per_token === true || body.return_progress === true)

export function verboseAnswer({ model, choices }: Chat, content: string, usage: TimedUsage): z.output<typeof verbose> {
  const tokens = choices.requests[0]?.request.promptTokens ?? []
  return {
    prompt: model.tokenizer.decode(tokens, { special: true }),
    content,
    tokens_evaluated: usage.promptTokens,
    tokens_predicted: usage.completionTokens,
    timings: timingsOf(usage),
  }
}
