/** The form in which a family of models writes its tool calls. */

import type { ChatMessage } from "../chat-messages.ts"
import type { Reader, Reading } from "./reader.ts"

/** A function that the model may call, as templates describe it. */
export interface ToolFunction {
  readonly name: string
  readonly description?: string
  /** JSON Schema of its arguments. */
  readonly parameters: Readonly<Record<string, unknown>>
}

/** The exact text around calls. Calls are written in blocks of one call or several; each block begins with `trigger`. */
export interface Spelling {
  readonly trigger: string
  /** Text between the trigger and the first call of a block. */
  readonly open: string
  /** Text before and after the arguments of a call. */
  readonly call: (name: string) => { readonly begin: string; readonly end: string }
  /** Text between two calls of a block; absent: each block has one call. */
  readonly separator?: string
  readonly close: string
  /** The model writes a block without calls when it makes no call. */
  readonly empty?: boolean
  /** Text between two blocks; absent: there is one block. */
  readonly between?: string
}

export interface ToolFormat {
  readonly name: string
  /** Texts around calls that are control tokens in some models, and must be decoded as text. */
  readonly marks: readonly string[]
  /** The form in which calls are written; `read` accepts more forms. */
  readonly spelling: Spelling
  /** Parses an answer to its end. @param tools names of the tools that may be called; calls of other tools are content */
  read(reader: Reader, tools: readonly string[]): Reading
  /** A system prompt that describes the tools, for templates that do not. */
  prompt(tools: readonly ToolFunction[]): string
  /** Makes the id of a new call. */
  newId(): string
  /** Rewrites an earlier message in a form that the templates of the family accept. */
  replay?(message: ChatMessage): ChatMessage[]
}

/** A tool in the form of the OpenAI API, which models are trained with. */
export const toolJson = ({ name, description, parameters }: ToolFunction) => ({
  type: "function" as const,
  function: { name, ...(description !== undefined && { description }), parameters },
})

/** Writes calls in the form of the model. */
export function writeCalls(
  { trigger, open, call, separator, close, between = "" }: Spelling,
  calls: readonly { name: string; arguments: string }[],
): string {
  const written = calls.map(({ name, arguments: args }) => call(name).begin + args + call(name).end)
  const blocks = separator === undefined ? written : [written.join(separator)]
  return blocks.map((block) => trigger + open + block + close).join(between)
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/** A random text of letters and digits. */
export const randomLetters = (length: number): string =>
  Array.from(crypto.getRandomValues(new Uint32Array(length)), (value) => LETTERS[value % LETTERS.length]).join("")

export const callId = (): string => `call_${randomLetters(24)}`
