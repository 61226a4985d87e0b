/** How a family of models writes its calls. */

import type { ChatMessage } from "../chat-messages.ts"
import type { Reader, Reading } from "./reader.ts"

/** A function that may be called, as templates show it to the model. */
export interface ToolFunction {
  readonly name: string
  readonly description?: string
  /** JSON Schema of its arguments. */
  readonly parameters: Readonly<Record<string, unknown>>
}

/** How calls are written, letter by letter: blocks, which begin with `trigger`, of one call or several. */
export interface Spelling {
  readonly trigger: string
  /** Between the trigger and a block's first call. */
  readonly open: string
  /** What is around the arguments of a call. */
  readonly call: (name: string) => { readonly begin: string; readonly end: string }
  /** Between two calls of a block; absent: each block has one. */
  readonly separator?: string
  readonly close: string
  /** A block without calls is how the model says that it makes none. */
  readonly empty?: boolean
  /** Between two blocks; absent: there is one. */
  readonly between?: string
}

export interface ToolFormat {
  readonly name: string
  /** Texts around calls that are control tokens of some models, which are to come out as text. */
  readonly marks: readonly string[]
  /** How calls are best written; `read` understands more than that. */
  readonly spelling: Spelling
  /** Takes an answer apart, to its end. @param tools names of those that may be called; other calls are content */
  read(reader: Reader, tools: readonly string[]): Reading
  /** What a system prompt says of the tools, for templates that say nothing of them. */
  prompt(tools: readonly ToolFunction[]): string
  /** The name of a new call. */
  newId(): string
  /** An earlier message in a form that the family's templates do not refuse. */
  replay?(message: ChatMessage): ChatMessage[]
}

/** A tool as OpenAI's API has it, which is how models know it. */
export const toolJson = ({ name, description, parameters }: ToolFunction) => ({
  type: "function" as const,
  function: { name, ...(description !== undefined && { description }), parameters },
})

/** Calls that were made, as the model wrote them or would have. */
export function writeCalls(
  { trigger, open, call, separator, close, between = "" }: Spelling,
  calls: readonly { name: string; arguments: string }[],
): string {
  const written = calls.map(({ name, arguments: args }) => call(name).begin + args + call(name).end)
  const blocks = separator === undefined ? written : [written.join(separator)]
  return blocks.map((block) => trigger + open + block + close).join(between)
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/** Letters and digits, which say nothing. */
export const randomLetters = (length: number): string =>
  Array.from(crypto.getRandomValues(new Uint32Array(length)), (value) => LETTERS[value % LETTERS.length]).join("")

export const callId = (): string => `call_${randomLetters(24)}`
