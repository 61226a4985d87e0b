/**
 * Mistral: `[TOOL_CALLS] [{"name": …, "arguments": {…}}, …]`, and since 2025 `[TOOL_CALLS]name[ARGS]{…}`, once for each call. Both forms are
 * read for all of these models.
 */

import { callList, callObject } from "./call-object.ts"
import { randomLetters, type Spelling, type ToolFormat } from "./format.ts"
import { hermes } from "./hermes.ts"
import type { Reader, Reading } from "./reader.ts"

const OPEN = "[TOOL_CALLS]"
const ID = "[CALL_ID]"
const ARGUMENTS = "[ARGS]"

const mistral = (name: string, spelling: Spelling): ToolFormat => ({
  name,
  marks: [OPEN, ID, ARGUMENTS],
  spelling,
  *read(reader, tools) {
    while (yield* reader.textUpTo([OPEN])) {
      yield* reader.space()
      const next = yield* reader.peek()
      const read = next === "[" ? callList : next === "{" ? callObject : namedCall
      if (yield* read(reader, tools)) reader.drop()
    }
  },
  prompt: hermes.prompt,
  newId: () => randomLetters(ID_LENGTH),
  /** Shortens ids to the length that the templates require. Equal ids stay equal. */
  replay: ({ tool_calls: toolCalls, tool_call_id: toolCallId, ...message }) => [
    {
      ...message,
      ...(toolCalls && { tool_calls: toolCalls.map((call) => ({ ...call, id: shortId(call.id ?? "") })) }),
      ...(toolCallId !== undefined && { tool_call_id: shortId(toolCallId) }),
    },
  ],
})

const ID_LENGTH = 9
const shortId = (id: string): string =>
  /^[a-zA-Z0-9]{9}$/.test(id) ? id : Bun.hash(id).toString(36).padStart(ID_LENGTH, "0").slice(-ID_LENGTH)

const listed = (open: string): Spelling => ({
  trigger: OPEN,
  open,
  call: (name) => ({ begin: `{"name": ${JSON.stringify(name)}, "arguments": `, end: "}" }),
  separator: ", ",
  close: "]",
})

export const mistralList = mistral("mistral", listed("["))

/** Models whose tokenizer writes a space before a word. */
export const mistralSpaced = mistral("mistral-spaced", listed(" ["))

export const mistralNamed = mistral("mistral-args", {
  trigger: OPEN,
  open: "",
  call: (name) => ({ begin: name + ARGUMENTS, end: "" }),
  close: "",
  between: "",
})

/** Reads `name[ARGS]{…}` or `name[CALL_ID]id[ARGS]{…}`. */
function* namedCall(reader: Reader, tools: readonly string[]): Reading<boolean> {
  const name = yield* reader.word(tools)
  if (name === undefined || !(yield* reader.literal("["))) return false
  if ((yield* reader.peek()) === "C") {
    if (!(yield* reader.literal(ID.slice(1)))) return false
    yield* reader.run(/^\w$/)
    if (!(yield* reader.literal("["))) return false
  }
  if (!(yield* reader.literal(ARGUMENTS.slice(1)))) return false
  yield* reader.space()
  if ((yield* reader.peek()) !== "{") return false
  reader.begin(name)
  return yield* reader.arguments()
}
