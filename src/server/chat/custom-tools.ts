/** Custom tools, whose input is a text: the model is offered a function with one argument, and its JSON is turned back into the text. */

import type { Tool } from "./request.ts"

/** A tool that takes a text. */
interface CustomTool {
  readonly name: string
  readonly description?: string | null
  /** An ECMAScript regular expression that the whole input matches. */
  readonly pattern?: string
  /** A grammar in the syntax of Lark, which the model is shown. */
  readonly lark?: string
}

const INPUT = "input"

/** The function that stands for a custom tool. */
export function customFunction({ name, description, pattern, lark }: CustomTool): Tool {
  const grammar = lark === undefined ? undefined : `Its ${INPUT} has to follow this Lark grammar:\n${lark}`
  const described = [description, grammar].filter(Boolean).join("\n\n")
  const input = { type: "string", ...(pattern !== undefined && { pattern: `^(?:${pattern})$` }) }
  return {
    name,
    ...(described !== "" && { description: described }),
    parameters: { type: "object", properties: { [INPUT]: input }, required: [INPUT], additionalProperties: false },
    ...(pattern !== undefined && { strict: true }),
  }
}

/** The arguments of the function for this input. */
export const customArguments = (input: string): string => JSON.stringify({ [INPUT]: input })

/** JSON of a string's text, without an incomplete escape at its end. Half of a surrogate pair waits for the other half. */
const WHOLE =
  /^(?:[^"\\]|\\[^u]|\\u(?![dD][89abAB])[\da-fA-F]{4}|\\u[dD][89abAB][\da-fA-F]{2}(?:\\u[\da-fA-F]{4}|(?=[^\\]|\\[^u])))*/

/** Reads the input from the arguments' JSON, as it arrives. */
export class CustomInput {
  #state: "before" | "within" | "after" = "before"
  /** JSON that has not been read: what is before the input, or an incomplete escape. */
  #held = ""

  /** Returns the further text of the input. */
  push(json: string): string {
    let rest = this.#held + json
    this.#held = ""
    if (this.#state === "before") {
      const begin = /^\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*"/.exec(rest)
      if (begin === null) {
        this.#held = rest
        return ""
      }
      this.#state = "within"
      rest = rest.slice(begin[0].length)
    }
    if (this.#state === "after") return ""
    const text = WHOLE.exec(rest)?.[0] ?? ""
    const next = rest.slice(text.length)
    if (next.startsWith('"')) this.#state = "after"
    else this.#held = next
    return JSON.parse(`"${text}"`) as string
  }
}

/** The input that a whole call's arguments hold; the beginning of it, if they were cut off. */
export const customInput = (json: string): string => new CustomInput().push(json)
